package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"math/rand/v2"
)

// random is the one source of chance: ChaCha8 keyed by the seed's text, so a seed
// means the same bytes on every machine and with every Go release.
type random struct {
	src *rand.ChaCha8
	*rand.Rand
}

func newRandom(seed string) *random {
	src := rand.NewChaCha8(sha256.Sum256([]byte("simulated archiver:" + seed)))
	return &random{src: src, Rand: rand.New(src)}
}

func (r *random) bytes(n int) []byte {
	b := make([]byte, n)
	r.src.Read(b) // never fails
	return b
}

func (r *random) hex(bytes int) string { return hex.EncodeToString(r.bytes(bytes)) }

// between returns an integer of [low, high].
func (r *random) between(low, high int) int { return low + r.IntN(high-low+1) }

func (r *random) chance(share float64) bool { return share > 0 && r.Float64() < share }

// big returns a number of at most so many bytes.
func (r *random) big(bytes int) *big.Int { return new(big.Int).SetBytes(r.bytes(bytes)) }

func pick[T any](r *random, of []T) T { return of[r.IntN(len(of))] }

// some returns n different elements; all of them where there are fewer.
func some[T any](r *random, of []T, n int) []T {
	out := make([]T, 0, n)
	for _, i := range r.Perm(len(of))[:min(n, len(of))] {
		out = append(out, of[i])
	}
	return out
}
