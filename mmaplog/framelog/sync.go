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

// finish syncs a sealed and committed segment and closes it. It cuts the frames file at the last
// frame. This is safe because no reader touches a byte beyond the head, and the head is never in
// the part that is cut.
func (w *Writer) finish(s *segment) {
	released := w.unfinished.take(s)
	s.unmap()
	defer func() { s.close() }()
	end := s.base + uint64(s.used)
	if end <= w.Floor() && w.removeRetired(s.base) == nil {
		return // everything below Synced is on disk or gone
	}
	if released {
		again, err := w.openKept(span{s.base, end})
		if s = again; err != nil && end <= w.Floor() {
			return // retention removed the segment meanwhile
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

// removeRetired unlinks a segment below the floor before its turn in the queue, and first all older
// segments: after a power loss the first segments may be missing, but none in the middle.
func (w *Writer) removeRetired(base uint64) error {
	_, err := os.Lstat(segmentPath(w.opts.Dir, base, indexExt))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err = syncFile(w.headFile, w.headPath(), w.opts.fault) // brings the floor to disk
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

// sync brings the last segments before end to disk, then raises Synced in the head to end. The
// order:
//
//	frames and index   else they may be missing below Synced
//	directory          else their names may be missing
//	head               else the head on disk may be lower than Synced, and the log would end there
//	Synced             in memory; it may reach the disk at any time; losing it only costs work
//
// While an earlier failed sync is remembered, Synced does not move.
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

// mayVouch reports whether the head may say that the log was closed, or left to the next writer.
func (w *Writer) mayVouch() bool {
	return !w.opts.Transient && w.broken == nil && !w.mayHaveLost()
}

// sayClosed stores in the head that the log was closed. The caller has brought all of it to disk.
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

// lose remembers that a sync has failed: the kernel reports a lost write once, and then takes the
// page for written. So until the segments that exist now are gone, neither this process nor the
// next one of this boot raises Synced. After a start of the machine, reads return what is on disk.
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

// mayHaveLost reports whether a failed sync is remembered.
func (w *Writer) mayHaveLost() bool {
	if w.unremembered.Load() { // when the sync failed, the head could not be written
		w.lose()
	}
	return w.unremembered.Load() || w.head.Lost.Load() != 0
}

// forgetLost forgets a failed sync once the segments that existed then are gone.
func (w *Writer) forgetLost() {
	oldest := w.active.base
	if len(w.kept) > 0 {
		oldest = w.kept[0].base
	}
	if lost := w.head.Lost.Load(); lost != 0 && oldest > lost {
		w.head.Lost.CompareAndSwap(lost, 0) // fails if another sync has failed meanwhile
	}
}

// finishOld finishes sealed segments that the previous writer may not have finished. If a failed
// sync may have lost writes of a segment, the segment is written again.
func (w *Writer) finishOld() {
	lost := w.head.Lost.Load()
	if lost != 0 {
		w.failed("vouch for what is on disk before its segments are gone",
			fmt.Errorf("a sync failed in this boot, with the head at %d", lost))
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
				if k.end > w.Floor() { // else retention removed the segment meanwhile
					w.failed("finish a sealed segment", err)
					w.lose()
				}
				return
			}
			w.finish(s)
		})
	}
}

// isFinished reports whether a sealed segment is on disk and its frames file ends at the last
// frame.
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

// rewrite replaces a sealed segment's files by copies. Writing into the old files would not be
// enough: a file system may no longer know that their pages are not on disk. Readers keep what they
// have mapped.
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
