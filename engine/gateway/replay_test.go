package gateway

import (
	"math/rand/v2"
	"testing"
	"time"

	"distributor/wsproto/shardus"
)

// steady is the time that has passed by a clock that nobody sets.
func steady(now time.Time) time.Duration { return now.Sub(time.Unix(0, 0)) }

func TestReplays(t *testing.T) {
	var r replays
	a, b := shardus.PublicKey{1}, shardus.PublicKey{2}
	start := time.Unix(1_000_000, 0)
	until := start.Add(30 * time.Second)
	claim := func(key shardus.PublicKey, n byte, now time.Time) string {
		t.Helper()
		why, ok := r.claim(key, signature{n}, until, now, steady(now))
		if ok != (why.name == "") {
			t.Fatalf("%v with %q", ok, why.name)
		}
		return why.name
	}
	for i, step := range []struct {
		key  shardus.PublicKey
		sig  byte
		now  time.Time
		want string
	}{
		{a, 1, start, ""},
		{a, 1, start, "replayed"},
		{a, 2, start, ""},
		{b, 1, start, ""},
		{a, 1, until, "replayed"}, // the timestamp still passes at this moment
		{a, 1, until.Add(1), ""},
	} {
		if got := claim(step.key, step.sig, step.now); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
	r.release(a, signature{1})
	if got := claim(a, 1, start); got != "" {
		t.Errorf("after release: %q", got)
	}
}

func TestReplaysAreBoundedAndForgetNothing(t *testing.T) {
	var r replays
	a, b := shardus.PublicKey{1}, shardus.PublicKey{2}
	now := time.Unix(1_000_000, 0)
	until := now.Add(30 * time.Second)
	for n := range maxRemembered {
		if _, ok := r.claim(a, signature{byte(n), byte(n >> 8)}, until, now, steady(now)); !ok {
			t.Fatalf("claim %d refused", n)
		}
	}
	if why, _ := r.claim(a, signature{0, 0, 9}, until, now, steady(now)); why != tooManyUpgrades {
		t.Errorf("one too many: %q", why.name)
	}
	if why, _ := r.claim(a, signature{}, until, now, steady(now)); why != replayed {
		t.Errorf("the first one again: %q", why.name)
	}
	if _, ok := r.claim(b, signature{}, until, now, steady(now)); !ok {
		t.Error("another key is kept out")
	}
	// Keys that never come back are given up.
	if _, ok := r.claim(b, signature{7}, until.Add(time.Hour), until.Add(sweepEvery), steady(until.Add(sweepEvery))); !ok || len(r.used) != 1 {
		t.Errorf("%v, %d keys are remembered", ok, len(r.used))
	}
}

// A clock that is set forward, and back again, opens no gap: neither by a while
// nor by so much that another key's claim would sweep the memory.
func TestReplaysWhenTheClockSteps(t *testing.T) {
	a, b := shardus.PublicKey{1}, shardus.PublicKey{2}
	start := time.Unix(1_000_000, 0)
	until := start.Add(30 * time.Second)
	for _, step := range []time.Duration{time.Hour, 40 * time.Second, -time.Hour} {
		var r replays
		claim := func(key shardus.PublicKey, after, set time.Duration) bool {
			now := start.Add(after)
			_, ok := r.claim(key, signature{1}, until, now.Add(set), steady(now))
			return ok
		}
		if !claim(a, 0, 0) || !claim(b, 10*time.Second, step) || claim(a, 20*time.Second, 0) || claim(a, 30*time.Second, 0) {
			t.Errorf("set by %v: used twice", step)
		}
		if !claim(a, 31*time.Second, 0) || len(r.used[a]) != 1 {
			t.Errorf("set by %v: kept for ever", step)
		}
	}
}

// Against a model that never forgets.
func TestReplaysModel(t *testing.T) {
	var r replays
	random := rand.New(rand.NewPCG(1, 2))
	type claimed struct {
		key shardus.PublicKey
		sig signature
	}
	model := map[claimed]time.Time{}
	now := time.Unix(1_000_000, 0)
	for range 20_000 {
		now = now.Add(time.Duration(random.IntN(2000)) * time.Millisecond)
		c := claimed{shardus.PublicKey{byte(random.IntN(5))}, signature{byte(random.IntN(40))}}
		if _, used := model[c]; used && random.IntN(4) == 0 {
			r.release(c.key, c.sig)
			delete(model, c)
			continue
		}
		until := now.Add(time.Duration(random.IntN(60)) * time.Second)
		last, used := model[c]
		_, ok := r.claim(c.key, c.sig, until, now, steady(now))
		if want := !used || now.After(last); ok != want {
			t.Fatalf("claim %v, want %v", ok, want)
		}
		if ok {
			model[c] = until
		}
	}
}
