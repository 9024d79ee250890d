package worker

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// lingering has new frames wait for each other: the live clients are sent to at
// most once in every, so that small frames share a system call. What comes after
// a quiet time goes at once, and so does what fills a slice: more of it would not
// go into one call, and a short frame log must not pass by who waits. Nobody else
// waits: who is behind is served up to the frame log's own head, and has then less
// to get in the next round.
type lingering struct {
	every         time.Duration // 0: off
	live, waiting rounds        // of these lists of the loop's
	timer         int           // for the round that is waited for, a timerfd
	expires       time.Time     // when; zero: it does not
}

// rounds are those of one list.
type rounds struct {
	last time.Time // when its clients were last sent something
	sent uint64    // the head then
	due  bool      // there may be something new for them
}

// roundsOf are those that c takes part in when it is live.
func (l *loop) roundsOf(c *client) *rounds {
	if c.Deflate {
		return &l.linger.waiting
	}
	return &l.linger.live
}

// round sends to the clients of a list, if there is something new and it is time.
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
	if l.stats.Sends != before { // else the compressed log may not have it yet
		r.last, r.sent = l.now, l.head
	}
}

// hold tells whether a round's time is still to come. A worker that is to end
// holds back nothing.
func (l *loop) hold(r *rounds) bool {
	g := &l.linger
	at := r.last.Add(g.every)
	if l.drain != nil || !l.now.Before(at) || l.head-r.sent >= sliceBytes {
		return false
	}
	if g.expires.IsZero() || at.Before(g.expires) { // the other round's timer does as well, if it is earlier
		g.expires = at
		once := unix.ItimerSpec{Value: unix.NsecToTimespec(at.Sub(l.now).Nanoseconds())}
		if err := unix.TimerfdSettime(g.timer, 0, &once, nil); err != nil {
			l.failure = fmt.Errorf("worker: timer: %w", err)
		}
	}
	return true
}

// lingerFor takes a new setting. What waits by the old one goes at once.
func (l *loop) lingerFor(every time.Duration) {
	if every != l.linger.every {
		l.linger.every, l.linger.live.last, l.linger.waiting.last = every, time.Time{}, time.Time{}
		l.again()
	}
}
