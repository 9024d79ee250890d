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
	if d.spread > 0 {
		if err := setTimer(l.timer, drainEvery); err != nil {
			return fmt.Errorf("worker: timer: %w", err)
		}
	}
	l.endDrained()
	return nil
}

// staying is how many clients are not being closed.
func (l *loop) staying() (n int) {
	for _, c := range l.clients {
		if c.state != closing {
			n++
		}
	}
	return n
}

// endDrained closes as many clients of a draining worker as is time for, of
// those that have all there is; when their time is up, the others too.
func (l *loop) endDrained() {
	late := !l.now.Before(l.drain.deadline)
	surplus := l.staying() - l.drain.stay(l.now)
	for i := len(l.clients) - 1; i >= 0 && surplus > 0; i-- { // disconnect may drop l.clients[i]
		if c := l.clients[i]; c.state != closing && (late || c.cursor >= max(l.drain.head, l.head)) {
			l.disconnect(c, l.drain.why, "")
			surplus--
		}
	}
}
