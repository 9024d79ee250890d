package datalog

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"sync"
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

// startAtEnd makes the first start: it skips what the logs hold. If there is no active log yet, it
// notes what the logs hold, so that everything that comes later is read.
func (f *Follower) startAtEnd() bool {
	f.first = true
	entries, err := listLogs(f.opt.Dir, f.opt.Stream)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.complaints.report("list logs", f.opt.Dir, err)
		return false
	}
	f.complaints.clear("list logs")
	if pointer, ok := f.readPointer(); ok {
		l, err := f.openAtEnd(pointer)
		if err == nil {
			f.enter(l)
			f.settle()
			f.log.Info("data log: first start at the end of the active log",
				"file", l.name, "offset", l.fp.offset)
			return true
		}
		if !errors.Is(err, fs.ErrNotExist) {
			f.complaints.report("open log", f.logPath(pointer, false), err)
			return false
		}
	}
	// The newest log may be written to: its unfinished line is still to be read.
	slices.SortFunc(entries, func(a, b entry) int { return b.mtime.Compare(a.mtime) })
	for i, e := range entries {
		f.markDone(e, i == 0)
	}
	f.settled = true
	f.log.Info("data log: first start; no active log yet", "dir", f.opt.Dir)
	return false
}

// openAtEnd opens a log and goes to its end or, if its last line is unfinished, to the start of
// that line.
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
	l.trail.add(start, l.fp.check())
	return l, nil
}

// startLate begins with the oldest log that has come, or grown, since startAtEnd found no active
// one.
func (f *Follower) startLate() bool {
	pointer, ok := f.readPointer()
	if !ok {
		return false
	}
	entries, ok := f.survey(pointer)
	if !ok {
		return false
	}
	highest := uint32(0)
	for _, e := range entries {
		highest = max(highest, e.number)
	}
	for _, e := range entries {
		if e.place() == (place{0, pointer}) {
			return f.turnTo(e, entries)
		}
		if e.lap <= 0 && !f.isDone(e) {
			// An empty log may have just been created, though an unsteady clock shows it as older
			// than the active log. Then the pointer soon names it.
			next := !e.old && (e.number == pointer+1 || e.number == 1 && pointer == highest)
			if next && e.size == 0 && !f.believed(e) {
				return false
			}
			return f.turnTo(e, entries)
		}
	}
	return false
}

// resume finds the log of the position to go on from.
func (f *Follower) resume() bool {
	past := f.past()
	var best *logFile
	bestIs := another
	for _, old := range [...]bool{false, true} {
		l, err := f.openNamed(f.from.Number, old)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		state := another
		if err == nil {
			state, err = f.stand(l, f.from, past)
		}
		if err != nil {
			// The log cannot be read now; another log must not be taken for it.
			f.complaints.report("open log", f.logPath(f.from.Number, old), err)
			closeAll(l, best)
			return false
		}
		if state > bestIs || state == same && bestIs == same && f.fitsBetter(l, best) {
			l, best, bestIs = best, l, state
		}
		closeAll(l)
	}
	f.complaints.clear("open log")
	if best == nil {
		return f.resumeAfterLoss()
	}
	from := f.from
	f.from = Position{}
	f.enter(best)
	switch {
	case bestIs == older:
		f.noteOlder()
		if f.unclear(from) {
			f.gap(GapTruncated, from, best.number, 0)
		}
	case best.id.ino != from.Inode:
		f.mirror = f.opt.now()
		f.log.Info("data log: resuming in a copy of the log", "file", best.name)
	}
	if pointer, ok := f.readPointer(); ok {
		if entries, ok := f.survey(pointer); ok {
			ours, _ := placeOf(entries, best.number, best.id, pointer)
			f.tally.BytesBehind = unread(entries, ours)
		}
	}
	f.log.Info("data log: resumed", "file", best.name, "offset", best.fp.offset)
	return true
}

// past returns the trail of the log of the position. The caller remembers the marks before that.
func (f *Follower) past() (t trail) {
	t.add(int64(f.from.Offset), f.from.Check)
	if past, from := f.opt.Past, f.from; past != nil {
		t.earlier = sync.OnceValue(func() []mark { return marksBefore(from, past) })
	}
	return t
}

// marksBefore returns the marks, in ascending order, of the positions in a log before from. past
// gives positions newest first.
func marksBefore(from Position, past iter.Seq[Position]) []mark {
	var marks []mark
	before := from.Offset
	for p := range past {
		if p.Number == from.Number && p.Offset >= from.Offset && len(marks) == 0 {
			continue // From leaves it to be read again, or it was read since
		}
		if p.Number != from.Number || p.Offset >= before || len(marks) == maxMarks {
			break
		}
		before = p.Offset
		marks = append(marks, mark{int64(p.Offset), p.Check})
	}
	var t trail
	for _, m := range slices.Backward(marks) {
		t.add(m.offset, m.check)
	}
	return t.marks
}

// likeness says how a file relates to the log of a position.
type likeness uint8

const (
	another likeness = iota // another log
	older                   // an older state of the same log, maybe grown since
	same                    // the same log
)

