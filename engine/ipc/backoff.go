package ipc

import (
	"math/rand/v2"
	"time"
)

const (
	// FirstPause is about how long the first failure holds starts back. Each failure in a row
	// doubles it, up to mostPause.
	FirstPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
	// forgetAfter is how long after the last failure all are forgotten.
	forgetAfter = time.Minute
)

// Backoff says when a process may be started again after failures. It is zero when all is well: a
// minute has passed without a failure.
type Backoff struct {
	Failures int // in a row
	Last     time.Time
	Until    time.Time // no start before
	Err      error     // of the last failure
}

// Fail notes a failure. Several processes that die within one pause (all of them killed at once, say)
// count as one.
func (b *Backoff) Fail(now time.Time, err error) {
	b.Forget(now)
	b.Last, b.Err = now, err
	if now.Before(b.Until) {
		return
	}
	d := mostPause
	if b.Failures < 7 { // FirstPause doubled seven times is beyond the most
		d = min(FirstPause<<b.Failures, mostPause)
	}
	b.Failures++
	b.Until = now.Add(time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())))
}

// Forget drops the past when it is long enough ago.
func (b *Backoff) Forget(now time.Time) {
	if b.Failures > 0 && now.Sub(b.Last) >= forgetAfter {
		*b = Backoff{}
	}
}
