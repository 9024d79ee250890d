package framelog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"distributor/mmaplog/crashpoint"
)

// finish brings a sealed and committed segment to disk and lets go of it. What its frames file has
// beyond the last frame is given back: no reader touches a byte beyond the head, and the head is
// never there.
func (w *Writer) finish(s *segment) {
	released := w.unfinished.take(s)
	s.unmap()
	defer func() { s.close() }()
	end := s.base + uint64(s.used)
	if end <= w.Floor() && w.removeRetired(s.base) == nil {
		return // what is below Synced is on disk or gone
	}
	if released {
		again, err := w.openKept(span{s.base, end})
		if s = again; err != nil && end <= w.Floor() {
			return // retired meanwhile
		}
		if err != nil {
			w.failed("open a sealed segment", err)
			w.lose()
			return
		}
	}
	w.failed("trim a sealed segment", s.trim(w.opts.fault))
	crashpoint.Pass(crashpoint.SegmentTrimmed)
	w.failed("sync a sealed segment", w.sync(end, s))
}

// removeRetired unlinks a segment below the floor before its turn comes, and first those before it:
// a power loss may leave a log whose first segments are missing, but none in the middle.
func (w *Writer) removeRetired(base uint64) error {
	_, err := os.Lstat(segmentPath(w.opts.Dir, base, indexExt))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err = syncFile(w.headFile, w.headPath(), w.opts.fault) // with the floor
	if err != nil {
		return err
	}
	return w.unlinkRetired()
}

// unlinkRetired unlinks all segments below the floor, the oldest first.
func (w *Writer) unlinkRetired() error {
	pairs, err := listSegments(w.opts.Dir)
	for i := 0; err == nil && i+1 < len(pairs) && pairs[i+1].base <= w.Floor(); i++ {
		err = unlinkSegment(w.opts.Dir, pairs[i].base, w.opts.fault)
	}
	return err
}

// sync brings the last segments before end to disk, then says in the head that all before end is
// there. The order:
//
//	frames and index   else they may be missing below Synced
//	directory          else their names may
//	head               else the head on disk may be lower than Synced, and the log would end there
//	Synced             in memory; it may reach the disk at any time, or be lost, which only costs work
//
// Nothing is said to be on disk while a failure of before is remembered.
func (w *Writer) sync(end uint64, last ...*segment) (err error) {
	if w.opts.Transient {
		return nil
	}
	defer func() {
		if err != nil {
			w.lose()
		}
	}()
	for _, s := range last {
		for i, f := range s.files {
			if err := syncFile(f, s.paths[i], w.opts.fault); err != nil {
				return err
			}
		}
	}
	if err := syncDir(w.opts.Dir, w.opts.fault); err != nil {
		return err
	}
	crashpoint.Pass(crashpoint.SegmentSynced)
	if err := syncFile(w.headFile, w.headPath(), w.opts.fault); err != nil {
		return err
	}
	crashpoint.Pass(crashpoint.HeadSynced)
	if !w.mayHaveLost() {
		err = w.storing(func() { w.head.Synced.Store(max(end, w.head.Synced.Load())) })
	}
	crashpoint.Pass(crashpoint.SyncedRaised)
	return err
}

// mayVouch says whether the log can be said to be whole.
func (w *Writer) mayVouch() bool {
	return !w.opts.Transient && w.broken == nil && !w.mayHaveLost()
}

// sayClosed says in the head that the log was closed, when all of it is on disk.
func (w *Writer) sayClosed() error {
	if !w.mayVouch() {
		return nil
	}
	err := w.storing(func() { w.head.State.Store(stateClean) })
	crashpoint.Pass(crashpoint.CloseSaid)
	if err == nil {
		err = syncFile(w.headFile, w.headPath(), w.opts.fault)
	}
	if err != nil {
		_ = w.storing(func() { w.head.State.Store(stateOpen) })
		w.lose()
	}
	return err
}

