package worker

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// lingering batches new frames (LINGER_MS): the live clients are sent to at most once per interval,
// so that small frames share a system call. A frame after a quiet time is sent at once. So is a
// full slice, because more would not fit one call, and because a short frame log must not overtake
// clients that wait. Clients that are behind do not wait: they are served up to the head of the
// frame log, and get less in the next round.
type lingering struct {
	every         time.Duration // 0: off
	live, waiting rounds        // of loop.live and loop.waiting
	timer         int           // timerfd for the next round
	expires       time.Time     // when timer expires; zero: it is not set
}

// rounds is the state of the rounds of one list of clients.
type rounds struct {
	last time.Time // when the last round sent something
	sent uint64    // the head then
	due  bool      // there may be something new for the clients
}

// roundsOf returns the rounds in which c takes part when it is live.
func (l *loop) roundsOf(c *client) *rounds {
	if c.Deflate {
		return &l.linger.waiting
	}
	return &l.linger.live
}

// round sends to the clients of a list, if there may be something new and the interval is over.
func (l *loop) round(r *rounds, clients *[]*client) {
	if !r.due || l.hold(r) {
		return
	}
	r.due = false
	before := l.stats.Sends
	first := len(*clients) - 1
	for i := first; i >= 0; i-- { // serve may take clients[i] out
		c := (*clients)[i]
		from := c.cursor
		l.serve(c)
		if i == first || i == 0 {
			l.measure(c, from)
		}
	}
	if l.stats.Sends != before { // else the compressed log may not have the new frames yet
		r.last, r.sent = l.now, l.head
	}
}

// hold tells whether a round must still wait, and sets the timer for it. When the worker is to end,
// no round waits.
func (l *loop) hold(r *rounds) bool {
	g := &l.linger
	at := r.last.Add(g.every)
	if l.drain != nil || !l.now.Before(at) || l.head-r.sent >= sliceBytes {
		return false
	}
	// A timer that expires earlier, for the other list, serves both.
	if g.expires.IsZero() || at.Before(g.expires) {
		g.expires = at
		once := unix.ItimerSpec{Value: unix.NsecToTimespec(at.Sub(l.now).Nanoseconds())}
		if err := unix.TimerfdSettime(g.timer, 0, &once, nil); err != nil {
			l.failure = fmt.Errorf("worker: timer: %w", err)
		}
	}
	return true
}

// lingerFor sets the interval. Frames that wait for the old one are sent at once.
func (l *loop) lingerFor(every time.Duration) {
	if every != l.linger.every {
		l.linger.every = every
		l.linger.live.last, l.linger.waiting.last = time.Time{}, time.Time{}
		l.again()
	}
}
