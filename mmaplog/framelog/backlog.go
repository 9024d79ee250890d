package framelog

import (
	"slices"
	"sync"
)

// unfinishedMost is how many sealed segments may wait for the disk with two open files each and the
// index mapped. Beyond this number their files are closed, and retention no longer waits for the
// disk.
const unfinishedMost = 16

// backlog holds the sealed segments that wait to be synced, oldest first.
type backlog struct {
	mu       sync.Mutex // guards the fields below
	segments []*segment
	released map[*segment]bool // segments whose files were closed
}

func (b *backlog) add(s *segment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.segments = append(b.segments, s)
}

// take removes s from the backlog. If its files were released, the caller has to open them again.
func (b *backlog) take(s *segment) (released bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.segments = slices.DeleteFunc(b.segments, func(one *segment) bool { return one == s })
	released = b.released[s]
	delete(b.released, s)
	return released
}

func (b *backlog) many() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.segments) > unfinishedMost
}

// release closes the files of segments below the floor, and of those beyond unfinishedMost.
func (b *backlog) release(floor uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.released == nil {
		b.released = make(map[*segment]bool)
	}
	for i, s := range b.segments {
		if !b.released[s] && (i >= unfinishedMost || s.base+uint64(s.used) <= floor) {
			b.released[s] = true
			s.close()
		}
	}
}

// relieve closes files and unlinks retired segments while the disk does not answer: a hanging sync
// blocks the goroutine that otherwise unlinks. The floor need not be on disk before files below it
// are removed: after a power loss the log begins with the first segment that exists. A released
// segment is opened again for its sync. The kernel reports a write error for the file, so the sync
// still returns the error of an earlier write, unless the kernel has forgotten the file meanwhile.
//
// One call handles all segments, so retireSegments queues no second call until relieve begins.
func (w *Writer) relieve() {
	w.relieving.Store(false)
	floor := w.Floor()
	w.unfinished.release(floor)
	w.failed("unlink segments that are no longer kept", w.unlinkRetired())
}
