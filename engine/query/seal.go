package query

import (
	"fmt"
	"slices"
	"sync"

	"distributor/wsproto/shardus"
)

// The query process does not have the secret key. It gives each answer without `sign`, and with it, in a header, the
// hash that is to be signed and the place where `sign` goes; the primary signs and puts it there.

// sealHeader holds a seal.
const sealHeader = "Distributor-Seal"

// seal says what is to be signed, and where in the text the signature goes.
type seal struct {
	hash [32]byte
	at   int
	// first: `sign` is the first member, so a comma follows it; else one precedes it.
	first bool
}

func (s seal) String() string { return fmt.Sprintf("%x %d %t", s.hash, s.at, s.first) }

// parseSeal reads what String wrote.
func parseSeal(text string) (s seal, err error) {
	var hash []byte
	if _, err = fmt.Sscanf(text, "%x %d %t", &hash, &s.at, &s.first); err != nil || len(hash) != len(s.hash) {
		return s, fmt.Errorf("query: seal %q: %w", text, err)
	}
	s.hash = [32]byte(hash)
	return s, nil
}

// member is `sign` with its comma.
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

// put gives the text with `sign` in its place.
func (s seal) put(text []byte, by *shardus.Signer) []byte {
	return slices.Insert(text, s.at, s.member(by)...)
}

// copyBytes at a time, as much as a Unix socket holds: the fewer turns an answer takes, the less it delays records.
const copyBytes = 256 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}
