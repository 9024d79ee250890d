package worker

import (
	"slices"
	"time"

	"distributor/engine/handoff"
)

// recentReports is how many reports the largest latency is remembered for: ten
// seconds, as one is sent about every second.
const recentReports = 10

// measure takes a sample of the latency from the frame log to the kernel, after
// c was served: the age of the newest frame that it was given, in whole or in
// part. Age counts from when the primary began to append the frame's chunk
// (framelog.Meta.Time) and is read from the clock after the send. Where frames
// wait for each other it is the oldest that counts: it has waited longest.
//
// turn asks for it after its first and its last live client, so a sample is the
// best or the worst case of a turn, and costs the same however many clients
// there are. Clients that are behind or blocked are not sampled: how long they
// wait is their own doing, and Lag and Slowest tell of it.
func (l *loop) measure(c *client, from uint64) {
	if c.fd < 0 || c.cursor == from {
		return // gone, or its socket was full
	}
	at := c.cursor
	if l.linger.every > 0 {
		at = from + 1
	}
	if at != l.sampled.offset {
		m, err := l.frames.Meta(at)
		if err != nil {
			return // serve meets it as well, and tells
		}
		l.sampled.offset, l.sampled.time = at, m.Time
	}
	age := max(0, time.Duration(time.Now().UnixNano()-l.sampled.time)).Seconds() // the wall clock may have been set back
	l.stats.Latency.Observe(&handoff.LatencyBounds, age)
	l.slowestSample = max(l.slowestSample, age)
}

// lag is how many bytes c is behind the head, which is as of the last turn's
// beginning: c may have got more since.
func (l *loop) lag(c *client) uint64 { return l.head - min(c.cursor, l.head) }

// report tells the primary how we are.
func (l *loop) report() {
	s := &l.stats
	s.Head, s.MinCursor, s.Room = l.head, 0, room()
	s.Clients, s.Blocked, s.Slowest = len(l.clients), 0, s.Slowest[:0]
	for _, c := range l.clients {
		if c.state == closing {
			continue
		}
		s.Lag.Observe(&handoff.LagBounds, float64(l.lag(c)))
		if at := min(c.cursor, l.head); s.MinCursor == 0 || at < s.MinCursor {
			s.MinCursor = at
		}
		if c.sendBlocked {
			s.Blocked++
		}
		if c.cursor < l.head && c.state != live { // else it waits for us: see lingering
			s.Slowest = insertSlow(s.Slowest, c)
		}
	}
	for i := range s.Slowest {
		s.Slowest[i].Seconds = l.age(s.Slowest[i].Cursor)
	}
	copy(l.worst[1:], l.worst[:])
	l.worst[0], l.slowestSample = l.slowestSample, 0
	s.LatencyMax = slices.Max(l.worst[:])
	l.sendToPrimary(handoff.Message{Stats: s})
}

// insertSlow keeps the worst, worst first.
func insertSlow(worst []handoff.Slow, c *client) []handoff.Slow {
	at := len(worst)
	for at > 0 && worst[at-1].Cursor > c.cursor {
		at--
	}
	if at == handoff.MaxSlowest {
		return worst
	}
	if len(worst) == handoff.MaxSlowest {
		worst = worst[:len(worst)-1]
	}
	return slices.Insert(worst, at, handoff.Slow{ID: c.id, Key: c.key, Cursor: c.cursor, Blocked: c.sendBlocked})
}

// age is that of the frame that the cursor of a client which is behind stands
// in, in seconds; 0 when that frame is no longer kept.
func (l *loop) age(cursor uint64) float64 {
	m, err := l.frames.Meta(cursor + 1)
	if err != nil {
		return 0
	}
	return max(0, time.Duration(l.now.UnixNano()-m.Time)).Seconds()
}
