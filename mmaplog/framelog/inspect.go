package framelog

import (
	"errors"
	"os"
)

// SegmentInfo is what Inspect tells of one segment.
type SegmentInfo struct {
	Base, End uint64 // logical offsets; End is the head in the segment that it stands in
	Frames    int    // in the index up to End
	Sealed    bool
	Problem   error // the segment cannot be read at all
}

// Report is what Inspect found.
type Report struct {
	ID          ID
	Head, Floor uint64
	Synced      uint64
	Writer      string // process id in the lock file: of the writer, if one runs, else of the last one
	NewID       string // why the next OpenWriter would give the log a new ID; empty: it would not
	Segments    []SegmentInfo
	Damaged     []Damage // the next OpenWriter would raise the floor above these
	GivenUp     []Damage // and give these up
}

// Inspect reads and verifies all of a log and changes nothing. It may run beside a writer: then everything that was
// committed when it began is looked at, but for what retention takes away meanwhile.
func Inspect(dir string) (Report, error) {
	var h *known
	r, err := OpenReader(dir)
	switch {
	case err == nil:
		defer r.Close()
		h = r.head.known()
		if h.boot == readBootID() || h.state == stateClean {
			h.state = stateClean // a running writer is no reason for a new ID
		}
	case errors.Is(err, ErrNoLog):
		if _, err := os.Stat(dir); err != nil {
			return Report{}, err
		}
	case !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrReplaced):
		return Report{}, err
	}
	f, err := examine(dir, h, bootID{})
	if err != nil {
		return Report{}, err
	}
	defer closeScanned(f.segments)
	report := Report{Head: f.head, Floor: f.floor, NewID: f.newID, Writer: lockHolder(dir), GivenUp: f.cut}
	floor := f.floor
	if h != nil {
		report.ID, report.Synced, floor = h.id, h.synced, r.Floor()
	}
	for _, d := range f.damaged {
		if d.End > floor { // else retention took it away meanwhile
			report.Damaged = append(report.Damaged, d)
		}
	}
	for _, s := range f.segments {
		if s.limit > floor {
			report.Segments = append(report.Segments, SegmentInfo{
				Base: s.base, End: min(s.limit, f.head), Frames: s.count, Sealed: s.sealed != 0 && s.sealed <= f.head, Problem: s.problem})
		}
	}
	return report, nil
}
