package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"distributor/engine/config"
	"distributor/engine/encoder"
	"distributor/engine/notice"
	"distributor/engine/problem"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// logs are what only one primary at a time may have: the frame log's writer, and
// the sources at the place that belongs to it. Those of a primary change when it
// has let go of them for another one that did not take over.
type logs struct {
	dir     string      // STATE_DIR
	id      framelog.ID // of the frame log
	origin  string      // name of the sources' origin
	sources datalog.PerStream[source]
	notices *notice.Book
	begin   map[string]datalog.Position // where the frame log's records begin
	resumed bool                        // by a checkpoint of this frame log and these sources

	mu     sync.Mutex       // guards what follows; the encoder has frames for itself
	frames *framelog.Writer // nil: closed
	last   framelog.Stats   // then
}

// source delivers a stream's records. A datalog.Follower is one.
type source interface {
	encoder.Source
	// Left returns where reading has left earlier logs of the stream, for checkpoint.Left.
	Left() []datalog.Position
	Close() error
}

// origin is where the records of all streams come from.
type origin interface {
	// name identifies the origin: positions of another origin mean nothing in this one.
	name() string
	// open opens the source of a stream at from, or, if from is zero, where saved says.
	open(s datalog.Stream, from datalog.Position, saved checkpoint) (source, error)
	// health returns what keeps the sources from delivering.
	health(now time.Time) []problem.Found
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

// openLogs recovers the frame log and opens the sources where it ends. If workers run, theirs is
// the index of the frame log that they know; otherwise it is nil. Nothing is open after an error.
func openLogs(
	cfg *config.Config, from origin, theirs *index, log *slog.Logger,
) (_ *logs, now encoder.Progress, err error) {
	if err := os.MkdirAll(cfg.StateDir, 0o755); err != nil {
		return nil, now, fmt.Errorf("engine: STATE_DIR: %w: %s", err,
			problem.StateDir.For(err, cfg.StateDir))
	}
	l := &logs{dir: cfg.StateDir, origin: from.name()}
	defer func() {
		if err != nil {
			_ = l.close()
		}
	}()
	saved, err := loadCheckpoint(cfg.StateDir)
	if err != nil {
		log.Error("checkpoint not used", "error", err)
	}
	var recovery framelog.Recovery
	l.frames, recovery, err = framelog.OpenWriter(framelog.Options{
		Dir: frameLogDir(cfg), SegmentBytes: cfg.FrameLogSegmentBytes,
		RetainBytes: cfg.FrameLogBytes, Reached: saved.reached(), Log: log,
	})
	if errors.Is(err, framelog.ErrLocked) || errors.Is(err, framelog.ErrVersion) {
		return nil, now, fmt.Errorf("engine: open the frame log (STATE_DIR): %w", err)
	} else if err != nil {
		return nil, now, fmt.Errorf("engine: open the frame log (STATE_DIR): %w: %s", err,
			problem.StateDir.For(err, cfg.StateDir))
	}
	if l.id = l.frames.ID(); theirs != nil && theirs.reader.ID() != l.id {
		return nil, now, errNewLog
	}

	if recovery.RolledBack {
		log.Error("the frame log is older than checkpoint.json, so its files were put back from a copy: reading resumes behind the newest frames in it, "+
			"and collectors get records again. Put back all of STATE_DIR or nothing of it", "dir", frameLogDir(cfg), "head", recovery.Head, "checkpoint_head", saved.Head)
	}
	now.Head = l.frames.Head()
	if recovery.Fresh { // a first start, or somebody has removed it: then reading goes on where it was
		saved.Head, saved.Begin = 0, nil
	}
	places := saved.resume(l.frames)
	for _, s := range datalog.Streams {
		if l.sources[s], err = from.open(s, places[s], saved); err != nil {
			return nil, now, fmt.Errorf("engine: follow %s: %w", s, err)
		}
		now.Position[s] = l.sources[s].Position()
	}
	if l.begin = saved.Begin; !saved.follows(l.origin) || recovery.Fresh {
		l.begin = newCheckpoint(l.id, "", now, nil).Streams
	}
	l.resumed = saved.Log == l.id.String() && saved.follows(l.origin)
	if l.notices, err = notice.Open(cfg.StateDir, l.frames.Head()); err != nil {
		log.Error("notices of earlier gaps are lost to collectors", "error", err)
	}
	return l, now, nil
}

var errNewLog = errors.New("engine: the frame log was found damaged and has a new id, which running workers do not know")
