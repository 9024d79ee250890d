package datalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// advance is called when the log being read has no whole line left. It goes on to the next log if
// the time has come, and reports whether there is something to read.
func (f *Follower) advance(b *Batch) bool {
	if !f.settled {
		f.settle()
	}
	f.opt.seam.at("advance")
	pointer, ok := f.readPointer()
	if !ok {
		return false // nothing is decided without a pointer: it comes back
	}
	f.highest = max(f.highest, pointer)
	if f.isActive(pointer) {
		f.moved = moved{}
		f.complaints.clear(nextLog)
		f.checkLeft(pointer)
		return false
	}
	if f.moved.to != pointer {
		// What was written before the pointer moved is there to be seen now, but maybe was not when
		// we looked last: read once more.
		if f.moved.to == 0 {
			f.moved.at = f.opt.now()
		}
		f.moved.to = pointer
		return true
	}
	entries, ok := f.survey(pointer)
	if !ok {
		return false
	}
	ours, found := placeOf(entries, f.cur.number, f.cur.id, pointer)
	f.lookBack(entries, ours)
	if !found {
		if l, state := f.openCopy(entries); l != nil {
			f.turnToCopy(l, state)
			return true
		}
	}
	to, gap, ok := next(entries, pointer, ours, found, f.cur.mtime, f.highest, f.isDone)
	if !ok {
		f.complaints.waiting(nextLog, f.logPath(pointer, false), fmt.Errorf(
			"datalog: %s names %s, which does not exist",
			f.opt.Stream.pointerName(), f.opt.Stream.FileName(pointer)))
		return false
	}
	wait := f.patience(incompleteLingers)
	switch {
	case !found && to.number == f.cur.number:
		wait = f.opt.linger // another log has its name, so it cannot grow
	case !found:
		wait = f.patience(1)
	}
	if !f.finished(b, wait) {
		f.complaints.waiting(nextLog, f.cur.path, fmt.Errorf(
			"datalog: %s has no trailer, though %s names %s",
			f.cur.name, f.opt.Stream.pointerName(), f.opt.Stream.FileName(pointer)))
		return false
	}
	if to.number == f.cur.number && !f.cur.ended {
		gap = false // the log itself was replaced
	}
	if gap && !f.believed(to) {
		f.complaints.waiting(nextLog, f.logPath(to.number-1, false), fmt.Errorf(
			"datalog: a log before %s is missing", f.opt.Stream.FileName(to.number)))
		return false
	}
	before, ended := f.Position(), f.cur.ended
	if !f.turnTo(to, entries) {
		return false
	}
	if f.tally.Rotations++; !ended {
		f.unended = f.opt.now()
		f.log.Warn("data log: log left without a trailer", "number", before.Number)
	}
	if gap {
		reason := GapLogsMissing
		if !found {
			reason = GapLogGone
		}
		f.gap(reason, before, to.number, 0)
		f.highest = max(to.number, pointer) // if it was a wrap-around, logs are fewer than they were
	}
	return true
}

// isActive reports whether the log being read is the one that the pointer names.
func (f *Follower) isActive(pointer uint32) bool {
	if pointer != f.cur.number {
		return false
	}
	var st unix.Stat_t
	if err := unix.Stat(f.cur.path, &st); err != nil {
		return true // deleted or renamed, and not replaced yet
	}
	if idOfStat(&st) != f.cur.id {
		return false
	}
	if st.Size > f.cur.size {
		f.reopen(st.Size)
	}
	return true
}

// reopen opens the log being read anew if what is open has stayed behind the file of its name: an
// overlay file system of an older kernel copies a file up under the same inode number.
func (f *Follower) reopen(size int64) {
	if st, err := f.cur.stat(); err != nil || st.Size >= size {
		return // it has just grown
	}
	l, err := f.openNamed(f.cur.number, false)
	if err != nil {
		f.complaints.report("open log", f.cur.path, err)
		return
	}
	f.complaints.clear("open log")
	state, err := f.stand(l, f.cur.position(), f.cur.trail)
	if err != nil || state == another {
		l.close()
		return
	}
	f.enter(l)
	f.watch.nudge()
}

// finished reports whether the log being read is complete: it has its trailer, or has not grown for
// wait. A last line without a newline is put into b first.
func (f *Follower) finished(b *Batch, wait time.Duration) bool {
	pending := f.cur.dataEnd() > f.cur.fp.offset
	if f.cur.ended && !pending {
		return true
	}
	now := f.opt.now()
	waited := now.Sub(f.moved.at)
	if quiet := now.Sub(f.grewAt); min(waited, quiet) < wait && waited < mirrorLingers*f.opt.linger {
		return false
	}
	if f.cur.size <= f.cur.fp.offset {
		return true
	}
	out, err := f.cur.rest(b)
	if err != nil {
		f.complaints.report("read log", f.cur.path, fmt.Errorf("%s: %w", f.cur.name, err))
		return false
	}
	f.account(out, b)
	f.tellLost()
	return len(b.Records) == 0 && f.cur.size <= f.cur.fp.offset
}

