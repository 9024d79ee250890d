package worker

import (
	"fmt"
	"time"
)

// slowRule says when a client is too slow: for a whole window it was more than lag bytes behind the
// head, its socket was full at every check, and its peer acknowledged less than rate.
//
// The rule is not for clients that the frame log is about to overtake: wsproto.BehindFloor ends
// those. It is for a client that reads a little now and then, and holds a slot for days without
// ever catching up. So the rate is below that of any usable connection, and the window is long
// enough for a client's own pauses to average out.
type slowRule struct {
	lag    uint64 // bytes; 0: nobody is too slow
	rate   uint64 // bytes a second
	window time.Duration
}

// slowness is the state of slowRule for one client. The zero value is a client that is not slow.
type slowness struct {
	since time.Time // start of the window; zero: no window has begun
	from  uint64    // bytes that the peer had acknowledged by then
}

// check applies r to a client that is lag bytes behind, whose peer has acknowledged taken bytes,
// and whose socket is full or not. If the client is too slow, check returns a description of what
// it did, else "".
func (s *slowness) check(r slowRule, now time.Time, lag, taken uint64, full bool) string {
	if r.lag == 0 || !full || lag <= r.lag {
		*s = slowness{}
		return ""
	}
	if s.since.IsZero() {
		*s = slowness{now, taken}
		return ""
	}
	took, in := taken-s.from, now.Sub(s.since)
	if in < r.window {
		return ""
	}
	if float64(took) >= float64(r.rate)*in.Seconds() {
		*s = slowness{now, taken} // fast enough: the next window
		return ""
	}
	return fmt.Sprintf("took %d bytes in %v, with %d to go", took, in.Round(time.Millisecond), lag)
}
