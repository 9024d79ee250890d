package gateway

import (
	"sync"
	"time"

	"distributor/wsproto/shardus"
)

// signature is R and S of an Ed25519 signature. The verifier accepts only reduced S, so only the
// owner of the key can make a second signature for the same text. Therefore the signature
// identifies the signed upgrade.
type signature [64]byte

// maxRemembered is how many upgrades one key may make within two handshake windows: enough for a
// collector that reconnects every quarter of a second. The limit applies to each key, so that one
// subscriber cannot lock out the others. With it the whole memory is bounded by the number of
// subscribers: about 20 KiB for each, and 100 bytes for one that has left.
const maxRemembered = 256

// replays remembers used signed upgrades until their timestamp is too old to pass. A forgotten
// upgrade cannot be used again even if the clock is set back, because no request of a key is
// accepted that is as old as a forgotten request of that key.
//
// The mark of a key is the newest end of its forgotten requests, not the newest time that the clock
// has shown. So a clock that jumps ahead and is corrected refuses only requests that were signed
// before the jump. A client that also signed by the wrong clock waits until the right time reaches
// its mark, or until a restart, which begins with an empty memory. Other keys do not wait.
type replays struct {
	mu    sync.Mutex // guards all below
	used  map[shardus.PublicKey][]use
	marks map[shardus.PublicKey]time.Time // the latest until of a key's forgotten requests
	sweep time.Time                       // when to look next for keys without remembered requests
}

type use struct {
	sig   signature
	until time.Time
}

// sweepEvery is how often the memory of keys that do not return is freed.
const sweepEvery = time.Minute

// claim records that sig is used, until the time until. It fails with replayed if sig was used
// before, or is so old that this is not known anymore. It fails with tooManyUpgrades if the key's
// memory is full.
func (r *replays) claim(key shardus.PublicKey, sig signature, until,
	now time.Time) (why reason, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == nil {
		r.used = make(map[shardus.PublicKey][]use)
		r.marks = make(map[shardus.PublicKey]time.Time)
	}
	// A wait longer than sweepEvery means that the clock was set back.
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

// release undoes a claim: the upgrade failed without a fault of the client, which may try again
// with the same request.
func (r *replays) release(key shardus.PublicKey, sig signature) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(key, func(u use) bool { return u.sig != sig })
}

// forget drops requests that are too old to pass by themselves, moves the key's mark behind them,
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
