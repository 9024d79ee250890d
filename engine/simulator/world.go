package simulator

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// The streams, as their data logs are named.
const (
	Cycle      = "cycle"
	OriginalTx = "originalTx"
	Receipt    = "receipt"
)

// Streams lists the streams in the order in which an archiver writes the records of a transaction.
var Streams = [3]string{Cycle, OriginalTx, Receipt}

const (
	waitingMost = 256 // most transactions that were submitted and have no receipt yet
	// ahead is how long before its record is written the first cycle begins. The network has one
	// cycle a minute, runs have many a second, so their cycles would soon begin in the future.
	ahead        = 10 * 24 * time.Hour
	cycleSeconds = 60 // duration of a cycle
	hashDigits   = 64
)

// World makes records: copies of recorded ones with new ids, hashes, signatures, cycles and times.
// Equal seeds and equal calls give equal bytes. A World is not safe for concurrent use.
type World struct {
	rng    *random
	shapes []shape
	cycles []*template

	counter int64            // of the newest cycle; before the first one, its counter less one
	start   int64            // when the newest cycle begins, in Unix seconds; 0: there is none yet
	marker  [hashDigits]byte // of the newest cycle

	// Transactions whose originalTx was written and whose receipt was not: a ring, so that receipts
	// name what was logged before. When it overflows, the oldest never gets a receipt, like
	// transactions that expire on a real network.
	waiting       [waitingMost]transaction
	first, inLine int

	hashes []byte // memory for the hashes of a copy
	sig    [96]byte

	shardKeys bool // receipts have executionShardKey, as older archivers log them
}

// transaction holds what differs between copies. In a cycle's record, id is the cycle's marker,
// marker that of the cycle before, and ms the time at which the cycle begins.
type transaction struct {
	shape  int
	ms     int64
	cycle  int64
	id     [hashDigits]byte
	marker [hashDigits]byte // of the cycle
}

// NewWorld returns a world in which the first cycle record has the counter firstCycle.
func NewWorld(seed string, firstCycle int64) *World {
	w := &World{rng: newRandom(seed), counter: firstCycle - 1}
	w.shapes, w.cycles = recordedShapes()
	w.freshID(&w.marker)
	return w
}

// Append appends a record of the stream, written at ms (Unix milliseconds), to dst: canonical text
// without a line end. It panics if there is no such stream.
//
//   - Cycle begins a new cycle, to which later transactions belong. It begins when the cycle before
//     ends.
//   - OriginalTx submits a new transaction.
//   - Receipt applies the oldest submitted transaction without a receipt, or a new one if there is
//     none. All of its times are relative to when the transaction was submitted.
func (w *World) Append(dst []byte, stream string, ms int64) []byte {
	switch stream {
	case Cycle:
		w.counter++
		if w.start == 0 {
			w.start = (ms - ahead.Milliseconds()) / 1000
		} else {
			w.start += cycleSeconds
		}
		x := transaction{ms: w.start * 1000, cycle: w.counter, marker: w.marker}
		w.freshID(&w.marker)
		x.id = w.marker
		return w.fill(dst, w.cycles[w.rng.IntN(len(w.cycles))], &x)
	case OriginalTx:
		if w.inLine == waitingMost {
			w.dequeue()
		}
		x := &w.waiting[(w.first+w.inLine)%waitingMost]
		w.inLine++
		w.submit(x, ms)
		return w.fill(dst, w.shapes[x.shape].original, x)
	case Receipt:
		x := &w.waiting[w.first]
		if w.inLine > 0 {
			x = w.dequeue()
		} else {
			w.submit(x, ms)
		}
		if w.shardKeys {
			return w.fill(dst, w.shapes[x.shape].older, x)
		}
		return w.fill(dst, w.shapes[x.shape].receipt, x)
	}
	panic(fmt.Sprintf("simulator: no stream %q", stream))
}

func (w *World) submit(x *transaction, ms int64) {
	x.shape, x.ms, x.cycle, x.marker = w.rng.IntN(len(w.shapes)), ms, max(w.counter, 0), w.marker
	w.freshID(&x.id)
}

// dequeue returns the oldest waiting transaction. It is valid until the next submit.
func (w *World) dequeue() *transaction {
	x := &w.waiting[w.first]
	w.first = (w.first + 1) % waitingMost
	w.inLine--
	return x
}

func (w *World) freshID(id *[hashDigits]byte) {
	var raw [hashDigits / 2]byte
	w.rng.src.Read(raw[:])
	hex.Encode(id[:], raw[:])
}

// fill appends a copy of the template for x. Nothing is allocated if dst has the capacity.
func (w *World) fill(dst []byte, t *template, x *transaction) []byte {
	raw := t.hashes * hashDigits / 2
	w.hashes = slices.Grow(w.hashes[:0], 3*raw)[:3*raw]
	w.rng.src.Read(w.hashes[2*raw:])
	hex.Encode(w.hashes, w.hashes[2*raw:])
	done := 0
	for i := range t.cuts {
		c := &t.cuts[i]
		dst = append(dst, t.text[done:c.from]...)
		done = c.to
		switch c.slot {
		case slotID:
			dst = append(dst, x.id[:]...)
		case slotMarker:
			dst = append(dst, x.marker[:]...)
		case slotCycle:
			dst = strconv.AppendInt(dst, x.cycle+c.arg, 10)
		case slotTime:
			dst = strconv.AppendInt(dst, x.ms+c.arg, 10)
		case slotSeconds:
			dst = strconv.AppendInt(dst, (x.ms+c.arg)/1000, 10)
		case slotHash:
			dst = append(dst, w.hashes[c.arg*hashDigits:][:hashDigits]...)
		case slotSig:
			w.rng.src.Read(w.sig[:])
			dst = hex.AppendEncode(dst, w.sig[:])
		}
	}
	return append(dst, t.text[done:]...)
}
