package worker

import (
	"time"

	"distributor/wsproto"
)

const (
	// quietAfter is how long the head must stand still until caught-up clients are pinged at the
	// next tick, so that a client that leaves then has confirmed all that it got.
	quietAfter = 100 * time.Millisecond
	// lateTick is the time between two ticks from which on the process itself was delayed (stopped,
	// or the machine suspended). Then the clients' input is handled first, and their timeouts are
	// checked at the next tick.
	lateTick = 2 * time.Second
	// confirmEvery is how often a client is pinged while it has something to confirm.
	confirmEvery = time.Second
)

// tick does the periodic work: deadlines, pings, the floor, the report to the primary. It also
// takes a turn, in case a wake-up was lost.
func (l *loop) tick() {
	l.flushOutbox()
	if l.frames == nil {
		return
	}
	if err := l.turn(); err != nil {
		l.failure = err
		return
	}
	late := l.now.Sub(l.ticked) >= lateTick
	l.ticked = l.now
	floor, quiet := l.frames.Floor(), l.now.Sub(l.moved) >= quietAfter
	for i := len(l.clients) - 1; i >= 0 && !late; i-- { // check may drop l.clients[i]
		l.check(l.clients[i], floor, quiet)
	}
	for i := len(l.parting) - 1; i >= 0 && !late; i-- { // waitForEnd may release l.parting[i]
		l.waitForEnd(l.parting[i])
	}
	if len(l.clients) == 0 && l.head > 0 {
		// Without clients nothing else makes the reader unmap removed segments, which keep their
		// disk space until then.
		_, _ = l.frames.Frames(l.head-1, 1)
	}
	if l.ticks++; l.ticks%statsEvery == 0 {
		l.report()
	}
}

// check applies the timeouts to one client, and pings it if a ping is due.
func (l *loop) check(c *client, floor uint64, quiet bool) {
	if c.state == closing {
		l.waitForEnd(c)
		return
	}
	if c.sendBlocked || !c.unanswered.IsZero() {
		c.observe(l.now)
	}
	timeout := l.pingTimeout()
	switch {
	case c.cursor < floor:
		l.lost(c, wsproto.BehindFloor, errBehindFloor)
		return
	case c.sendBlocked && (l.now.Sub(c.progress) >= timeout || c.silent(l.now) >= timeout):
		l.lost(c, wsproto.TooSlow, errStalled)
		return
	case c.silent(l.now) >= timeout:
		l.disconnect(c, wsproto.PingTimeout, "")
		return
	}
	if how := c.slowness.check(l.slow, l.now, l.lag(c), c.taken, c.sendBlocked); how != "" {
		l.disconnect(c, wsproto.TooSlow, how)
		return
	}
	held := c.state == live && l.roundsOf(c).due
	if c.pingDue(l.now, quiet && !held, time.Duration(l.settings.PingIntervalMS)*time.Millisecond) {
		c.due |= duePing
		if c.state == live && !held { // else in its turn, when the socket is writable, or in the round
			l.serve(c)
		}
	}
}

func (l *loop) pingTimeout() time.Duration {
	return time.Duration(l.settings.PingTimeoutMS) * time.Millisecond
}

// silent returns for how long a ping has gone unanswered.
func (c *client) silent(now time.Time) time.Duration {
	if c.unanswered.IsZero() {
		return 0
	}
	return now.Sub(c.unanswered)
}

// pingDue tells whether a client should be pinged now.
func (c *client) pingDue(now time.Time, quiet bool, keepAlive time.Duration) bool {
	since := now.Sub(c.pingAt)
	if c.cursor == c.pinged {
		return since >= keepAlive
	}
	return quiet && c.state == live || since >= confirmEvery
}
