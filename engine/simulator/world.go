package simulator

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// The streams, as their data logs are named.
const (
	Cycle      = "cycle"
	OriginalTx = "originalTx"
	Receipt    = "receipt"
)

// Streams lists them in the order in which an archiver writes of one transaction.
var Streams = [3]string{Cycle, OriginalTx, Receipt}

const (
	shapes      = 200 // transaction templates: two of each hundredth in kinds
	cycleShapes = 32
	waitingMost = 256 // transactions that were handed in and have no receipt yet
	maxHashes   = 64
	// ahead is how long before its record is written the first cycle begins. The network has one
	// cycle a minute, runs have many a second: their cycles would soon begin in the future.
	ahead      = 10 * 24 * time.Hour
	hashDigits = 64
)

// World makes up records. Equal seeds and equal calls give equal bytes.
// It is not safe for concurrent use.
type World struct {
	rng    *random
	shapes []shape
	cycles []*template

	counter          int64            // of the newest cycle; one less than the first before that
	start            int64            // when it begins, in Unix seconds; 0: there was none yet
	marker, previous [hashDigits]byte // of it and of the one before
	block            uint64

	// Transactions whose originalTx was written and whose receipt was not: a ring, so that receipts
	// name what was logged before. Where it overflows the oldest never gets a receipt, as
	// transactions that expire on a real network.
	waiting       [waitingMost]transaction
	first, inLine int

	raw    [maxHashes * hashDigits / 2]byte
	hashes [maxHashes * hashDigits]byte
	sig    [96]byte

	shardKeys bool   // receipts have executionShardKey, as older archivers log them
	newest    *shape // of the newest receipt
	room      []byte
}

type transaction struct {
	shape  int
	ms     int64
	cycle  int64
	id     [hashDigits]byte
	marker [hashDigits]byte
}

// NewWorld returns a world in which the first cycle record has the counter firstCycle.
func NewWorld(seed string, firstCycle int64) *World {
	r := newRandom(seed)
	w := &World{rng: r, counter: firstCycle - 1, block: 100_000 + r.Uint64N(5000)}
	people := newPopulation(r)
	for _, k := range kinds {
		for range k.share * shapes / 100 {
			w.shapes = append(w.shapes, newShape(r, people, k.build))
		}
	}
	for range cycleShapes {
		w.cycles = append(w.cycles, compile(cycleSource(r, people)))
	}
	for _, s := range w.shapes {
		if s.receipt.hashes > maxHashes {
			panic(fmt.Sprintf("simulator: a template with %d hashes", s.receipt.hashes))
		}
	}
	w.freshID(&w.marker)
	return w
}

// Append appends a record of the stream, written at ms (Unix milliseconds), to dst: canonical text
// without a line end. It panics on a name that is no stream.
//
//   - Cycle begins a new cycle, to which transactions from then on belong. It begins when the one
//     before ends.
//   - OriginalTx hands in a new transaction.
//   - Receipt applies the oldest transaction handed in and not yet applied; a new one where there is none.
//     All of its times are counted from when the transaction was handed in.
func (w *World) Append(dst []byte, stream string, ms int64) []byte {
	switch stream {
	case Cycle:
		w.counter++
		if w.start == 0 {
			w.start = (ms - ahead.Milliseconds()) / 1000
		} else {
			w.start += cycleSeconds
		}
		w.previous = w.marker
		w.freshID(&w.marker)
		return w.fill(dst, w.cycles[w.rng.IntN(len(w.cycles))], nil, ms)
	case OriginalTx:
		if w.inLine == waitingMost {
			w.dequeue()
		}
		x := &w.waiting[(w.first+w.inLine)%waitingMost]
		w.inLine++
		w.submit(x, ms)
		return w.fill(dst, w.shapes[x.shape].original, x, ms)
	case Receipt:
		x := &w.waiting[w.first]
		if w.inLine > 0 {
			x = w.dequeue()
		} else {
			w.submit(x, ms)
		}
		w.newest = &w.shapes[x.shape]
		if !w.shardKeys {
			return w.fill(dst, w.newest.receipt, x, x.ms)
		}
		w.room = w.fill(w.room[:0], w.newest.receipt, x, x.ms)
		return appendMember(dst, w.room, shardKey, w.newest.olderKey)
	}
	panic(fmt.Sprintf("simulator: no stream %q", stream))
}

func (w *World) submit(x *transaction, ms int64) {
	x.shape, x.ms, x.cycle, x.marker = w.rng.IntN(len(w.shapes)), ms, max(w.counter, 0), w.marker
	w.freshID(&x.id)
	if w.rng.IntN(3) == 0 {
		w.block++
	}
}

// dequeue returns the oldest of the waiting; it stays valid until the next submit.
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

// fill prints a template; x is nil for cycles. Nothing is allocated when dst has room.
func (w *World) fill(dst []byte, t *template, x *transaction, ms int64) []byte {
	w.rng.src.Read(w.raw[:t.hashes*hashDigits/2])
	hex.Encode(w.hashes[:], w.raw[:t.hashes*hashDigits/2])
	done := 0
	for i := range t.cuts {
		c := &t.cuts[i]
		dst = append(dst, t.text[done:c.at]...)
		done = c.at
		arg := int64(c.slot.arg)
		switch c.slot.kind {
		case slotTxID:
			dst = append(dst, x.id[:]...)
		case slotTxTime:
			dst = strconv.AppendInt(dst, x.ms+arg, 10)
		case slotTxCycle:
			dst = strconv.AppendInt(dst, x.cycle+arg, 10)
		case slotTxMarker:
			dst = append(dst, x.marker[:]...)
		case slotTime:
			dst = strconv.AppendInt(dst, ms+arg, 10)
		case slotSeconds:
			dst = strconv.AppendInt(dst, (ms+arg)/1000, 10)
		case slotStart:
			dst = strconv.AppendInt(dst, w.start, 10)
		case slotCounter:
			dst = strconv.AppendInt(dst, w.counter+arg, 10)
		case slotMarker:
			dst = append(dst, w.marker[:]...)
		case slotPrevious:
			dst = append(dst, w.previous[:]...)
		case slotBlock:
			dst = strconv.AppendUint(dst, w.block, 16)
		case slotHash:
			h := w.hashes[c.slot.arg*hashDigits:]
			dst = append(dst, h[c.slot.from:hashDigits]...)
		case slotSig:
			w.rng.src.Read(w.sig[:])
			dst = hex.AppendEncode(dst, w.sig[:])
		}
	}
	return append(dst, t.text[done:]...)
}
