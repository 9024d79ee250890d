package encoder

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"distributor/engine/notice"
	"distributor/mmaplog/bell"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

const (
	// chunkRecords is how many records are encoded together. They take about a millisecond, so that
	// the first records of a burst leave early and the cost of channels does not matter.
	chunkRecords = 32
	// batchesPerStream is the number of batches in flight: one being filled, one being encoded, one
	// being appended.
	batchesPerStream = 3
	// retryFull is the pause before a write to a full disk is tried again.
	retryFull = 250 * time.Millisecond
)

// Options are the inputs of an Encoder. All are required.
type Options struct {
	Signer *shardus.Signer
	Frames *framelog.Writer
	// Notices stores the notices of gaps.
	Notices *notice.Book
	// StopAtCycle returns the last cycle whose records are distributed; negative: no limit. It is
	// called once per chunk, from several goroutines.
	StopAtCycle func() int64
	// AddShardKey adds executionShardKey to receipts that lack it, if they contain the key elsewhere.
	AddShardKey bool
	// Readers are the readers of the frame log. They are woken after a commit.
	Readers *bell.Set
	Log     *slog.Logger
}

// Source delivers the records of one stream in their order. A datalog.Follower is one.
type Source interface {
	// Next waits until there is a record or a gap, and fills b. When ctx ends, Next returns its error.
	// Any other error ends Run.
	Next(ctx context.Context, b *datalog.Batch) error
	// Position returns where reading continues after everything that Next has delivered. Only the
	// goroutine that calls Next may call Position.
	Position() datalog.Position
	// Stats may be called from any goroutine.
	Stats() datalog.Stats
}

// Encoder is the pipeline from sources to the frame log.
type Encoder struct {
	o       Options
	todo    chan *chunk // to the encoding goroutines; made by each Run, like order
	order   chan *chunk // the same chunks, to the appender
	rejects rejects
	// maxMessage is the maximum size of a message: its frame has to fit into the frame log.
	maxMessage int

	shardKeys shardKeys

	full     atomic.Pointer[error] // why the frame log accepts nothing at present
	mu       sync.Mutex            // guards progress
	progress Progress
	stats    datalog.PerStream[streamStats]
}

// Progress is how far the sources were read when the frame log had this head.
type Progress struct {
	Head     uint64
	Position datalog.PerStream[datalog.Position]
}

type streamStats struct{ records, bytes, frames, frameBytes, beyondStop atomic.Uint64 }

// StreamStats holds the counters of one stream since the start. GET /status shows its members.
type StreamStats struct {
	Records    uint64 `json:"records"`    // lines read, without blank lines and trailers
	Bytes      uint64 `json:"bytes"`      // bytes of these lines
	Frames     uint64 `json:"frames"`     // frames appended to the frame log
	FrameBytes uint64 `json:"frameBytes"` // bytes of these frames
	BeyondStop uint64 `json:"beyondStop"` // records held back by stopDistributionAtCycle
	// Rejected counts the lines that are not records, by reason. Every reason is present from the
	// start.
	Rejected map[string]uint64 `json:"rejected"`
	// Receipts that came without executionShardKey: those that got the member, and those that were
	// sent unchanged.
	ShardKeyAdded  uint64 `json:"shardKeyAdded"`
	ShardKeyAbsent uint64 `json:"shardKeyAbsent"`
}

// New returns an Encoder. start is where the sources begin.
func New(o Options, start Progress) *Encoder {
	e := &Encoder{o: o, progress: start, maxMessage: framelog.MaxFrame - wsproto.MaxHeader}
	e.rejects.log = o.Log
	return e
}

// Run encodes what the sources deliver until ctx ends, then finishes what has been read already,
// and returns nil. It returns an error if a source or the frame log fails permanently. The caller
// closes the sources after Run has returned. After Again, Run may be called once more.
func (e *Encoder) Run(ctx context.Context, source func(datalog.Stream) Source) error {
	e.todo, e.order = make(chan *chunk, 4*runtime.GOMAXPROCS(0)), make(chan *chunk, 256)
	reading, ctx := errgroup.WithContext(ctx)
	var encoding sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		encoding.Go(func() {
			for c := range e.todo {
				e.encode(c)
				c.done <- struct{}{}
			}
		})
	}
	failed, appended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(appended)
		e.append(ctx, failed)
	}()
	for _, s := range datalog.Streams {
		reading.Go(func() error { return e.read(ctx, s, source(s)) })
	}
	reading.Go(func() error {
		select {
		case err := <-failed:
			return err // ends ctx, and with it the readers
		case <-ctx.Done():
			return nil
		}
	})
	err := reading.Wait()
	close(e.todo)
	encoding.Wait()
	close(e.order)
	<-appended
	return err
}

// Again prepares another Run after one that has ended. The new Run uses a frame log that was opened
// again, its notices, and sources that begin at start. The counters continue.
func (e *Encoder) Again(frames *framelog.Writer, notices *notice.Book, start Progress) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.o.Frames, e.o.Notices, e.progress = frames, notices, start
	e.full.Store(nil)
}

// read cuts one stream's batches into chunks.
func (e *Encoder) read(ctx context.Context, stream datalog.Stream, source Source) error {
	free := make(chan *batch, batchesPerStream)
	for range batchesPerStream {
		free <- &batch{free: free}
	}
	for {
		b := <-free
		if err := source.Next(ctx, &b.Batch); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("encoder: follow %s: %w", stream, err)
		}
		b.cut(stream, source.Position())
		for _, c := range b.chunks {
			e.todo <- c
			e.order <- c
		}
	}
}

// Progress returns the progress of the last commit. It may be called from any goroutine.
func (e *Encoder) Progress() Progress {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.progress
}

// Blocked returns why the frame log accepts no frames at present, or nil if it does. It may be
// called from any goroutine.
func (e *Encoder) Blocked() error {
	if p := e.full.Load(); p != nil {
		return *p
	}
	return nil
}

// Stats returns the counters of a stream. It may be called from any goroutine.
func (e *Encoder) Stats(stream datalog.Stream) StreamStats {
	s := &e.stats[stream]
	out := StreamStats{
		Records: s.records.Load(), Bytes: s.bytes.Load(), Frames: s.frames.Load(),
		FrameBytes: s.frameBytes.Load(),
		BeyondStop: s.beyondStop.Load(), Rejected: e.rejects.counts(stream),
	}
	if stream == datalog.Receipt {
		out.ShardKeyAdded, out.ShardKeyAbsent = e.shardKeys.added.Load(), e.shardKeys.absent.Load()
	}
	return out
}
