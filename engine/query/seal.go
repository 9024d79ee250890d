package query

import (
	"fmt"
	"slices"
	"sync"

	"distributor/wsproto/shardus"
)

// The query process does not have the secret key. It returns each answer without `sign`, and in a
// header the hash that is to be signed and the place of `sign`. The primary signs and inserts it.

// sealHeader is the header that holds a seal.
const sealHeader = "Distributor-Seal"

// seal says what is to be signed, and where in the text the signature goes.
type seal struct {
	hash [32]byte
	at   int
	// first means that `sign` is the first member, so that a comma follows it; else a comma precedes
	// it.
	first bool
}

func (s seal) String() string { return fmt.Sprintf("%x %d %t", s.hash, s.at, s.first) }

// parseSeal parses the result of String.
func parseSeal(text string) (s seal, err error) {
	var hash []byte
	_, err = fmt.Sscanf(text, "%x %d %t", &hash, &s.at, &s.first)
	if err != nil || len(hash) != len(s.hash) {
		return s, fmt.Errorf("query: seal %q: %w", text, err)
	}
	s.hash = [32]byte(hash)
	return s, nil
}

// member returns `sign` with its comma.
func (s seal) member(by *shardus.Signer) []byte {
	member := make([]byte, 0, 400)
	if !s.first {
		member = append(member, ',')
	}
	member = by.AppendSign(member, s.hash)
	if s.first {
		member = append(member, ',')
	}
	return member
}

// put inserts `sign` into the text.
func (s seal) put(text []byte, by *shardus.Signer) []byte {
	return slices.Insert(text, s.at, s.member(by)...)
}

// copyBytes is how much of an answer is copied at a time: as much as a Unix socket holds. Fewer
// copies delay records less.
const copyBytes = 256 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}
