package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"distributor/engine/encoder"
	"distributor/engine/problem"
	"distributor/engine/resume"
)

// saveEvery is how often progress is saved, the collectors' and our own, when there was any.
const saveEvery = resume.SaveEvery

// saver saves progress: how far the sources have been read, and what collectors have confirmed.
type saver struct {
	encoder    *encoder.Encoder
	collectors *resume.Store
	index      *index
	log        *slog.Logger

	saving                sync.Mutex // held while the checkpoint is written
	checkpoint, positions outcome
}

func newSaver(e *encoder.Encoder, c *resume.Store, i *index, log *slog.Logger) *saver {
	return &saver{
		encoder: e, collectors: c, index: i, log: log,
		checkpoint: outcome{file: checkpointFile}, positions: outcome{file: "collectors.json"},
	}
}

// first saves where reading begins, before anything is read, because a first start has no frames
// that show it. If the file on disk has the same already, first may fail, for example for want of
// room: collectors get what there is, and run saves it later.
func (s *saver) first(l *logs, begin encoder.Progress) error {
	err := errors.Join(clearLeftovers(l.dir), s.write(l, begin))
	if err != nil && !l.resumed {
		return fmt.Errorf("%w: %s", err, problem.StateDir.For(err, l.dir))
	}
	s.checkpoint.note(err, s.log)
	return nil
}

// run saves progress from time to time until ctx ends.
func (s *saver) run(ctx context.Context, l *logs) {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	var last encoder.Progress // that was saved
	var soon <-chan time.Time // when collectors that are new are saved; nil: there are none
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.collectors.Fresh():
			if soon == nil {
				soon = time.After(resume.SaveFresh)
			}
			continue
		case <-soon:
		case <-t.C:
			s.index.release()
			if now := s.encoder.Progress(); now != last {
				err := s.write(l, now)
				if s.checkpoint.note(err, s.log); err == nil {
					last = now
				}
			}
		}
		soon = nil
		s.positions.note(s.collectors.Save(), s.log)
	}
}

// save saves everything, at the end.
func (s *saver) save(l *logs) error {
	return errors.Join(s.write(l, s.encoder.Progress()), s.collectors.Save())
}

// write writes the checkpoint: the sources have been read as far as now says.
func (s *saver) write(l *logs, now encoder.Progress) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	c := newCheckpoint(l.id, l.origin, now, l.begin)
	c.Left = l.left()
	return c.save(l.dir)
}

// trouble returns why the last saves failed, nil if none did.
func (s *saver) trouble() error {
	return errors.Join(s.checkpoint.trouble(), s.positions.trouble())
}

// outcome is the result of the latest save of a file. Any goroutine may call trouble, one at a time
// note.
type outcome struct {
	file    string // its name in STATE_DIR
	failure atomic.Pointer[error]
}

// note takes the outcome of a save, and logs it if it differs from the one before.
func (o *outcome) note(err error, log *slog.Logger) {
	switch {
	case err != nil && o.failure.Swap(&err) == nil:
		log.Error("progress not saved; it is tried again", "file", o.file, "error", err)
	case err == nil && o.failure.Swap(nil) != nil:
		log.Info("progress is saved again", "file", o.file)
	}
}

// trouble returns why the last save failed, nil if it did not.
func (o *outcome) trouble() error {
	if err := o.failure.Load(); err != nil {
		return *err
	}
	return nil
}
