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
	every time.Duration // 0: off
	last  time.Time     // when the live clients were last sent to
	sent  uint64        // the head then
	due   bool          // there is something new for them
	timer int           // for the round that is waited for, a timerfd
	armed bool          // it is set
}

// hold tells whether the live clients' turn is still to come. A worker that is
// to end holds back nothing.
func (l *loop) hold() bool {
	g := &l.linger
	if l.drain != nil || l.head-g.sent >= sliceBytes {
		return false
	}
	wait := g.every - l.now.Sub(g.last)
	if wait <= 0 {
		return false
	}
	if !g.armed {
		g.armed = true
		once := unix.ItimerSpec{Value: unix.NsecToTimespec(wait.Nanoseconds())}
		if err := unix.TimerfdSettime(g.timer, 0, &once, nil); err != nil {
			l.failure = fmt.Errorf("worker: timer: %w", err)
		}
	}
	return true
}

// lingerFor takes a new setting. What waits by the old one goes at once.
func (l *loop) lingerFor(every time.Duration) {
	if every != l.linger.every {
		l.linger.every, l.linger.last = every, time.Time{}
		l.again()
	}
}

// round sends to the live clients.
func (l *loop) round() {
	l.linger.due, l.linger.last, l.linger.sent = false, l.now, l.head
	first := len(l.live) - 1
	for i := first; i >= 0; i-- { // serve may take l.live[i] out
		c := l.live[i]
		from := c.cursor
		l.serve(c)
		if i == first || i == 0 {
			l.measure(c, from)
		}
	}
}
