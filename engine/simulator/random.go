package simulator

import (
	"crypto/sha256"
	"math/rand/v2"
)

// random is the one source of randomness: ChaCha8 with a key made from the seed's text. So a seed
// gives the same bytes on every machine and with every Go release.
type random struct {
	src *rand.ChaCha8
	*rand.Rand
}

func newRandom(seed string) *random {
	src := rand.NewChaCha8(sha256.Sum256([]byte("simulated archiver:" + seed)))
	return &random{src: src, Rand: rand.New(src)}
}

// between returns an integer of [low, high].
func (r *random) between(low, high int) int { return low + r.IntN(high-low+1) }

func (r *random) chance(share float64) bool { return share > 0 && r.Float64() < share }
