package framelog

import (
	"errors"
	"os"
)

// SegmentInfo is what Inspect reports about one segment.
type SegmentInfo struct {
	Base, End uint64 // logical offsets; in the segment with the head, End is the head
	Frames    int    // frames in the index up to End
	Sealed    bool
	Problem   error // why the segment cannot be read at all
}

// Report is what Inspect found.
type Report struct {
	ID          ID
	Head, Floor uint64
	Synced      uint64
	Writer      string // process id in the lock file: the running writer's, else the last one's
	NewID       string // why the next OpenWriter would give the log a new ID; empty: it would not
	Segments    []SegmentInfo
	Damaged     []Damage // the next OpenWriter would raise the floor above these
	GivenUp     []Damage // the next OpenWriter would give these up
}

// Inspect reads and verifies a whole log and changes nothing. It may run while a writer is open. It
// then verifies everything that was committed when it began, except what retention removes
// meanwhile.
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
	report := Report{
		Head: f.head, Floor: f.floor, NewID: f.newID, Writer: lockHolder(dir), GivenUp: f.cut,
	}
	floor := f.floor
	if h != nil {
		report.ID, report.Synced, floor = h.id, h.synced, r.Floor()
	}
	for _, d := range f.damaged {
		if d.End > floor { // else retention has removed it meanwhile
			report.Damaged = append(report.Damaged, d)
		}
	}
	for _, s := range f.segments {
		if s.limit > floor {
			report.Segments = append(report.Segments, SegmentInfo{
				Base: s.base, End: min(s.limit, f.head), Frames: s.count,
				Sealed: s.sealed != 0 && s.sealed <= f.head, Problem: s.problem})
		}
	}
	return report, nil
}
