package gateway

import (
	"sync"
	"time"

	"distributor/wsproto/shardus"
)

// signature is R and S of an Ed25519 signature. Since the verifier takes only
// reduced S, nobody but the owner of the key can make a second one for the
// same text, so that it names the signed upgrade.
type signature [64]byte

// maxRemembered bounds the upgrades that one key may make within two
// handshake windows: enough for a collector that comes back every quarter of
// a second. The bound is for a key, not for all, so that one subscriber cannot
// lock out the others; with it the whole memory is bounded by the number of
// subscribers, about 20 KiB each, and 100 bytes of one that has left.
const maxRemembered = 256

// replays remembers the signed upgrades that were used, until their timestamp
// is too old to pass. What it has forgotten cannot be used again either when
// the clock is set back: no request of a key is taken that is as old as a
// forgotten one of that key.
//
// Such a mark is the newest end of what the key used and was forgotten, not the
// newest time the clock has shown: a clock that jumps ahead, and is put right,
// refuses only what was signed before the jump. A client that signed by the
// wrong clock, too, waits until it is that late again, or until a restart, which
// begins with an empty memory. Other keys do not wait.
type replays struct {
	mu    sync.Mutex // guards all below
	used  map[shardus.PublicKey][]use
	marks map[shardus.PublicKey]time.Time // the latest until of a key's that was forgotten
	sweep time.Time                       // when keys that have nothing left are looked for next
}

type use struct {
	sig   signature
	until time.Time
}

// sweepEvery is how often the memory of keys that do not come back is given up.
const sweepEvery = time.Minute

// claim notes that sig is being used, up to until. It fails with replayed when
// it was used before, or is so old that this is not known any more, and with
// tooManyUpgrades when the key's memory is full.
func (r *replays) claim(key shardus.PublicKey, sig signature, until, now time.Time) (why reason, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == nil {
		r.used = make(map[shardus.PublicKey][]use)
		r.marks = make(map[shardus.PublicKey]time.Time)
	}
	// A wait longer than sweepEvery is that of a clock that was set back.
	if wait := r.sweep.Sub(now); wait <= 0 || wait > sweepEvery {
		for k := range r.used {
			r.forget(k, now)
		}
		r.sweep = now.Add(sweepEvery)
	}
	uses := r.forget(key, now)
	if !until.After(r.marks[key]) {
		return replayed, false
	}
	for _, u := range uses {
		if u.sig == sig {
			return replayed, false
		}
	}
	if len(uses) >= maxRemembered {
		return tooManyUpgrades, false
	}
	r.used[key] = append(uses, use{sig, until})
	return reason{}, true
}

// release takes a claim back: the upgrade came to nothing through no fault of
// the client's, which may try again with the same request.
func (r *replays) release(key shardus.PublicKey, sig signature) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(key, func(u use) bool { return u.sig != sig })
}

// forget drops what is too old to pass by itself, moves the key's mark behind it,
// and returns the rest.
func (r *replays) forget(key shardus.PublicKey, now time.Time) []use {
	return r.keep(key, func(u use) bool {
		if !now.After(u.until) {
			return true
		}
		if u.until.After(r.marks[key]) {
			r.marks[key] = u.until
		}
		return false
	})
}

func (r *replays) keep(key shardus.PublicKey, wanted func(use) bool) []use {
	kept := r.used[key][:0]
	for _, u := range r.used[key] {
		if wanted(u) {
			kept = append(kept, u)
		}
	}
	if len(kept) == 0 {
		delete(r.used, key)
		return nil
	}
	r.used[key] = kept
	return kept
}
