package worker

import (
	"fmt"
	"time"

	"distributor/engine/handoff"
	"distributor/wsproto"
)

// drainEvery is the interval at which a draining worker disconnects clients, a few at a time.
const drainEvery = 10 * time.Millisecond

// askWait is how long a client may take to answer the ping before a drain. Then it is closed
// without an answer. Tests change it.
var askWait = time.Second

// draining is the state of a Drain. Clients that have all frames are disconnected evenly over
// spread: all of them come back at once, to whichever process serves them next.
type draining struct {
	head     uint64 // clients that have not reached it are behind
	began    time.Time
	spread   time.Duration
	deadline time.Time // for clients that are behind
	clients  int       // their number when the drain began
	why      wsproto.Disconnect
}

// remaining returns how many clients may still be connected at now.
func (d *draining) remaining(now time.Time) int {
	past := now.Sub(d.began)
	if past >= d.spread || !now.Before(d.deadline) {
		return 0
	}
	return int(float64(d.clients) * (1 - float64(past)/float64(d.spread)))
}

func (l *loop) beginDrain(m handoff.Drain) error {
	d := &draining{
		head: m.Head, began: l.now, spread: time.Duration(m.SpreadMS) * time.Millisecond,
		deadline: l.now.Add(time.Duration(m.WithinMS) * time.Millisecond), clients: l.countStaying(),
		why: named(m.Disconnect),
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

// countStaying returns how many clients have not begun to leave.
func (l *loop) countStaying() (n int) {
	for _, c := range l.clients {
		if c.state != closing && c.askedAt.IsZero() {
			n++
		}
	}
	return n
}

// endDrained disconnects clients of a draining worker: as many as are due by now, of those that
// have all frames; after the deadline, all of them.
func (l *loop) endDrained() {
	late := !l.now.Before(l.drain.deadline)
	surplus := l.countStaying() - l.drain.remaining(l.now)
	for i := len(l.clients) - 1; i >= 0; i-- { // serve and disconnect may drop l.clients[i]
		c := l.clients[i]
		switch {
		case c.state == closing:
		case late, !c.askedAt.IsZero() && (c.acked >= c.asked || l.now.Sub(c.askedAt) >= askWait):
			l.disconnect(c, l.drain.why, "")
		case c.askedAt.IsZero() && surplus > 0 && c.cursor >= max(l.drain.head, l.head):
			surplus--
			l.ask(c)
		}
	}
}

// ask pings c for its position before it is disconnected. The answer reaches the primary, so that
// the client continues there if it reconnects at once.
func (l *loop) ask(c *client) {
	if c.acked >= c.cursor {
		l.disconnect(c, l.drain.why, "")
		return
	}
	c.askedAt, c.asked = l.now, c.cursor
	c.due |= duePing
	l.serve(c)
}
