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
// subscribers, about 20 KiB each.
const maxRemembered = 256

// replays remembers the signed upgrades that were used, until their timestamp
// is too old to pass. It never forgets one before: it refuses instead.
type replays struct {
	mu    sync.Mutex // guards all below
	used  map[shardus.PublicKey][]use
	sweep time.Time // when keys that have nothing left are looked for next
}

type use struct {
	sig   signature
	until time.Time     // by the wall clock, which may be set
	keep  time.Duration // the same by time that passes: so long it would pass again if the clock were set back
}

// sweepEvery is how often the memory of keys that do not come back is given up.
const sweepEvery = time.Minute

// claim notes that sig is being used, up to until; passed is time since some
// moment, whatever now was set to meanwhile. It fails with replayed when
// it was used before, and with tooManyUpgrades when the key's memory is full.
func (r *replays) claim(key shardus.PublicKey, sig signature, until, now time.Time, passed time.Duration) (why reason, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == nil {
		r.used = make(map[shardus.PublicKey][]use)
	}
	if !now.Before(r.sweep) {
		for k := range r.used {
			r.forget(k, now, passed)
		}
		r.sweep = now.Add(sweepEvery)
	}
	for _, u := range r.forget(key, now, passed) {
		if u.sig == sig {
			return replayed, false
		}
	}
	if len(r.used[key]) >= maxRemembered {
		return tooManyUpgrades, false
	}
	r.used[key] = append(r.used[key], use{sig, until, passed + until.Sub(now)})
	return reason{}, true
}

// release takes a claim back: the upgrade came to nothing through no fault of
// the client's, which may try again with the same request.
func (r *replays) release(key shardus.PublicKey, sig signature) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(key, func(u use) bool { return u.sig != sig })
}

// forget drops what is too old to pass by itself, and returns the rest.
func (r *replays) forget(key shardus.PublicKey, now time.Time, passed time.Duration) []use {
	return r.keep(key, func(u use) bool { return !now.After(u.until) || passed <= u.keep })
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
