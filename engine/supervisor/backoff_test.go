package supervisor

import (
	"errors"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	var b backoff
	boom := errors.New("boom")
	now := time.Unix(1e9, 0)
	for i, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000} {
		want *= time.Millisecond
		b.fail(now, boom)
		// A second death within the delay is of the same misfortune.
		b.fail(now.Add(time.Millisecond), boom)
		if d := b.until.Sub(now); d < want*8/10 || d > want*12/10 || b.failures != i+1 {
			t.Fatalf("failure %d: %v, want about %v; %d counted", i+1, d, want, b.failures)
		}
		now = b.until
	}
	b.forget(now.Add(30 * time.Second))
	if b.failures == 0 || b.err != boom {
		t.Fatal("forgotten too early")
	}
	b.forget(b.last.Add(backoffForget))
	if b != (backoff{}) {
		t.Fatalf("kept %+v", b)
	}
	for range 100 {
		b.fail(now, boom)
		now = now.Add(backoffForget)
	}
	if b.failures != 1 {
		t.Fatalf("%d failures a minute apart add up", b.failures)
	}
}

// The delays of supervisors that fail together spread.
func TestBackoffJitter(t *testing.T) {
	now := time.Unix(1e9, 0)
	seen := make(map[time.Time]bool)
	for range 20 {
		var b backoff
		b.fail(now, nil)
		seen[b.until] = true
	}
	if len(seen) < 10 {
		t.Fatalf("only %d of 20 differ", len(seen))
	}
}
