package datalog

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// entry is one log as the directory shows it.
type entry struct {
	number uint32
	old    bool // named old-…
	id     fileID
	size   int64
	mtime  time.Time
	lap    int // see arrange
}

// place is the place of a log in the order in which logs were written.
type place struct {
	lap    int
	number uint32
}

func sameLog(a, b entry) bool { return a.number == b.number && a.old == b.old && a.id == b.id }

func (e entry) place() place { return place{e.lap, e.number} }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.lap, q.lap), cmp.Compare(p.number, q.number))
}

// listLogs reads the directory. A log that is renamed while it is read may be missing from the
// result. Other files in the directory cost their part of getdents(2) and nothing else: there may
// be 100,000 compressed logs.
func listLogs(dir string, s Stream) ([]entry, error) {
	names, err := readNames(dir, s.ownsName)
	if err != nil {
		return nil, fmt.Errorf("datalog: list logs: %w", err)
	}
	var entries []entry
	for _, name := range names {
		number, old, ok := s.parseLogName(name)
		if !ok {
			continue
		}
		fi, err := os.Stat(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue // renamed or deleted since
		}
		if err != nil {
			return nil, fmt.Errorf("datalog: list logs: %w", err)
		}
		if !fi.Mode().IsRegular() {
			continue
		}
		entries = append(entries, entry{
			number: number, old: old, id: idOf(fi), size: fi.Size(), mtime: fi.ModTime(),
		})
	}
	return entries, nil
}

// arrange sorts logs into the order in which they were written, given the one that is being
// written. "Order" in the package comment explains the rules.
func arrange(entries []entry, pointer uint32) {
	own, old := map[uint32]entry{}, map[uint32]entry{}
	highest := uint32(0)
	for _, e := range entries {
		highest = max(highest, e.number)
		if e.old {
			old[e.number] = e
		} else {
			own[e.number] = e
		}
	}
	active, exists := own[pointer]
	_, passed := old[pointer]
	_, renamed := old[pointer+1]
	for i := range entries {
		e := &entries[i]
		_, again := own[e.number]
		switch {
		case exists && !e.old && e.begun(active, passed && !renamed, active.number == highest):
			e.lap = 1
		case e.number > pointer, e.old && again:
			e.lap = -1
		default:
			e.lap = 0
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.place().compare(b.place()) })
}

// begun reports whether an own log was just created and the pointer is about to name it. Until then
// no record is written to it, but some writer may not keep to this. passed says that the old- logs
// reach the active log's number and no further, so the next number may be of the previous lap. last
// says that no log has a higher number than the active one, so log 1 may be the next.
func (e entry) begun(active entry, passed, last bool) bool {
	switch {
	case e.number != active.number+1 && (e.number != 1 || active.number == 1 || !last):
		return false
	case e.size == 0:
		return !e.mtime.Before(active.mtime)
	default:
		return e.number == active.number+1 && e.mtime.After(active.mtime) && !passed
	}
}

// placeOf returns the place of a log. If the log is not among the entries, this is the place in the
// newest lap in which its number is free.
func placeOf(entries []entry, number uint32, id fileID, pointer uint32) (p place, found bool) {
	p = place{0, number}
	if number > pointer {
		p.lap = -1
	}
	for _, e := range entries {
		if e.number == number {
			if e.id == id {
				// A log that was being read was not just created: a wrap-around has passed it.
				return place{min(e.lap, -e.lap), number}, true
			}
			if e.lap <= 0 {
				p.lap--
			}
		}
	}
	return p, false
}

// follows reports whether no log can have been between two logs. Number 1 after the highest number
// known is a wrap-around.
func (p place) follows(before place, highest uint32) bool {
	if p.lap == before.lap {
		return p.number == before.number+1
	}
	return p.lap == before.lap+1 && p.number == 1 && before.number >= highest
}

const (
	// leftoverAge is how much older than our log a log of the previous lap must be to count as a
	// leftover of a configuration with more logs, or of another writer. One writer writes its logs
	// one after the other, so the next log is never older unless the clock was set.
	leftoverAge = time.Minute
	// timeSlack is how much the times of two logs may contradict their order. If they contradict it
	// by more, no time is trusted. Network file systems keep full seconds.
	timeSlack = time.Second
)

// next finds the log that comes after a place. found says that the log at that place exists, so the
// order is certain. If that log is gone, logs last written to before since count as older. done
// reports whether a log has nothing unread; next returns the active log even if it is done. gap
// says that something between the two logs is left unread, or may have been there.
func next(
	entries []entry, pointer uint32, from place, found bool, since time.Time, highest uint32,
	done func(entry) bool,
) (to entry, gap, ok bool) {
	timesTell := timesKeepOrder(entries, since)
	for _, e := range entries {
		switch {
		case e.lap > 0 || e.place().compare(from) <= 0:
		case e.place() == place{0, pointer}:
			return e, gap || !e.place().follows(from, highest), true
		case done(e):
			from = e.place()
		case !found && e.mtime.Before(since):
			gap = true
		case found && timesTell && e.lap < 0 && e.mtime.Before(since.Add(-leftoverAge)):
			gap = true
		default:
			return e, gap || !e.place().follows(from, highest), true
		}
	}
	return entry{}, false, false
}

// timesKeepOrder reports whether the times of the files can tell which logs are leftovers. They
// cannot after a step of the clock, or in a copy that did not keep them: then a log of this lap
// seems older than a log of the previous lap, whose last change is since.
func timesKeepOrder(entries []entry, since time.Time) bool {
	for _, e := range entries {
		if e.lap == 0 && e.mtime.Before(since.Add(-timeSlack)) {
			return false
		}
	}
	return true
}