// patience returns how long to wait for missing files or bytes: lingers times linger, or longer in
// a directory in which logs are replaced by copies of themselves, because copies come in any order.
func (f *Follower) patience(lingers time.Duration) time.Duration {
	if !f.mirror.IsZero() && f.opt.now().Sub(f.mirror) < mirrorLingers*f.opt.linger {
		lingers = mirrorLingers
	}
	return lingers * f.opt.linger
}

// believed reports whether a gap before a log has persisted long enough. A directory that is being
// copied, or read while files are renamed, shows gaps that close.
func (f *Follower) believed(to entry) bool {
	now := f.opt.now()
	if f.doubt.before != to.id {
		f.doubt = doubt{to.id, now}
	}
	return now.Sub(f.doubt.at) >= f.patience(1)
}

// turnTo goes on to a log, at its beginning or behind the part that needs no reading.
func (f *Follower) turnTo(to entry, entries []entry) bool {
	l, err := f.openNamed(to.number, to.old)
	if err != nil {
		f.complaints.report("open log", f.logPath(to.number, to.old), err)
		return false
	}
	f.complaints.clear("open log")
	if l.id != to.id { // renamed since
		l.close()
		return false
	}
	if done, ok := f.leftAt(to); ok {
		ok, err = l.matches(done)
		if err == nil && ok {
			err = l.seek(int64(done.Offset))
		}
		if err != nil {
			f.complaints.report("open log", f.logPath(to.number, to.old), err)
			l.close()
			return false
		}
		delete(f.known, l.id)
	}
	if f.cur != nil {
		f.known[f.cur.id] = f.cur.position()
		f.noteLeft(f.cur.position())
	}
	f.enter(l)
	f.tally.BytesBehind = unread(entries, to.place())
	f.log.Info("data log: next log", "file", l.name, "offset", l.fp.offset)
	return true
}

// enter makes l the log that is read.
func (f *Follower) enter(l *logFile) {
	f.setCurrent(l)
	f.highest = max(f.highest, l.number)
	f.grewAt = f.opt.now()
	f.moved, f.doubt = moved{}, doubt{}
	f.complaints.clear(nextLog)
}

// survey lists the logs in their order. A log that is renamed while the directory is read may be
// missing from the listing, so two listings must agree. The pointer must be the same before and
// after: else logs that the writer began meanwhile would count as logs of an earlier lap.
func (f *Follower) survey(pointer uint32) ([]entry, bool) {
	f.opt.seam.at("survey")
	once, err := listLogs(f.opt.Dir, f.opt.Stream)
	f.opt.seam.at("listed")
	entries, err2 := listLogs(f.opt.Dir, f.opt.Stream)
	if err = cmp.Or(err, err2); err != nil {
		f.complaints.report("list logs", f.opt.Dir, err)
		return nil, false
	}
	f.complaints.clear("list logs")
	again, ok := f.readPointer()
	if !ok || again != pointer || !slices.EqualFunc(once, entries, sameLog) {
		f.watch.nudge()
		return nil, false
	}
	arrange(entries, pointer)
	return entries, true
}

// readPointer reads the active file. The file is empty for a moment while a writer rewrites it.
func (f *Follower) readPointer() (pointer uint32, ok bool) {
	n, err := readSmall(f.pointerPath, f.pointerText[:])
	if err == nil && n == 0 {
		f.complaints.waiting("read active file", f.pointerPath,
			fmt.Errorf("datalog: %s is empty", f.opt.Stream.pointerName()))
	} else if err == nil {
		if pointer, ok = f.opt.Stream.parsePointer(f.pointerText[:n]); !ok {
			err = fmt.Errorf("datalog: %s names no log: %.80q",
				f.opt.Stream.pointerName(), f.pointerText[:n])
		}
	}
	if err != nil {
		f.complaints.report("read active file", f.pointerPath, err)
	} else if ok {
		f.complaints.clear("read active file")
	}
	return pointer, ok
}

// readSmall reads a file's beginning in three system calls. os.Open would take twice as many, and
// an idle Follower calls readSmall at each Interval.
func readSmall(path string, b []byte) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("datalog: open active file: %w", err)
	}
	defer unix.Close(fd)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return 0, fmt.Errorf("datalog: read active file: %w", err)
	}
	return n, nil
}

// gap records that records may be missing. It is called when all records read before are delivered.
func (f *Follower) gap(reason GapReason, after Position, next uint32, bytes uint64) {
	g := Gap{Reason: reason, After: after, Next: next, Bytes: bytes, Time: f.opt.now()}
	f.gaps = append(f.gaps, g)
	f.tally.Gaps++
	f.tally.GapBytes += bytes
	f.tally.LastGap = g
	known := []any{"reason", string(reason), "file", f.opt.Stream.FileName(after.Number),
		"offset", after.Offset, "next", f.opt.Stream.FileName(next)}
	if bytes > 0 {
		known = append(known, "bytes", bytes)
	}
	f.log.Error("data log: records may be missing", known...)
}

// unread sums the sizes of the logs that come after a place.
func unread(entries []entry, after place) (bytes int64) {
	for _, e := range entries {
		if e.lap <= 0 && e.place().compare(after) > 0 {
			bytes += e.size
		}
	}
	return bytes
}
