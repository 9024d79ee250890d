package datalog

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// advance is called when the log being read has no whole line left. It goes on to the next log if the
// time has come, and reports whether there is something to read.
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
	ours, found := placeOf(entries, f.cur.number, f.cur.inode, pointer)
	f.lookBack(entries, ours)
	to, gap, ok := next(entries, pointer, ours, found, f.cur.mtime, f.highest, f.isDone)
	copied := false
	if !found {
		var e entry
		if e, copied = f.findCopy(entries); copied {
			to, gap, ok = e, false, true
		}
	}
	if !ok || !f.finished(b) {
		return false
	}
	if to.number == f.cur.number && !f.cur.ended {
		gap = false // the log itself was replaced
	}
	if gap && !f.believed(to) {
		return false
	}
	before, ended := f.Position(), f.cur.ended
	if copied {
		f.known[to.inode] = before
	}
	if !f.turnTo(to, entries) {
		return false
	}
	if copied {
		f.settled = false // the logs before it have other inodes too
	} else if f.tally.Rotations++; !ended {
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
		return true // deleted or renamed, and nothing in its place yet
	}
	return st.Ino == f.cur.inode
}

// finished reports whether nothing more is to be expected in the log being read. What stands at its
// end without a newline is put into b first.
func (f *Follower) finished(b *Batch) bool {
	pending := f.cur.size > f.cur.fp.offset
	if f.cur.ended && !pending {
		return true
	}
	now := f.opt.now()
	waited := now.Sub(f.moved.at)
	if waited < f.opt.linger || now.Sub(f.grewAt) < f.opt.linger && waited < lingers*f.opt.linger {
		return false
	}
	if !pending {
		return true
	}
	out, err := f.cur.rest(b)
	if err != nil {
		f.complaints.report("read log", fmt.Errorf("%s: %w", f.cur.name, err))
		return false
	}
	f.account(out, b)
	return len(b.Records) == 0 && f.cur.size <= f.cur.fp.offset
}

// believed reports whether a gap before a log has been seen for long enough: a directory that is being
// copied, or read while files are renamed, shows gaps that close.
func (f *Follower) believed(to entry) bool {
	now := f.opt.now()
	if f.doubt.before != to.inode {
		f.doubt = doubt{to.inode, now}
	}
	return now.Sub(f.doubt.at) >= f.opt.linger
}

// turnTo goes on to a log: at its beginning or, if a part of it is known to be done, behind that.
func (f *Follower) turnTo(to entry, entries []entry) bool {
	l, err := f.openNamed(to.number, to.old)
	if err != nil {
		f.complaints.report("open log", err)
		return false
	}
	f.complaints.clear("open log")
	if l.inode != to.inode { // renamed since
		l.close()
		return false
	}
	if done, ok := f.known[l.inode]; ok {
		ok, err = l.matches(done)
		if err == nil && ok {
			err = l.seek(int64(done.Offset))
		}
		if err != nil {
			f.complaints.report("open log", err)
			l.close()
			return false
		}
		delete(f.known, l.inode)
	}
	if f.cur != nil {
		f.known[f.cur.inode] = f.cur.position()
	}
	f.enter(l)
	f.tally.BytesBehind = unread(entries, to.place())
	f.log.Info("data log: next log", "file", l.name, "offset", l.fp.offset)
	return true
}

// enter makes a log the one that is read.
func (f *Follower) enter(l *logFile) {
	f.setCurrent(l)
	f.highest = max(f.highest, l.number)
	f.grewAt = f.opt.now()
	f.moved, f.doubt = moved{}, doubt{}
}

// isDone reports whether a log holds nothing unread. Of an empty one that is not known: it may be another
// one, with the inode of one that was deleted, and its writer late.
func (f *Follower) isDone(e entry) bool {
	done, ok := f.known[e.inode]
	if !ok || done.Number != e.number || done.Offset != uint64(e.size) || e.size == 0 {
		return false
	}
	l, err := f.openNamed(e.number, e.old)
	if err != nil {
		return false // found out when it is opened to be read
	}
	defer l.close()
	same, err := l.matches(done) // the inode may be that of a deleted log
	return err == nil && same && l.inode == e.inode
}

