package supervisor

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFirst  = 100 * time.Millisecond
	backoffMost   = 10 * time.Second
	backoffForget = time.Minute // without a failure
)

// backoff says when a worker may be started again after failures.
type backoff struct {
	failures int // in a row
	last     time.Time
	until    time.Time
	err      error // of the last failure
}

// fail notes a failure. Several workers that die within one delay (all of
// them killed at once, say) count as one.
func (b *backoff) fail(now time.Time, err error) {
	b.forget(now)
	b.last, b.err = now, err
	if now.Before(b.until) {
		return
	}
	d := backoffMost
	if b.failures < 7 { // 100 ms doubled seven times is beyond the most
		d = min(backoffFirst<<b.failures, backoffMost)
	}
	b.failures++
	b.until = now.Add(time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())))
}

// forget drops the past when it is long enough ago.
func (b *backoff) forget(now time.Time) {
	if b.failures > 0 && now.Sub(b.last) >= backoffForget {
		*b = backoff{}
	}
}
