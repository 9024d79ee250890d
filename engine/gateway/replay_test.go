package gateway

import (
	"math/rand/v2"
	"testing"
	"time"

	"distributor/wsproto/shardus"
)

func TestReplays(t *testing.T) {
	var r replays
	a, b := shardus.PublicKey{1}, shardus.PublicKey{2}
	start := time.Unix(1_000_000, 0)
	until := start.Add(30 * time.Second)
	claim := func(key shardus.PublicKey, n byte, now time.Time) string {
		t.Helper()
		why, ok := r.claim(key, signature{n}, until, now)
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
	} {
		if got := claim(step.key, step.sig, step.now); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
	r.release(a, signature{1})
	if got := claim(a, 1, start); got != "" {
		t.Errorf("after release: %q", got)
	}
	if got := claim(a, 1, until.Add(1)); got != "replayed" {
		t.Errorf("forgotten: %q", got)
	}
}

func TestReplaysAreBoundedAndForgetNothing(t *testing.T) {
	var r replays
	a, b := shardus.PublicKey{1}, shardus.PublicKey{2}
	now := time.Unix(1_000_000, 0)
	until := now.Add(30 * time.Second)
	for n := range maxRemembered {
		if _, ok := r.claim(a, signature{byte(n), byte(n >> 8)}, until, now); !ok {
			t.Fatalf("claim %d refused", n)
		}
	}
	if why, _ := r.claim(a, signature{0, 0, 9}, until, now); why != tooManyUpgrades {
		t.Errorf("one too many: %q", why.name)
	}
	if why, _ := r.claim(a, signature{}, until, now); why != replayed {
		t.Errorf("the first one again: %q", why.name)
	}
	if _, ok := r.claim(b, signature{}, until, now); !ok {
		t.Error("another key is kept out")
	}
	// The memory of keys that never return is freed.
	if _, ok := r.claim(b, signature{7}, until.Add(time.Hour), until.Add(sweepEvery)); !ok ||
		len(r.used) != 1 {
		t.Errorf("%v, %d keys are remembered", ok, len(r.used))
	}
}

// Setting the clock lets no used request pass again, even if that request was forgotten before. A
// clock that jumped ahead and was corrected refuses nobody who signs by the right time.
func TestReplaysWhenTheClockSteps(t *testing.T) {
	const window = 30 * time.Second
	a, b := shardus.PublicKey{1}, shardus.PublicKey{2}
	start := time.Unix(1_000_000, 0)
	for _, step := range []time.Duration{10 * 365 * 24 * time.Hour, time.Hour, 40 * time.Second,
		-time.Hour} {
		for _, other := range []shardus.PublicKey{a, b} {
			var r replays
			// claim uses a request signed at stamp while the clock shows now.
			claim := func(key shardus.PublicKey, n byte, stamp, now time.Time) bool {
				_, ok := r.claim(key, signature{n}, stamp.Add(window), now)
				return ok
			}
			stepped := start.Add(10*time.Second + step)
			if !claim(a, 1, start, start) || !claim(other, 2, stepped, stepped) {
				t.Fatalf("set by %v: a first use is refused", step)
			}
			for after := 20 * time.Second; after <= window; after += time.Second {
				if claim(a, 1, start, start.Add(after)) {
					t.Fatalf("set by %v: used twice", step)
				}
			}
			back := start.Add(21 * time.Second)
			if step > 0 && (!claim(a, 3, back, back) || !claim(b, 4, back, back)) {
				t.Errorf("set by %v and put right: who signs a new request is refused", step)
			}
		}
	}
	// Time passes, the request is forgotten, and the clock is set back.
	var r replays
	for i, now := range []time.Duration{0, 70 * time.Second, 10 * time.Second} {
		stamp, n := start, byte(1)
		if i == 1 {
			stamp, n = start.Add(now), 2
		}
		if _, ok := r.claim(a, signature{n}, stamp.Add(window), start.Add(now)); ok != (i < 2) {
			t.Errorf("claim %d: %v", i, ok)
		}
	}
}

// Compares replays with a model that never forgets.
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
		_, ok := r.claim(c.key, c.sig, until, now)
		if want := !used || now.After(last); ok != want {
			t.Fatalf("claim %v, want %v", ok, want)
		}
		if ok {
			model[c] = until
		}
	}
}

// A clock that was ahead for a while and is corrected refuses the key whose requests were signed by
// the wrong time, and no other key.
func TestReplaysOfOneKeyKeepNoOtherOut(t *testing.T) {
	const window = 30 * time.Second
	a, b := shardus.PublicKey{1}, shardus.PublicKey{2}
	start := time.Unix(1_000_000, 0)
	for _, ahead := range []time.Duration{time.Minute, time.Hour, 10 * 365 * 24 * time.Hour} {
		var r replays
		claim := func(key shardus.PublicKey, n byte, stamp, now time.Duration) bool {
			_, ok := r.claim(key, signature{n}, start.Add(stamp+window), start.Add(now))
			return ok
		}
		// The clock of a is a whole window ahead of ours, twice: its first request is forgotten.
		for n, now := range []time.Duration{ahead, ahead + 2*window + time.Second} {
			if !claim(a, byte(n), now+window, now) {
				t.Fatalf("%v ahead: a first use is refused", ahead)
			}
		}
		if !claim(b, 1, 0, 0) {
			t.Errorf("%v ahead and put right: another key is kept out", ahead)
		}
		if claim(a, 0, ahead+window, ahead+window) {
			t.Errorf("%v ahead and put right: what was used works again", ahead)
		}
	}
	// While our clock is right, a key whose clock is as far ahead as allowed makes nobody be refused
	// whose clock is as far behind.
	var r replays
	for now := time.Duration(0); now < 5*time.Minute; now += time.Second {
		early, late := start.Add(now+2*window), start.Add(now)
		if _, ok := r.claim(a, signature{byte(now / time.Second), 1}, early, start.Add(now)); !ok {
			t.Fatalf("after %v: the key ahead is refused", now)
		}
		if _, ok := r.claim(b, signature{byte(now / time.Second), 2}, late, start.Add(now)); !ok {
			t.Fatalf("after %v: the key behind is refused", now)
		}
	}
}