// lose remembers that a sync has failed: the kernel reports a lost write once, and takes the page
// for written. So until the segments that there are now are gone, nothing is said to be on disk:
// not by this process, and not by the next of this boot. After a start of the machine, what is read
// is what is on disk.
func (w *Writer) lose() {
	at := max(1, w.Head())
	err := w.storing(func() {
		for {
			if old := w.head.Lost.Load(); old >= at || w.head.Lost.CompareAndSwap(old, at) {
				return
			}
		}
	})
	w.unremembered.Store(err != nil)
}

// mayHaveLost says whether a sync has failed, as far as is remembered.
func (w *Writer) mayHaveLost() bool {
	if w.unremembered.Load() { // the head could not be written then
		w.lose()
	}
	return w.unremembered.Load() || w.head.Lost.Load() != 0
}

// forgetLost forgets a failed sync when the segments that there were then are gone.
func (w *Writer) forgetLost() {
	oldest := w.active.base
	if len(w.kept) > 0 {
		oldest = w.kept[0].base
	}
	if lost := w.head.Lost.Load(); lost != 0 && oldest > lost {
		w.head.Lost.CompareAndSwap(lost, 0) // or one has failed meanwhile
	}
}

// finishOld does for sealed segments what the writer that sealed them may not have come to. Those
// that a failed sync may have lost writes of are written again.
func (w *Writer) finishOld() {
	lost := w.head.Lost.Load()
	if lost != 0 {
		w.failed("vouch for what is on disk before its segments are gone", fmt.Errorf("a sync failed in this boot, with the head at %d", lost))
	}
	for _, k := range w.kept {
		again := lost != 0 && k.base <= lost
		w.behind.do(func() {
			if !again && w.isFinished(k) || k.end <= w.Floor() && w.removeRetired(k.base) == nil {
				return
			}
			if again {
				w.failed("write a segment again", w.rewrite(k))
			}
			s, err := w.openKept(k)
			if err != nil {
				s.close()
				if k.end > w.Floor() { // else it was retired meanwhile
					w.failed("finish a sealed segment", err)
					w.lose()
				}
				return
			}
			w.finish(s)
		})
	}
}

// isFinished says whether a sealed segment is on disk, and has no more room than its frames need.
func (w *Writer) isFinished(k span) bool {
	info, err := os.Stat(segmentPath(w.opts.Dir, k.base, framesExt))
	return err == nil && uint64(info.Size()) == k.end-k.base && k.end <= w.head.Synced.Load()
}

// openKept opens the files of a sealed segment.
func (w *Writer) openKept(k span) (*segment, error) {
	s := &segment{base: k.base, used: int(k.end - k.base)}
	for i, ext := range [2]string{framesExt, indexExt} {
		f, err := os.OpenFile(segmentPath(w.opts.Dir, k.base, ext), os.O_RDWR, 0)
		if err != nil {
			return s, fmt.Errorf("framelog: open a sealed segment: %w", err)
		}
		s.files[i], s.paths[i] = f, f.Name()
	}
	return s, nil
}

// rewrite puts copies in the place of a sealed segment's files. Writing into the files again would
// not do: a file system may not know any more that these pages are not on disk. Readers keep what
// they have mapped.
func (w *Writer) rewrite(k span) error {
	for _, ext := range [2]string{indexExt, framesExt} {
		path, temp := segmentPath(w.opts.Dir, k.base, ext), filepath.Join(w.opts.Dir, copyName+ext)
		err := w.copyFile(path, temp)
		if err == nil {
			err = rename(temp, path, w.opts.fault)
		}
		if err != nil {
			return errors.Join(err, unlink(temp, w.opts.fault))
		}
	}
	return nil
}

func (w *Writer) copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("framelog: copy: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("framelog: copy: %w", err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("framelog: copy: %w", err)
	}
	return syncFile(out, to, w.opts.fault)
}
