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
	// chunkRecords is how many records are encoded together: about a
	// millisecond's work, so that the first records of a burst leave early and
	// channels cost nothing beside it.
	chunkRecords = 32
	// batchesPerStream are in flight at once: one being filled, one being
	// encoded, one being appended.
	batchesPerStream = 3
	// retryFull is how soon a full disk is tried again.
	retryFull = 250 * time.Millisecond
)

// Options are what an Encoder works with. All are needed.
type Options struct {
	Signer *shardus.Signer
	Frames *framelog.Writer
	// Notices takes what is to be told of gaps.
	Notices *notice.Book
	// StopAtCycle tells the last cycle whose records are distributed; negative:
	// no limit. It is asked once a chunk, from several goroutines.
	StopAtCycle func() int64
	// AddShardKey gives receipts without executionShardKey that member, if it stands elsewhere in
	// them.
	AddShardKey bool
	// Readers of the frame log are woken after frames have been committed.
	Readers *bell.Set
	Log     *slog.Logger
}

// Source delivers the records of one stream in their order. A datalog.Follower is one.
type Source interface {
	// Next waits until there is a record or a gap, and fills b. When ctx ends, Next returns its
	// error; any other error ends Run.
	Next(ctx context.Context, b *datalog.Batch) error
	// Position returns where reading goes on after all that Next has delivered. Only the
	// goroutine that calls Next may call Position.
	Position() datalog.Position
	// Stats may be called from any goroutine.
	Stats() datalog.Stats
}

// Encoder is the pipeline from sources to the frame log.
type Encoder struct {
	o       Options
	todo    chan *chunk // to whoever encodes next; of one Run, like order
	order   chan *chunk // the same, to the appender
	rejects rejects
	// maxMessage is how long a message may be: its frame has to fit into the frame log.
	maxMessage int

	shardKeys shardKeys

	full     atomic.Pointer[error] // why the frame log takes nothing now
	mu       sync.Mutex            // guards progress
	progress Progress
	stats    datalog.PerStream[streamStats]
}

// Progress is how far reading has come, as of a head of the frame log.
type Progress struct {
	Head     uint64
	Position datalog.PerStream[datalog.Position]
}

type streamStats struct{ records, bytes, frames, frameBytes, beyondStop atomic.Uint64 }

// StreamStats counts what has gone through since the start, for one stream. GET /status shows its
// members.
type StreamStats struct {
	Records    uint64 `json:"records"`    // lines that came in, blank lines and trailers not counted
	Bytes      uint64 `json:"bytes"`      // their bytes
	Frames     uint64 `json:"frames"`     // frames that went out
	FrameBytes uint64 `json:"frameBytes"` // their bytes
	BeyondStop uint64 `json:"beyondStop"` // records held back by stopDistributionAtCycle
	// Rejected counts lines that are no records, by reason, every reason there from the start.
	Rejected map[string]uint64 `json:"rejected"`
	// Of receipts that came without executionShardKey: those that got it, and those sent as they
	// were.
	ShardKeyAdded  uint64 `json:"shardKeyAdded"`
	ShardKeyAbsent uint64 `json:"shardKeyAbsent"`
}

// New makes an Encoder; start is where the sources begin.
func New(o Options, start Progress) *Encoder {
	e := &Encoder{o: o, progress: start, maxMessage: framelog.MaxFrame - wsproto.MaxHeader}
	e.rejects.log = o.Log
	return e
}

// Run encodes what the sources deliver until ctx ends, then finishes what has been read already,
// and returns nil. It returns an error when a source or the frame log fails for good. The caller
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

// Again prepares for another Run, after one that has ended: with a frame log
// that was opened again, with its notices, and sources that begin at start.
// Counters go on.
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

// Progress is as of the last commit. Any goroutine.
func (e *Encoder) Progress() Progress {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.progress
}

// Blocked tells why the frame log takes no frames at present, nil if it does.
// Any goroutine.
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
		Records: s.records.Load(), Bytes: s.bytes.Load(), Frames: s.frames.Load(), FrameBytes: s.frameBytes.Load(),
		BeyondStop: s.beyondStop.Load(), Rejected: e.rejects.counts(stream),
	}
	if stream == datalog.Receipt {
		out.ShardKeyAdded, out.ShardKeyAbsent = e.shardKeys.added.Load(), e.shardKeys.absent.Load()
	}
	return out
}
