package framelog

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sort"
)

// movesAfter is how many consecutive writes into the active segment fail before its frames move to
// the next segment. The first failure may be temporary, so the write is tried once more.
const movesAfter = 2

// blocked turns an error of the file system into ErrBlocked.
func blocked(err error) error {
	if errors.Is(err, ErrBlocked) || errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrBlocked, noSpace(err))
}

// recoverStore is deferred by functions that store into the active segment's index and the head. It
// turns a memory fault into an error, and remembers ErrDamaged.
func (w *Writer) recoverStore(err *error) {
	if p := recover(); p != nil {
		*err = w.storeFault(p)
	}
	if errors.Is(*err, ErrDamaged) {
		w.broken = *err
	}
}

func (w *Writer) storeFault(p any) error {
	err := storeFault(p, w.headMap, w.headFile, w.headPath())
	if s := w.active; err == nil && s != nil {
		err = storeFault(p, s.index, s.files[1], s.paths[1])
	}
	if err == nil {
		err = faultError(p)
	}
	return err
}

// storing runs f, which stores into the head, for the background and Close.
func (w *Writer) storing(f func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if err = storeFault(p, w.headMap, w.headFile, w.headPath()); err == nil {
				err = faultError(p)
			}
		}
	}()
	f()
	return nil
}

func (w *Writer) headPath() string { return filepath.Join(w.opts.Dir, headName) }

// flush writes the pending frames of the active segment. If the write fails movesAfter times while
// the file system can make another segment, the uncommitted frames go there: the place on disk or
// the file may be bad.
func (w *Writer) flush() error {
	if err := w.clearAway(); err != nil {
		return blocked(err)
	}
	err := w.active.flush(w.opts.fault)
	if err == nil || errors.Is(err, ErrDamaged) {
		w.refused = 0
		return err
	}
	if w.refused++; w.refused >= movesAfter {
		old := w.active
		moved := w.moveOn()
		if moved == nil {
			w.refused = 0
			w.opts.Log.Error("frame log: a segment cannot be written; its last frames went to the next one",
				"path", old.paths[0], "error", err)
			return nil
		}
		if old.nameless {
			err = moved
		}
	}
	return blocked(err)
}

// moveOn begins another segment with the uncommitted frames. The committed part of the active
// segment stays and is sealed. If moveOn fails, the active segment is unchanged.
func (w *Writer) moveOn() error {
	old := w.active
	at := max(w.Head(), old.base)
	kept := sort.Search(old.count, func(i int) bool { return old.entries[i].End.Load() > at })
	// The uncommitted frames: those in the file, then those that could not be written.
	frames := make([]byte, w.tail-at)
	written := frames[:len(frames)-len(old.pending)]
	if _, err := old.files[0].ReadAt(written, int64(at-old.base)); err != nil && len(written) > 0 {
		return err
	}
	copy(frames[len(written):], old.pending)
	if kept == 0 { // the next segment gets the same file names
		old.nameless = true
		if err := unlinkSegment(w.opts.Dir, at, w.opts.fault); err != nil {
			return err
		}
	}
	sources := old.sourcesAfter(kept)
	next, err := w.begin(at, old.header.Frames+uint64(kept), &sources)
	if err != nil {
		return err
	}
	if err = next.takeFrom(old, kept, frames, w.opts.fault); err == nil && kept > 0 {
		err = old.seal(at)
	}
	if err != nil {
		return errors.Join(err, w.abandon(next))
	}
	old.used, old.count, old.pending = int(at-old.base), kept, nil
	w.active = next
	w.counted.rolls.Add(1)
	if kept == 0 {
		old.close()
	} else {
		w.sealed = append(w.sealed, old)
		w.counted.segments.Add(1)
	}
	w.askSpare()
	return nil
}

// begin takes the next segment and gives it its base and file names.
func (w *Writer) begin(base, frames uint64, sources *[MaxStreams]sourceAt) (*segment, error) {
	next, err := w.takeSpare()
	if err != nil {
		return nil, err
	}
	err = next.storing(func() error {
		return next.begin(w.opts.Dir, base, frames, sources, w.opts.fault)
	})
	if err != nil {
		return nil, errors.Join(err, w.abandon(next))
	}
	return next, nil
}

// abandon removes a segment that was about to become the active one.
func (w *Writer) abandon(next *segment) error {
	next.close()
	w.leftover = &next.base
	return errors.Join(w.clearAway(), removeSpare(w.opts.Dir, w.opts.fault))
}

// clearAway removes the files of an abandoned segment. Until that has worked, nothing is committed:
// the head must not pass the base of a segment that is not part of the log.
func (w *Writer) clearAway() error {
	if w.leftover == nil {
		return nil
	}
	err := unlinkSegment(w.opts.Dir, *w.leftover, w.opts.fault)
	if err == nil {
		w.leftover = nil
	}
	return err
}

// seal stores where the segment ends.
func (s *segment) seal(end uint64) error {
	return s.storing(func() error {
		s.header.Sealed.Store(end)
		return nil
	})
}

// sourcesAfter returns the newest source of each stream after the first n frames.
func (s *segment) sourcesAfter(n int) [MaxStreams]sourceAt {
	sources := s.header.Sources
	for i := range s.entries[:n] {
		e := &s.entries[i]
		sources[e.Stream] = sourceAt{e.End.Load(), e.Source}
	}
	return sources
}

// takeFrom writes frames, the frames of old from the n-th on, into an empty segment. Entries hold
// offsets of the log, so the entries of old are valid in this segment too.
func (s *segment) takeFrom(old *segment, n int, frames []byte, fault faults) error {
	entries := old.entries[n:old.count]
	if len(entries) > len(s.entries) {
		return fmt.Errorf("%s has room for %d frames, not for %d",
			s.paths[1], len(s.entries), len(entries))
	}
	if int64(len(frames)) > s.size {
		if err := s.grow(int64(len(frames)), fault); err != nil {
			return err
		}
	}
	s.used, s.count, s.pending = len(frames), len(entries), frames
	if err := s.flush(fault); err != nil {
		return err
	}
	return s.storing(func() error {
		copy(s.entries, entries)
		return nil
	})
}
