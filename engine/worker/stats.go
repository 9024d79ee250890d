package worker

import (
	"slices"
	"time"

	"distributor/engine/handoff"
)

// recentReports is how many reports Stats.LatencyMax covers: ten seconds, at about one a second.
const recentReports = 10

// measure takes a sample of the latency from the frame log to the kernel, after c was served: the
// age of the newest frame that c was given, in whole or in part. Age counts from when the primary
// began to append the frame's chunk (framelog.Meta.Time) to the wall clock after the send. With
// lingering it is the age of the oldest frame that c was given, which has waited longest.
//
// round calls measure after its first and its last live client. So a sample is the best or the
// worst case of a round, and costs the same for any number of clients. Clients that are behind or
// blocked are not sampled, because their wait depends on themselves. Lag and Slowest report them.
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
			return // serve gets the same error, and logs it
		}
		l.sampled.offset, l.sampled.time = at, m.Time
	}
	// The wall clock may have been set back.
	age := max(0, time.Duration(time.Now().UnixNano()-l.sampled.time)).Seconds()
	l.stats.Latency.Observe(&handoff.LatencyBounds, age)
	l.slowestSample = max(l.slowestSample, age)
}

// lag returns how many bytes c was behind the head when the last turn began.
func (l *loop) lag(c *client) uint64 { return l.head - min(c.cursor, l.head) }

// report sends Stats to the primary.
func (l *loop) report() {
	s := &l.stats
	s.Head, s.MinCursor, s.Slots = l.head, 0, slots()
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
		if c.cursor < l.head && c.state != live { // a live client waits for its round
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

// insertSlow inserts c into the list of clients that are furthest behind, worst first.
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
	return slices.Insert(worst, at,
		handoff.Slow{ID: c.id, Key: c.key, Cursor: c.cursor, Blocked: c.sendBlocked})
}

// age returns the age, in seconds, of the frame in which the cursor of a client that is behind
// stands; 0 if that frame is no longer kept.
func (l *loop) age(cursor uint64) float64 {
	m, err := l.frames.Meta(cursor + 1)
	if err != nil {
		return 0
	}
	return max(0, time.Duration(l.now.UnixNano()-m.Time)).Seconds()
}