// findCopy looks for a log that has what the one being read had before our place, under its number: a
// directory that was copied, or restored, has other inodes. Fewer bytes than fill the fingerprint's
// tail prove nothing.
func (f *Follower) findCopy(entries []entry) (entry, bool) {
	ours := f.cur.position()
	for _, e := range entries {
		if e.number != ours.Number || ours.Offset < tailBytes {
			continue
		}
		l, err := f.openNamed(e.number, e.old)
		if err != nil {
			continue
		}
		same, err := l.matches(ours)
		l.close()
		if err == nil && same && l.inode == e.inode {
			return e, true
		}
	}
	return entry{}, false
}

// lookBack says so if a log has grown after it was left, and forgets logs that are gone.
func (f *Follower) lookBack(entries []entry, ours place) {
	present := make(map[uint64]bool, len(entries))
	for _, e := range entries {
		present[e.inode] = true
		left, ok := f.known[e.inode]
		if !ok || left.Number != e.number || e.size <= int64(left.Offset) || e.place().compare(ours) >= 0 {
			continue
		}
		l, err := f.openNamed(e.number, e.old)
		if err != nil {
			continue
		}
		same, err := l.matches(left)
		if err == nil && same {
			record, err := holdsRecord(l.file, int64(left.Offset), l.size)
			if err == nil && record {
				f.gap(GapLateGrowth, left, f.cur.number, uint64(l.size)-left.Offset)
			}
			if err == nil && l.seek(l.size) == nil {
				f.known[e.inode] = l.position()
			}
		}
		l.close()
	}
	for inode := range f.known {
		if !present[inode] {
			delete(f.known, inode)
		}
	}
}

// survey lists the logs in their order. A log that is renamed while the directory is read may be
// missing from what is read, so two listings must agree. The pointer must be the same before and after:
// else logs that the writer began meanwhile would be taken for those of an earlier lap.
func (f *Follower) survey(pointer uint32) ([]entry, bool) {
	f.opt.seam.at("survey")
	once, err := listLogs(f.opt.Dir, f.opt.Stream)
	f.opt.seam.at("listed")
	entries, err2 := listLogs(f.opt.Dir, f.opt.Stream)
	if err = cmp.Or(err, err2); err != nil {
		f.complaints.report("list logs", err)
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

// readPointer reads the active file. Its being empty for a moment is how writers rewrite it.
func (f *Follower) readPointer() (pointer uint32, ok bool) {
	n, err := readSmall(f.pointerPath, f.pointerText[:])
	if err == nil && n > 0 {
		if pointer, ok = f.opt.Stream.parsePointer(f.pointerText[:n]); !ok {
			err = fmt.Errorf("datalog: %s names no log: %.80q", f.opt.Stream.pointerName(), f.pointerText[:n])
		}
	}
	if err != nil {
		f.complaints.report("read active file", err)
	} else if ok {
		f.complaints.clear("read active file")
	}
	return pointer, ok
}

// readSmall reads a file's beginning in three system calls: os.Open would take twice as many, and this
// is done at each Interval for as long as nothing happens.
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

// gap says that records may be missing. It is called when all records that were read before are out.
func (f *Follower) gap(reason GapReason, after Position, next uint32, bytes uint64) {
	g := Gap{Reason: reason, After: after, Next: next, Bytes: bytes, Time: f.opt.now()}
	f.gaps = append(f.gaps, g)
	f.tally.Gaps++
	f.tally.GapBytes += bytes
	f.tally.LastGap = g
	known := []any{"reason", string(reason), "file", f.opt.Stream.FileName(after.Number), "offset", after.Offset, "next", f.opt.Stream.FileName(next)}
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
