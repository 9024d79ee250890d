package ipc

import (
	"math/rand/v2"
	"time"
)

const (
	// FirstPause is about how long the first failure delays the next start. Each failure in a row
	// doubles the pause, up to mostPause.
	FirstPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
	// forgetAfter is the time without a failure after which all failures are forgotten.
	forgetAfter = time.Minute
)

// Backoff says when a process may be started again after failures. It is zero if a minute has
// passed without a failure.
type Backoff struct {
	Failures int // in a row
	Last     time.Time
	Until    time.Time // no start before
	Err      error     // of the last failure
}

// Fail records a failure. Processes that fail within the same pause, for example because all of
// them were killed at once, count as one.
func (b *Backoff) Fail(now time.Time, err error) {
	b.Forget(now)
	b.Last, b.Err = now, err
	if now.Before(b.Until) {
		return
	}
	d := mostPause
	if b.Failures < 7 { // FirstPause doubled seven times is more than mostPause
		d = min(FirstPause<<b.Failures, mostPause)
	}
	b.Failures++
	b.Until = now.Add(time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())))
}

// Forget resets b if the last failure was long enough ago.
func (b *Backoff) Forget(now time.Time) {
	if b.Failures > 0 && now.Sub(b.Last) >= forgetAfter {
		*b = Backoff{}
	}
}
