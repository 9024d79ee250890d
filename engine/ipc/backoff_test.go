package ipc

import (
	"errors"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	var b Backoff
	boom := errors.New("boom")
	now := time.Unix(1e9, 0)
	for i, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000} {
		want *= time.Millisecond
		b.Fail(now, boom)
		// A second failure within the backoff does not count.
		b.Fail(now.Add(time.Millisecond), boom)
		if d := b.Until.Sub(now); d < want*8/10 || d > want*12/10 || b.Failures != i+1 {
			t.Fatalf("failure %d: %v, want about %v; %d counted", i+1, d, want, b.Failures)
		}
		now = b.Until
	}
	b.Forget(now.Add(30 * time.Second))
	if b.Failures == 0 || !errors.Is(b.Err, boom) {
		t.Fatal("forgotten too early")
	}
	b.Forget(b.Last.Add(forgetAfter))
	if b != (Backoff{}) {
		t.Fatalf("kept %+v", b)
	}
	for range 100 {
		b.Fail(now, boom)
		now = now.Add(forgetAfter)
	}
	if b.Failures != 1 {
		t.Fatalf("%d failures a minute apart add up", b.Failures)
	}
}

// The backoffs of supervisors that fail at the same time differ.
func TestBackoffJitter(t *testing.T) {
	now := time.Unix(1e9, 0)
	seen := make(map[time.Time]bool)
	for range 20 {
		var b Backoff
		b.Fail(now, nil)
		seen[b.Until] = true
	}
	if len(seen) < 10 {
		t.Fatalf("only %d of 20 differ", len(seen))
	}
}
