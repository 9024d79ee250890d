package datalog

import (
	"cmp"
	"slices"
	"time"
)

// What is remembered of logs other than the one being read: up to where each is done with.

// checkEvery is how often logs that were left without a trailer are checked, as long as their rest
// may come.
const checkEvery = 5 * defaultLinger

// leftAt returns up to where a log needs no reading. It finds the log by its file or, if the log
// was replaced by a copy of itself, by its content. The copy may have the inode number of another
// log that was replaced.
func (f *Follower) leftAt(e entry) (Position, bool) {
	if p, ok := f.known[e.id]; ok && p.Number == e.number && p.Offset <= uint64(e.size) {
		return p, true
	}
	for _, p := range f.known {
		if p.Number != e.number || p.Offset < tailBytes || p.Offset > uint64(e.size) {
			continue
		}
		l, err := f.openNamed(e.number, e.old)
		if err != nil {
			continue
		}
		same, err := l.matches(p)
		l.close()
		if err == nil && same && l.id == e.id {
			f.known[e.id] = p
			return p, true
		}
	}
	return Position{}, false
}

// isDone reports whether a log holds nothing unread. For an empty log this is not known: it may be
// a new log with the inode of a deleted one, and its writer may be late.
func (f *Follower) isDone(e entry) bool {
	done, ok := f.leftAt(e)
	if !ok || done.Number != e.number || done.Offset != uint64(e.size) || e.size == 0 {
		return false
	}
	l, err := f.openNamed(e.number, e.old)
	if err != nil {
		return false // the error shows again when the log is opened to be read
	}
	defer l.close()
	same, err := l.matches(done) // the inode may be that of a deleted log
	return err == nil && same && l.id == e.id
}

// openCopy searches for a log that replaced the one being read and holds what was read, or the
// beginning of that: after a copy or restore of the directory, or when a file was replaced, the
// files are other files. The returned log is at the place where reading goes on. Fewer bytes than
// fill the fingerprint's tail prove nothing.
func (f *Follower) openCopy(entries []entry) (best *logFile, is likeness) {
	ours := f.Position()
	if ours.Offset < tailBytes {
		return nil, another
	}
	for _, e := range entries {
		if e.number != ours.Number {
			continue
		}
		l, err := f.openNamed(e.number, e.old)
		if err != nil {
			continue
		}
		past := f.cur.trail
		past.marks = slices.Clone(past.marks)
		state, err := f.stand(l, ours, past)
		if err == nil && l.id == e.id &&
			(state > is || state == is && best != nil && l.fp.offset > best.fp.offset) {
			l, best, is = best, l, state
		}
		closeAll(l)
	}
	return best, is
}

// turnToCopy goes on in a copy of the log being read.
func (f *Follower) turnToCopy(l *logFile, state likeness) {
	f.mirror = f.opt.now()
	lost := max(0, f.cur.dataEnd()-max(f.cur.fp.offset, f.cur.had)) // of a line that was not whole
	before := f.cur.position()
	f.known[f.cur.id] = before
	f.cur.keepTorn(l)
	f.enter(l)
	f.settled = false // the logs before it are other files too
	if state == older {
		f.noteOlder()
		if lost > 0 {
			f.gap(GapTruncated, before, l.number, uint64(lost))
		} else if f.unclear(before) {
			f.gap(GapTruncated, before, l.number, 0)
		}
	}
	f.log.Info("data log: going on in a copy of the log", "file", l.name, "offset", l.fp.offset)
}

// checkLeft checks, every checkEvery, whether a log that was left without its trailer has grown.
func (f *Follower) checkLeft(pointer uint32) {
	now := f.opt.now()
	if f.unended.IsZero() || now.Sub(f.checked) < checkEvery {
		return
	}
	f.checked = now
	if entries, ok := f.survey(pointer); ok {
		ours, _ := placeOf(entries, f.cur.number, f.cur.id, pointer)
		f.lookBack(entries, ours)
	}
	if now.Sub(f.unended) > mirrorLingers*f.opt.linger {
		f.unended = time.Time{}
	}
}

// tellGrowth makes a gap of records that were appended to a log since it was left for good.
func (f *Follower) tellGrowth(l *logFile, left Position, next uint32) {
	record, err := holdsRecord(l.file, int64(left.Offset), l.size)
	if err == nil && record {
		f.gap(GapLateGrowth, left, next, uint64(l.size)-left.Offset)
	}
	if err == nil && l.seek(l.size) == nil {
		f.known[l.id] = l.position()
		if record {
			f.noteLeft(l.position())
		}
	}
}

// maxLeft bounds how many left logs are remembered over a restart. Logs are left in order, and grow
// soon after or not at all.
const maxLeft = 16

func (f *Follower) noteLeft(p Position) {
	if p.Offset >= tailBytes { // fewer bytes prove nothing
		f.left = append(slices.Clone(f.left[max(0, len(f.left)+1-maxLeft):]), p)
	}
}

// markEarlier calls markDone for a log before the one where reading goes on after a restart. If an
// earlier process left the log and it has grown since, that is a gap.
func (f *Follower) markEarlier(e entry, next uint32) {
	ends := slices.DeleteFunc(slices.Clone(f.left), func(p Position) bool {
		return p.Number != e.number || p.Offset > uint64(e.size)
	})
	slices.SortFunc(ends, func(a, b Position) int { return cmp.Compare(b.Offset, a.Offset) })
	if len(ends) > 0 && ends[0].Offset < uint64(e.size) {
		if l, err := f.openNamed(e.number, e.old); err == nil {
			defer l.close()
			for _, end := range ends {
				if same, err := l.matches(end); err == nil && same && l.id == e.id {
					f.tellGrowth(l, end, next)
					return
				}
			}
		}
	}
	f.markDone(e, false)
}

// lookBack reports logs that have grown after they were left, and forgets logs that are gone.
func (f *Follower) lookBack(entries []entry, ours place) {
	present := make(map[fileID]bool, len(entries))
	for _, e := range entries {
		present[e.id] = true
		left, ok := f.leftAt(e)
		if !ok || e.place().compare(ours) >= 0 || left.Number != e.number ||
			e.size <= int64(left.Offset) {
			continue
		}
		l, err := f.openNamed(e.number, e.old)
		if err != nil {
			continue
		}
		if same, err := l.matches(left); err == nil && same {
			f.tellGrowth(l, left, f.cur.number)
		}
		l.close()
	}
	for id := range f.known {
		if !present[id] {
			delete(f.known, id)
		}
	}
}
