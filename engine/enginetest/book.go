package enginetest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"distributor/engine/config"
	"distributor/engine/simulator"
	"distributor/wsproto/shardus"
)

// The sample keys, which a Distributor has unless its settings say otherwise.
var (
	hashKey = must(shardus.ParseHashKey(config.Default().HashKey))
	owner   = must(shardus.ParsePublicKey(config.Default().PublicKey))
	signer  = shardus.NewSigner(must(shardus.ParseSecretKey(string(config.Default().SecretKey))), hashKey)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Book is what is due: of each stream the messages for the records written, in
// order. It keeps their hashes.
type Book struct {
	mu      sync.Mutex // of those who add
	streams [len(simulator.Streams)]atomic.Pointer[[]uint64]
}

// NewBook makes an empty book.
func NewBook() *Book {
	b := &Book{}
	for i := range b.streams {
		b.streams[i].Store(new([]uint64))
	}
	return b
}

// Add notes a record, before it is written: nobody can receive what is not in
// the book.
func (b *Book) Add(stream int, line []byte) error {
	record, err := shardus.AppendRecord(nil, line)
	if err != nil {
		return fmt.Errorf("enginetest: %.80q is no record: %w", line, err)
	}
	h := xxhash.Sum64(signer.AppendMessage(nil, simulator.Streams[stream], record))
	b.mu.Lock()
	defer b.mu.Unlock()
	grown := append(*b.streams[stream].Load(), h) // readers have the shorter slice, and never look behind its end
	b.streams[stream].Store(&grown)
	return nil
}

// Counts are the numbers of messages due, by stream.
func (b *Book) Counts() (n [len(simulator.Streams)]int) {
	for i := range b.streams {
		n[i] = len(*b.streams[i].Load())
	}
	return n
}

// Find tells which message of a stream a text is, tried first at a guess; -1: none.
func (b *Book) Find(stream int, text []byte, guess int) int {
	all, h := *b.streams[stream].Load(), xxhash.Sum64(text)
	if guess >= 0 && guess < len(all) && all[guess] == h {
		return guess
	}
	return slices.Index(all, h)
}

// Total is the number of messages due.
func (b *Book) Total() (n int) {
	for i := range b.streams {
		n += len(*b.streams[i].Load())
	}
	return n
}

// Reading is how far one reader has come in a book. It belongs to one goroutine.
type Reading struct {
	book    *Book
	next    [len(simulator.Streams)]int
	most    [len(simulator.Streams)]int  // of next, ever
	again   [len(simulator.Streams)]bool // the next message may be one that it had
	view    [len(simulator.Streams)][]uint64
	chain   uint64 // over all messages so far, of all streams: equal for readers that got the same in the same order
	repeats int    // messages that came again
}

// Total is how many different messages were taken.
func (r *Reading) Total() (n int) {
	for _, most := range r.most {
		n += most
	}
	return n
}

// Again says that the next message of each stream may be one that was taken
// already; from it on they come in order.
func (r *Reading) Again() {
	for i := range r.again {
		r.again[i] = true
	}
}

// Take judges a message: it must be the next of its stream, to the byte.
func (r *Reading) Take(stream string, text []byte) error {
	i := slices.Index(simulator.Streams[:], stream)
	if i < 0 {
		return fmt.Errorf("a message of the stream %q", stream)
	}
	if r.next[i] >= len(r.view[i]) {
		r.view[i] = *r.book.streams[i].Load()
	}
	h := xxhash.Sum64(text)
	if r.again[i] {
		r.again[i], r.next[i] = false, r.most[i]
		if n := slices.Index(r.view[i][:r.most[i]], h); n >= 0 {
			r.next[i] = n
		}
	}
	if n := r.next[i]; n >= len(r.view[i]) || r.view[i][n] != h {
		return r.unexpected(i, h, text)
	}
	r.next[i]++
	if r.next[i] <= r.most[i] {
		r.repeats++
	}
	r.most[i] = max(r.most[i], r.next[i])
	r.chain = (r.chain<<7 | r.chain>>57) ^ h*0x9e3779b97f4a7c15
	return nil
}

func (r *Reading) unexpected(i int, h uint64, text []byte) error {
	what := fmt.Sprintf("no message that was due: %.120q", text)
	if n := slices.Index(*r.book.streams[i].Load(), h); n >= 0 && n < r.next[i] {
		what = fmt.Sprintf("record %d again", n)
	} else if n >= 0 {
		what = fmt.Sprintf("record %d: %d are missing", n, n-r.next[i])
	}
	return fmt.Errorf("%s: where record %d was due, came %s", simulator.Streams[i], r.next[i], what)
}