// stand moves l to where reading goes on after p, if l is the log that p was made of. past holds
// the marks of what was read of that log.
func (f *Follower) stand(l *logFile, p Position, past trail) (likeness, error) {
	fits, err := l.matches(p)
	if err != nil {
		return another, err
	}
	if fits {
		l.trail = past
		return same, l.seek(int64(p.Offset))
	}
	var m mark
	parted, ok, err := f.sharedWithOpen(l, p)
	if err != nil {
		return another, err
	}
	if ok {
		m.offset, err = lineStart(l.file, parted)
	} else {
		parted = l.size
		m, ok, err = past.common(l.file, l.size)
	}
	if err != nil {
		return another, err
	}
	l.guessed = false
	if !ok {
		// Only the beginning is known, which proves something for a shorter file only.
		if ok, err = l.begins(p); err == nil && !ok {
			ok = f.emptied(l, p)
		}
		if err != nil || !ok {
			return another, err
		}
		if m.offset, err = lineStart(l.file, l.size); err != nil {
			return another, err
		}
		l.guessed = true
	}
	if err = l.seek(m.offset); err != nil {
		return another, err
	}
	l.trail, l.had = past, min(parted, int64(p.Offset))
	if parted < int64(p.Offset) {
		if err = l.endTorn(parted); err != nil {
			return another, err
		}
	}
	l.passed = max(l.passed, int64(p.Offset))
	return older, nil
}

// sharedWithOpen returns how many of the bytes that were read of the log up to p another file of
// its number has in common with it. It compares with the log itself, which is open. ok is false if
// the log no longer holds these bytes, or if the file does not begin like the log.
func (f *Follower) sharedWithOpen(l *logFile, p Position) (shared int64, ok bool, err error) {
	if f.cur == nil || f.cur.id == l.id {
		return 0, false, nil
	}
	if fits, err := f.cur.matches(p); err != nil || !fits {
		return 0, false, err
	}
	shared, err = sharedPrefix(f.cur.file, l.file, min(int64(p.Offset), l.size))
	return shared, shared >= headBytes, err
}

// emptied reports whether an empty file is the log that p was made of: the inode is that of the
// log, and no other log was changed since, so that no lap has passed in which the number came
// again.
func (f *Follower) emptied(l *logFile, p Position) bool {
	if l.size > 0 || l.id.ino != p.Inode {
		return false
	}
	entries, err := listLogs(f.opt.Dir, f.opt.Stream)
	return err == nil && !slices.ContainsFunc(entries, func(e entry) bool {
		return e.id != l.id && changedAfter(e.mtime, p)
	})
}

// unclear reports whether bytes may have been appended to an older state of the log of a position,
// and be taken for bytes that were read: no record before its end is known, and the file was
// changed later.
func (f *Follower) unclear(from Position) bool {
	return f.cur.guessed && f.cur.size > 0 && changedAfter(f.cur.mtime, from)
}

// changedAfter reports whether a file was changed after the file of a position had been read so
// far.
func changedAfter(t time.Time, p Position) bool {
	return t.Unix() > int64(p.Time)+int64(timeSlack/time.Second)
}

// fitsBetter reports whether the old- log of a number, rather than the own one, is that of the
// position, where both have the same bytes before its offset (which may be 0).
func (f *Follower) fitsBetter(old, own *logFile) bool {
	if own.id.ino == f.from.Inode || old.id.ino == f.from.Inode {
		return old.id.ino == f.from.Inode
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
	from, _ := placeOf(entries, f.from.Number, fileID{}, pointer)
	to, _, ok := next(entries, pointer, from, false, time.Unix(int64(f.from.Time), 0), 0,
		func(entry) bool { return false })
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
			f.markEarlier(e, to.number)
		}
	}
	f.settled = true
	f.gap(GapLogGone, lost, to.number, 0)
	return true
}

// settle notes, once after a start, the logs before the one being read: an earlier process has
// delivered what they hold, or it is skipped.
func (f *Follower) settle() {
	pointer, ok := f.readPointer()
	if !ok {
		return
	}
	entries, ok := f.survey(pointer)
	if !ok {
		return
	}
	ours, found := placeOf(entries, f.cur.number, f.cur.id, pointer)
	// Until the active log has its trailer, the file after it holds only what a writer of another
	// lap left there.
	live := found && ours == place{0, pointer} && !f.cur.ended
	for _, e := range entries {
		// A log that is about to be begun may have come before the pointer that names it.
		skip := e.place().compare(ours) < 0 || live && (e.lap < 1 || f.first)
		if live && !f.first && !e.old && e.number == pointer+1 && !e.mtime.Before(f.cur.mtime) {
			skip = false // within one tick of the kernel's clock both have the same time
		}
		if _, left := f.leftAt(e); skip && !left && e.id != f.cur.id {
			f.markEarlier(e, f.cur.number)
		}
	}
	f.settled = true
}

// markDone notes that what a log now holds needs no reading. If exceptLine is true, a last line
// without its newline is still to be read.
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
		if err == nil && l.id == e.id {
			f.known[e.id] = l.position()
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.complaints.report(olderLog, f.logPath(e.number, e.old),
			fmt.Errorf("%s: %w", f.opt.Stream.logName(e.number, e.old), err))
	}
}

// openNamed opens a log by its name.
func (f *Follower) openNamed(number uint32, old bool) (*logFile, error) {
	l, err := openLog(f.logPath(number, old), number)
	if err != nil {
		return nil, err
	}
	l.name = f.opt.Stream.logName(number, false)
	l.path = filepath.Join(f.opt.Dir, l.name)
	l.maxLine, l.linger, l.now, l.seam = f.opt.MaxLine, f.opt.linger, f.opt.now, f.opt.seam
	return l, nil
}

func (f *Follower) logPath(number uint32, old bool) string {
	return filepath.Join(f.opt.Dir, f.opt.Stream.logName(number, old))
}

func closeAll(logs ...*logFile) {
	for _, l := range logs {
		if l != nil {
			l.close()
		}
	}
}
