package framelog

import (
	"slices"
	"sync"
)

// unfinishedMost is how many sealed segments may wait for the disk as they are: with two open files
// each, and the index mapped. Beyond that, retention does not wait for the disk any more either.
const unfinishedMost = 16

// backlog is the sealed segments whose turn to be synced has not come, oldest first.
type backlog struct {
	mu       sync.Mutex // guards what follows
	segments []*segment
	released map[*segment]bool // those whose files were closed
}

func (b *backlog) add(s *segment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.segments = append(b.segments, s)
}

// take says that the turn of s has come. Its files are to be opened again if they were released.
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

// release closes the files of segments below the floor, and of those that are too many.
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

// relieve is for a disk that does not answer: a sync that hangs keeps the goroutine that also
// unlinks. The floor need not be on disk before files below it go: after a power loss the log
// begins with the first segment that is there. A released segment is opened again for its sync,
// which the kernel answers for the file: the error of an earlier write is still told, unless it has
// forgotten the file meanwhile.
//
// One call looks at all segments, so settle queues no other one until relieve begins.
func (w *Writer) relieve() {
	w.relieving.Store(false)
	floor := w.Floor()
	w.unfinished.release(floor)
	w.failed("unlink segments that are no longer kept", w.unlinkRetired())
}
