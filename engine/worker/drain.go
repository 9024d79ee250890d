package worker

import (
	"fmt"
	"time"

	"distributor/engine/handoff"
	"distributor/wsproto"
)

// drainEvery is how often a worker that is being drained looks whose turn it
// is, so that clients leave a few at a time.
const drainEvery = 10 * time.Millisecond

// askWait is how long a client may take to confirm what it has, before it is
// closed without. Tests have other times.
var askWait = time.Second

// draining is the end of a worker on request. Clients that have all they are
// to get leave evenly over spread, as they would come back at once, all of
// them, to whoever serves them next.
type draining struct {
	head     uint64 // clients that have not reached it are behind
	began    time.Time
	spread   time.Duration
	deadline time.Time // for those that are behind
	clients  int       // when it began
	why      wsproto.Disconnect
}

// stay is how many of the clients are to be left by now.
func (d *draining) stay(now time.Time) int {
	past := now.Sub(d.began)
	if past >= d.spread || !now.Before(d.deadline) {
		return 0
	}
	return int(float64(d.clients) * (1 - float64(past)/float64(d.spread)))
}

func (l *loop) beginDrain(m handoff.Drain) error {
	d := &draining{
		head: m.Head, began: l.now, spread: time.Duration(m.SpreadMS) * time.Millisecond,
		deadline: l.now.Add(time.Duration(m.WithinMS) * time.Millisecond), clients: l.staying(), why: named(m.Disconnect),
	}
	l.drain = d
	l.round(&l.linger.live, &l.live)
	l.round(&l.linger.waiting, &l.waiting)
	if err := setTimer(l.timer, drainEvery); err != nil {
		return fmt.Errorf("worker: timer: %w", err)
	}
	l.endDrained()
	return nil
}

// staying is how many clients are not on their way out.
func (l *loop) staying() (n int) {
	for _, c := range l.clients {
		if c.state != closing && c.leaving.IsZero() {
			n++
		}
	}
	return n
}

// endDrained sends as many clients of a draining worker away as is time for, of
// those that have all there is; when their time is up, the others too.
func (l *loop) endDrained() {
	late := !l.now.Before(l.drain.deadline)
	surplus := l.staying() - l.drain.stay(l.now)
	for i := len(l.clients) - 1; i >= 0; i-- { // serve and disconnect may drop l.clients[i]
		c := l.clients[i]
		switch {
		case c.state == closing:
		case late, !c.leaving.IsZero() && (c.acked >= c.asked || l.now.Sub(c.leaving) >= askWait):
			l.disconnect(c, l.drain.why, "")
		case c.leaving.IsZero() && surplus > 0 && c.cursor >= max(l.drain.head, l.head):
			surplus--
			l.ask(c)
		}
	}
}

// ask has c confirm what it has. It is closed when that is known, and so not
// only to us: it comes back at once, perhaps, and then goes on from there.
func (l *loop) ask(c *client) {
	if c.acked >= c.cursor {
		l.disconnect(c, l.drain.why, "")
		return
	}
	c.leaving, c.asked = l.now, c.cursor
	c.due |= duePing
	l.serve(c)
}
