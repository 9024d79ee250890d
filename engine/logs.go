package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"distributor/engine/config"
	"distributor/engine/encoder"
	"distributor/engine/notice"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// logs are what only one primary at a time may have: the frame log's writer, and
// the sources at the place that belongs to it. Those of a primary change when it
// has let go of them for another one that did not take over.
type logs struct {
	sources datalog.PerStream[source]
	notices *notice.Book
	begin   map[string]datalog.Position // where the frame log's records begin
	resumed bool                        // by a checkpoint of this frame log and these sources

	mu     sync.Mutex       // guards what follows; the encoder has frames for itself
	frames *framelog.Writer // nil: closed
	last   framelog.Stats   // then
}

// stats are those of the frame log, the last ones when it is closed.
func (l *logs) stats() framelog.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frames != nil {
		l.last = l.frames.Stats()
	}
	return l.last
}

// left returns where each stream's latest data logs were left.
func (l *logs) left() map[string][]datalog.Position {
	left := make(map[string][]datalog.Position)
	for _, s := range datalog.Streams {
		if ends := l.sources[s].Left(); len(ends) > 0 {
			left[s.String()] = ends
		}
	}
	return left
}

// source returns where a stream's records come from.
func (l *logs) source(s datalog.Stream) encoder.Source { return l.sources[s] }

// close lets go of everything. Nobody may be reading or encoding. It may be
// called again.
func (l *logs) close() error { return l.end((*framelog.Writer).Close) }

// leave is close for another primary that goes on at once.
func (l *logs) leave() error { return l.end((*framelog.Writer).Leave) }

func (l *logs) end(how func(*framelog.Writer) error) error {
	for _, s := range l.sources {
		if s != nil {
			_ = s.Close()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frames == nil {
		return nil
	}
	l.last = l.frames.Stats()
	err := how(l.frames)
	l.frames = nil
	if err != nil {
		return fmt.Errorf("engine: close the frame log: %w", err)
	}
	return nil
}

// openLogs recovers the frame log and opens the sources where it ends. Nothing is open after an
// error.
func (p *primary) openLogs(cfg *config.Config) (progress encoder.Progress, err error) {
	if err := os.MkdirAll(cfg.StateDir, 0o755); err != nil {
		return progress, fmt.Errorf("engine: STATE_DIR: %w: %s", err, stateRemedy(err, cfg.StateDir))
	}
	l := &logs{}
	defer func() {
		if err != nil {
			_ = l.close()
		}
	}()
	saved, err := loadCheckpoint(cfg.StateDir)
	if err != nil {
		p.log.Error("checkpoint not used", "error", err)
	}
	var recovery framelog.Recovery
	l.frames, recovery, err = framelog.OpenWriter(framelog.Options{
		Dir: frameLogDir(cfg), SegmentBytes: cfg.FrameLogSegmentBytes, RetainBytes: cfg.FrameLogBytes, Reached: saved.reached(), Log: p.log,
	})
	if errors.Is(err, framelog.ErrLocked) || errors.Is(err, framelog.ErrVersion) {
		return progress, fmt.Errorf("engine: open the frame log (STATE_DIR): %w", err)
	} else if err != nil {
		return progress, fmt.Errorf("engine: open the frame log (STATE_DIR): %w: %s", err, stateRemedy(err, cfg.StateDir))
	}
	if p.index == nil {
		err = p.openIndex(cfg)
	} else if p.id() != l.frames.ID() {
		err = errNewLog
	}
	if err != nil {
		return progress, err
	}

	if recovery.RolledBack {
		p.log.Error("the frame log is older than checkpoint.json, so its files were put back from a copy: reading resumes behind the newest frames in it, "+
			"and collectors get records again. Put back all of STATE_DIR or nothing of it", "dir", frameLogDir(cfg), "head", recovery.Head, "checkpoint_head", saved.Head)
	}
	progress.Head = l.frames.Head()
	if recovery.Fresh { // a first start, or somebody has removed it: then reading goes on where it was
		saved.Head, saved.Begin = 0, nil
	}
	from := saved.resume(l.frames)
	for _, s := range datalog.Streams {
		if l.sources[s], err = p.origin.open(s, from[s], saved); err != nil {
			return progress, fmt.Errorf("engine: follow %s: %w", s, err)
		}
		progress.Position[s] = l.sources[s].Position()
	}
	if l.begin = saved.Begin; !saved.follows(p.origin.name()) || recovery.Fresh {
		l.begin = newCheckpoint(l.frames.ID(), "", progress, nil).Streams
	}
	l.resumed = saved.Log == l.frames.ID().String() && saved.follows(p.origin.name())
	if l.notices, err = notice.Open(cfg.StateDir, l.frames.Head()); err != nil {
		p.log.Error("notices of earlier gaps are lost to collectors", "error", err)
	}
	p.logs.Store(l)
	return progress, nil
}

var errNewLog = errors.New("engine: the frame log was found damaged and has a new id, which running workers do not know")

func (p *primary) openIndex(cfg *config.Config) error {
	reader, err := framelog.OpenReader(frameLogDir(cfg))
	if err != nil {
		return fmt.Errorf("engine: read the frame log: %w", err)
	}
	p.index = &index{reader: reader}
	return nil
}

// sourceStats returns what a stream's source has delivered, and what keeps it from going on.
func (p *primary) sourceStats(s datalog.Stream) datalog.Stats {
	return p.logs.Load().sources[s].Stats()
}

// reading is the encoder at work, and the saving of its progress; with it, for as
// long as its frames have to be sent, the compressor.
type reading struct {
	stop  func() // returns when what was read is in the frame log: the head is final
	plain func() // returns when there is no compressed log: all collectors go on with plain frames
}

// read begins; fail is told when the encoder fails for good.
func (p *primary) read(fail func(error)) reading {
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	l := p.logs.Load()
	parts.Go(func() {
		if err := p.encoder.Run(ctx, l.source); err != nil {
			fail(err)
		}
	})
	parts.Go(func() { p.checkpoints(ctx) })
	compressing, stopCompressing := context.WithCancel(context.Background())
	var compressor sync.WaitGroup
	compressor.Go(func() { p.deflate.Run(compressing) })
	return reading{
		stop: func() {
			cancel()
			parts.Wait()
		},
		plain: func() {
			stopCompressing()
			compressor.Wait()
		},
	}
}

// index is the frame log as the gateway sees it. A framelog.Reader is for one
// goroutine at a time.
type index struct {
	mu     sync.Mutex
	reader *framelog.Reader
}

func (i *index) ID() [16]byte  { return i.reader.ID() }
func (i *index) Head() uint64  { return i.reader.Head() }
func (i *index) Floor() uint64 { return i.reader.Floor() }

// Ancestor tells up to where an offset means the same under an earlier ID of the frame log.
func (i *index) Ancestor(id [16]byte) (end uint64, ok bool) {
	for _, a := range i.reader.Ancestors() {
		if a.ID == id {
			return a.End, true
		}
	}
	return 0, false
}

// translate gives the place in the frame log for an offset under another of its IDs, as text: everything behind that
// place is what came later, or comes again. Of an ID that is not known it is all that there is.
func (i *index) translate(log string, offset uint64) uint64 {
	for _, a := range i.reader.Ancestors() {
		if a.ID.String() == log {
			return min(offset, a.End)
		}
	}
	return i.Floor()
}

func (i *index) FrameEnd(offset uint64) (uint64, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reader.FrameEnd(offset)
}

// release lets go of segments that were removed, and the disk they take.
func (i *index) release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if head := i.reader.Head(); head > 0 {
		_, _ = i.reader.Frames(head-1, 1)
	}
}
