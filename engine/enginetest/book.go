package enginetest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"distributor/engine/config"
	"distributor/mmaplog/datalog"
	"distributor/wsproto/shardus"
)

// The sample keys, which a Distributor has unless its settings say otherwise.
var (
	hashKey   = must(shardus.ParseHashKey(config.Default().HashKey))
	owner     = must(shardus.ParsePublicKey(config.Default().PublicKey))
	secretKey = must(shardus.ParseSecretKey(string(config.Default().SecretKey)))
	signer    = shardus.NewSigner(secretKey, hashKey)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Book holds, for each stream, the expected messages of all written records, in order. It stores
// hashes of them. It is safe for concurrent use.
type Book struct {
	mu     sync.Mutex // serialises Add
	hashes datalog.PerStream[atomic.Pointer[[]uint64]]
}

// NewBook returns an empty book.
func NewBook() *Book {
	b := &Book{}
	for _, s := range datalog.Streams {
		b.hashes[s].Store(new([]uint64))
	}
	return b
}

// Add adds the message of a record. It must be called before the record is written, because a
// collector may receive the message at once.
func (b *Book) Add(stream datalog.Stream, line []byte) error {
	record, err := shardus.AppendRecord(nil, line)
	if err != nil {
		return fmt.Errorf("enginetest: %.80q is no record: %w", line, err)
	}
	h := xxhash.Sum64(signer.AppendMessage(nil, stream.String(), record))
	b.mu.Lock()
	defer b.mu.Unlock()
	// Readers that have the shorter slice never read beyond its end.
	grown := append(*b.hashes[stream].Load(), h)
	b.hashes[stream].Store(&grown)
	return nil
}

// Counts returns the number of expected messages of each stream.
func (b *Book) Counts() (n datalog.PerStream[int]) {
	for _, s := range datalog.Streams {
		n[s] = len(*b.hashes[s].Load())
	}
	return n
}

// Find returns the number of a message in its stream, or -1. It compares with number guess first.
func (b *Book) Find(stream datalog.Stream, text []byte, guess int) int {
	all, h := *b.hashes[stream].Load(), xxhash.Sum64(text)
	if guess >= 0 && guess < len(all) && all[guess] == h {
		return guess
	}
	return slices.Index(all, h)
}

// Total returns the number of expected messages of all streams.
func (b *Book) Total() (n int) {
	for _, s := range datalog.Streams {
		n += len(*b.hashes[s].Load())
	}
	return n
}

// Reading checks the messages of one collector against a book. It belongs to one goroutine.
type Reading struct {
	book      *Book
	next      datalog.PerStream[int]      // number of the next message
	most      datalog.PerStream[int]      // highest value that next has had
	mayRepeat datalog.PerStream[bool]     // the next message may be an earlier one
	hashes    datalog.PerStream[[]uint64] // from the book, as far as loaded
	// chain depends on all messages so far, of all streams, and on their order.
	chain   uint64
	repeats int // messages that came again
}

// Total returns how many different messages came.
func (r *Reading) Total() (n int) {
	for _, most := range r.most {
		n += most
	}
	return n
}

// Again allows the next message of each stream to be an earlier one. The following messages must
// continue from there in order.
func (r *Reading) Again() {
	for _, s := range datalog.Streams {
		r.mayRepeat[s] = true
	}
}

// Take checks a message: it must equal the next message of its stream.
func (r *Reading) Take(stream string, text []byte) error {
	s, ok := streamNamed(stream)
	if !ok {
		return fmt.Errorf("a message of the stream %q", stream)
	}
	if r.next[s] >= len(r.hashes[s]) {
		r.hashes[s] = *r.book.hashes[s].Load()
	}
	h := xxhash.Sum64(text)
	if r.mayRepeat[s] {
		r.mayRepeat[s], r.next[s] = false, r.most[s]
		if n := slices.Index(r.hashes[s][:r.most[s]], h); n >= 0 {
			r.next[s] = n
		}
	}
	if n := r.next[s]; n >= len(r.hashes[s]) || r.hashes[s][n] != h {
		return r.unexpected(s, h, text)
	}
	r.next[s]++
	if r.next[s] <= r.most[s] {
		r.repeats++
	}
	r.most[s] = max(r.most[s], r.next[s])
	r.chain = (r.chain<<7 | r.chain>>57) ^ h*0x9e3779b97f4a7c15
	return nil
}

func (r *Reading) unexpected(s datalog.Stream, h uint64, text []byte) error {
	got := fmt.Sprintf("a message that is not in the book: %.120q", text)
	if n := slices.Index(*r.book.hashes[s].Load(), h); n >= 0 && n < r.next[s] {
		got = fmt.Sprintf("record %d again", n)
	} else if n >= 0 {
		got = fmt.Sprintf("record %d: %d are missing", n, n-r.next[s])
	}
	return fmt.Errorf("%s: got %s; want record %d", s, got, r.next[s])
}

func streamNamed(name string) (datalog.Stream, bool) {
	for _, s := range datalog.Streams {
		if s.String() == name {
			return s, true
		}
	}
	return 0, false
}
