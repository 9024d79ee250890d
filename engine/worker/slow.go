package worker

import (
	"fmt"
	"time"
)

// slowRule says when a client is too slow: for a whole window it was further
// behind the head than lag, the socket was never ready for more when it was
// looked at, and in all that time its peer acknowledged less than rate.
//
// It is not for clients that are about to be lost: how long those can be served
// is what the frame log decides (wsproto.BehindFloor). It is for one that lives,
// as its socket takes a little now and then, and holds a place for days without
// ever getting anywhere. Hence a rate below any line that a collector is run
// on, and a window in which pauses of its own average out.
type slowRule struct {
	lag    uint64 // bytes; 0: nobody is too slow
	rate   uint64 // bytes a second
	window time.Duration
}

// slowness is what is remembered of a client to judge it. The zero value is
// that of one with which all is well.
type slowness struct {
	since time.Time // when the stretch of being far behind began that is looked at; zero: it is not
	from  uint64    // what its peer had acknowledged by then
}

// observe takes a look at a client: how far it is behind, how many bytes its peer
// has acknowledged, and whether its socket is full, so that it waits for nobody
// but itself. It returns an account of what the client did when that was too
// slow, else "".
func (s *slowness) observe(r slowRule, now time.Time, lag, taken uint64, full bool) string {
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
		*s = slowness{now, taken} // it works: the next window
		return ""
	}
	return fmt.Sprintf("took %d bytes in %v, with %d to go", took, in.Round(time.Millisecond), lag)
}
