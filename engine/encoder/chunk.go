package encoder

import (
	"fmt"
	"sync/atomic"

	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// batch is one delivery of a source. It is reused when its last chunk has been appended.
type batch struct {
	datalog.Batch
	chunks []*chunk
	spare  []*chunk
	open   atomic.Int32 // chunks not yet released
	free   chan *batch
}

// chunk is a run of a batch's records, with the frames made from them. Its memory is reused.
type chunk struct {
	batch   *batch
	stream  datalog.Stream
	gaps    []datalog.Gap    // before the records; borrowed from the batch
	records []datalog.Record // borrowed from the batch
	after   datalog.Position // where reading continues after the records
	done    chan struct{}    // gets one token when the chunk is encoded

	frames    []byte // back to back
	made      []made
	scratch   []byte // the record's canonical text
	completed []byte // the record with executionShardKey added
}

// made describes one frame of a chunk.
type made struct {
	end   int // in chunk.frames
	cycle int64
	next  datalog.Position
}

// cut divides the batch into chunks. after is where reading continues after the whole batch, which
// may lie beyond its last record because of blank lines and trailers. A batch with gaps only is one
// chunk.
func (b *batch) cut(stream datalog.Stream, after datalog.Position) {
	b.chunks = b.chunks[:0]
	for i := 0; i == 0 || i < len(b.Records); i += chunkRecords {
		n := len(b.chunks)
		if n == len(b.spare) {
			b.spare = append(b.spare, &chunk{batch: b, done: make(chan struct{}, 1)})
		}
		c := b.spare[n]
		c.stream, c.gaps, c.records = stream, nil, b.Records[i:min(i+chunkRecords, len(b.Records))]
		if n := len(c.records); n > 0 {
			c.after = c.records[n-1].Next
		}
		b.chunks = append(b.chunks, c)
	}
	b.chunks[0].gaps = b.Gaps
	b.chunks[len(b.chunks)-1].after = after
	b.open.Store(int32(len(b.chunks)))
}

// keptBytes is how much memory a chunk keeps for the next records. Usual records need a quarter of
// it; the memory of long records is released.
const keptBytes = 1 << 20

func (c *chunk) release() {
	if cap(c.frames) > keptBytes {
		c.frames = nil
	}
	if cap(c.scratch) > keptBytes {
		c.scratch = nil
	}
	if cap(c.completed) > keptBytes {
		c.completed = nil
	}
	if c.batch.open.Add(-1) == 0 {
		c.batch.free <- c.batch
	}
}

// encode makes the frames of a chunk.
func (e *Encoder) encode(c *chunk) {
	c.frames, c.made = c.frames[:0], c.made[:0]
	name, stats, stop := c.stream.String(), &e.stats[c.stream], e.o.StopAtCycle()
	var bytes uint64
	for _, r := range c.records {
		bytes += uint64(len(r.Line))
		record, err := shardus.AppendRecord(c.scratch[:0], r.Line)
		if err != nil {
			e.rejects.note(c.stream, r, err)
			continue
		}
		c.scratch = record
		members := shardus.MembersOf(record)
		cycle, ok := cycleOf(c.stream, &members)
		if ok && stop >= 0 && cycle > float64(stop) {
			stats.beyondStop.Add(1)
			continue
		}
		if c.stream == datalog.Receipt {
			record = e.completeReceipt(c, record, &members)
		}
		size := shardus.MessageSize(name, len(record))
		if size > e.maxMessage {
			e.rejects.note(c.stream, r, fmt.Errorf(
				"%w: its message would have %d bytes, at most %d are possible", framelog.ErrFrame, size,
				e.maxMessage))
			continue
		}
		c.frames = wsproto.AppendTextHeader(c.frames, size)
		c.frames = e.o.Signer.AppendMessage(c.frames, name, record)
		c.made = append(c.made, made{end: len(c.frames), cycle: int64(cycle), next: r.Next})
	}
	// The counters are updated once per chunk, because all cores share them.
	stats.records.Add(uint64(len(c.records)))
	stats.bytes.Add(bytes)
}

// cycleOf returns the cycle of a record, which is compared with stopDistributionAtCycle, or -1, as
// framelog expects, if the record has none.
func cycleOf(stream datalog.Stream, record *shardus.Members) (cycle float64, ok bool) {
	member := "cycle"
	if stream == datalog.Cycle {
		member = "counter"
	}
	if cycle, ok = record.Int(member); !ok {
		return -1, false
	}
	return cycle, true
}

// meta returns the entry of a frame in the frame log's index.
func (c *chunk) meta(m made, now int64) framelog.Meta {
	return framelog.Meta{Stream: uint8(c.stream), Cycle: m.cycle, Time: now, Source: m.next.Encode()}
}
