package datalog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// begin opens the first log, and reports whether it could.
func (f *Follower) begin() bool {
	switch {
	case !f.from.IsZero():
		return f.resume()
	case !f.settled:
		return f.startAtEnd()
	default:
		return f.startLate()
	}
}

// startAtEnd is the first start: what the logs hold is skipped. If there is no active log yet, what
// they hold is noted down, so that all that comes later is read from its beginning.
func (f *Follower) startAtEnd() bool {
	entries, err := listLogs(f.opt.Dir, f.opt.Stream)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.complaints.report("list logs", err)
		return false
	}
	f.complaints.clear("list logs")
	if pointer, ok := f.readPointer(); ok {
		l, err := f.openAtEnd(pointer)
		if err == nil {
			f.enter(l)
			f.settle()
			f.log.Info("data log: first start at the end of the active log", "file", l.name, "offset", l.fp.offset)
			return true
		}
		if !errors.Is(err, fs.ErrNotExist) {
			f.complaints.report("open log", err)
			return false
		}
	}
	// The newest is the one that may be written to: a line begun in it is still to come.
	slices.SortFunc(entries, func(a, b entry) int { return b.mtime.Compare(a.mtime) })
	for i, e := range entries {
		f.markDone(e, i == 0)
	}
	f.settled = true
	f.log.Info("data log: first start; no active log yet", "dir", f.opt.Dir)
	return false
}

// openAtEnd opens a log and goes to its end or, if its last line is unfinished, to the start of that.
func (f *Follower) openAtEnd(number uint32) (*logFile, error) {
	l, err := f.openNamed(number, false)
	if err != nil {
		return nil, err
	}
	start, err := lineStart(l.file, l.size)
	if err == nil {
		err = l.seek(start)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// startLate begins with the oldest log that has come, or grown, since startAtEnd found no active one.
func (f *Follower) startLate() bool {
	pointer, ok := f.readPointer()
	if !ok {
		return false
	}
	entries, ok := f.survey(pointer)
	if !ok {
		return false
	}
	for _, e := range entries {
		active := e.place() == place{0, pointer}
		if active || e.lap <= 0 && !f.isDone(e) {
			return f.turnTo(e, entries)
		}
	}
	return false
}

// resume finds the log of the position to go on from.
func (f *Follower) resume() bool {
	var best *logFile
	for _, old := range [...]bool{false, true} {
		l, err := f.openNamed(f.from.Number, old)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var ok bool
		if err == nil {
			if ok, err = l.matches(f.from); err == nil && ok {
				err = l.seek(int64(f.from.Offset))
			}
		}
		if err != nil {
			// Not readable now: that must not make us take another log for it.
			f.complaints.report("open log", err)
			closeAll(l, best)
			return false
		}
		if ok && (best == nil || f.fitsBetter(l, best)) {
			l, best = best, l
		}
		closeAll(l)
	}
	f.complaints.clear("open log")
	if best == nil {
		return f.resumeAfterLoss()
	}
	if best.inode != f.from.Inode {
		f.log.Info("data log: resuming in a copy of the log", "file", best.name)
	}
	f.from = Position{}
	f.enter(best)
	if pointer, ok := f.readPointer(); ok {
		if entries, ok := f.survey(pointer); ok {
			ours, _ := placeOf(entries, best.number, best.inode, pointer)
			f.tally.BytesBehind = unread(entries, ours)
		}
	}
	f.log.Info("data log: resumed", "file", best.name, "offset", best.fp.offset)
	return true
}

// fitsBetter reports whether the old- log of a number, rather than the own one, is that of the position,
// where both have the same bytes before its offset (which may be 0).
func (f *Follower) fitsBetter(old, own *logFile) bool {
	if own.inode == f.from.Inode || old.inode == f.from.Inode {
		return old.inode == f.from.Inode
	}
	// In a copied directory: an old- log as young as the position is not of a lap before it.
	return old.mtime.Unix() >= int64(f.from.Time)
}

// resumeAfterLoss goes on at the oldest log that is certainly newer than the one that is gone.
func (f *Follower) resumeAfterLoss() bool {
	pointer, ok := f.readPointer()
	if !ok {
		return false
	}
	entries, ok := f.survey(pointer)
	if !ok {
		return false
	}
	from, _ := placeOf(entries, f.from.Number, 0, pointer)
	to, _, ok := next(entries, pointer, from, false, time.Unix(int64(f.from.Time), 0), 0, func(entry) bool { return false })
	if !ok || !f.believed(to) {
		return false
	}
	lost := f.from
	f.from = Position{}
	if !f.turnTo(to, entries) {
		f.from = lost
		return false
	}
	for _, e := range entries {
		if e.place().compare(to.place()) < 0 {
			f.markDone(e, false)
		}
	}
	f.settled = true
	f.gap(GapLogGone, lost, to.number, 0)
	return true
}

// settle notes down, once after a start, the logs that stand before the one being read: whatever they
// hold has been dealt with in an earlier life, or is skipped.
func (f *Follower) settle() {
	pointer, ok := f.readPointer()
	if !ok {
		return
	}
	entries, ok := f.survey(pointer)
	if !ok {
		return
	}
	ours, found := placeOf(entries, f.cur.number, f.cur.inode, pointer)
	// Until the active log has its trailer, nothing is in the file that comes after it but what a
	// writer of another lap has left there.
	live := found && ours == place{0, pointer} && !f.cur.ended
	for _, e := range entries {
		if e.inode != f.cur.inode && (live || e.place().compare(ours) < 0) {
			f.markDone(e, false)
		}
	}
	f.settled = true
}

// markDone notes that nothing of what a log now holds is to be read, except maybe a line without its newline.
func (f *Follower) markDone(e entry, exceptLine bool) {
	l, err := f.openNamed(e.number, e.old)
	if err == nil {
		defer l.close()
		end := l.size
		if exceptLine {
			end, err = lineStart(l.file, end)
		}
		if err == nil {
			err = l.seek(end)
		}
		if err == nil && l.inode == e.inode {
			f.known[e.inode] = l.position()
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.complaints.report("look at older log", fmt.Errorf("%s: %w", f.opt.Stream.logName(e.number, e.old), err))
	}
}

// openNamed opens a log by its name.
func (f *Follower) openNamed(number uint32, old bool) (*logFile, error) {
	name := f.opt.Stream.logName(number, old)
	l, err := openLog(filepath.Join(f.opt.Dir, name), number)
	if err != nil {
		return nil, err
	}
	l.name = f.opt.Stream.logName(number, false)
	l.path = filepath.Join(f.opt.Dir, l.name)
	l.maxLine, l.seam = f.opt.MaxLine, f.opt.seam
	return l, nil
}

func closeAll(logs ...*logFile) {
	for _, l := range logs {
		if l != nil {
			l.close()
		}
	}
}
