package framelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// mapsPerSegment is how many mappings a segment takes: frames and index.
const mapsPerSegment = 2

// mappedSegments is how many segments a Reader maps at once. They take an eighth of the mappings
// that the kernel allows a process (vm.max_map_count): a process has up to three Readers, and the
// Go runtime needs the rest. Beyond the limit a Reader unmaps the least recently used segment;
// mapping it again costs some ten microseconds.
var mappedSegments = sync.OnceValue(func() int {
	const usual, least = 65530, 16
	text, _ := os.ReadFile("/proc/sys/vm/max_map_count")
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		most = usual
	}
	return max(most/8/mapsPerSegment, least)
})

// mapped returns the mapped segment that holds offset, else the last mapped one before offset. It
// unmaps nothing.
func (r *Reader) mapped(offset uint64) (s *readSegment, holds bool) {
	i := sort.Search(len(r.segments), func(i int) bool { return r.segments[i].base > offset })
	if i == 0 {
		return nil, false
	}
	s = r.segments[i-1]
	return s, offset < s.end()
}

// given returns the segment with an offset of the bytes that Frames returned last.
func (r *Reader) given(offset uint64) (*readSegment, error) {
	if s, ok := r.mapped(offset); ok {
		return s, nil
	}
	return nil, fmt.Errorf("%w: offset %d was not given", ErrDamaged, offset)
}

// segmentAt returns the mapped segment with the byte at offset: floor ≤ offset < head.
func (r *Reader) segmentAt(offset, floor uint64) (*readSegment, error) {
	if floor != r.dropped {
		r.drop(floor)
	}
	if s := r.current; s != nil && offset >= s.base && offset < s.end() {
		return s, nil
	}
	s, ok := r.mapped(offset)
	if ok {
		r.use(s)
		return s, nil
	}
	base := offset
	if s == nil || offset != s.end() { // else the next segment begins at offset
		var err error
		if base, err = r.baseOf(offset); err != nil {
			return nil, err
		}
	}
	r.makeRoom()
	s, err := r.open(base)
	if errors.Is(err, fs.ErrNotExist) {
		// Retention raises the floor before it unlinks.
		if err := within(offset, r.Floor(), r.Head()); err != nil {
			return nil, err
		}
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	if offset >= s.end() {
		s.unmap()
		return nil, fmt.Errorf("%w: no segment holds offset %d", ErrDamaged, offset)
	}
	at := sort.Search(len(r.segments), func(i int) bool { return r.segments[i].base > base })
	r.segments = slices.Insert(r.segments, at, s)
	r.use(s)
	return s, nil
}

func (r *Reader) use(s *readSegment) {
	r.uses++
	s.used, r.current = r.uses, s
}

// baseOf finds the base of the segment that holds offset. It reads the directory unless another
// committed segment is known to follow: then the known bases are still right.
func (r *Reader) baseOf(offset uint64) (uint64, error) {
	if i := baseBefore(r.bases, offset); i >= 0 && i+1 < len(r.bases) {
		return r.bases[i], nil
	}
	head := r.Head()
	pairs, err := listSegments(r.dir)
	if err != nil {
		return 0, err
	}
	r.bases = r.bases[:0]
	for _, p := range pairs {
		if p.base < head { // a segment at the head may still be abandoned and begun again
			r.bases = append(r.bases, p.base)
		}
	}
	if i := baseBefore(r.bases, offset); i >= 0 {
		return r.bases[i], nil
	}
	if err := within(offset, r.Floor(), r.Head()); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("%w: no segment holds offset %d", ErrDamaged, offset)
}

// baseBefore returns the index of the last base that is not beyond offset; -1: there is none.
func baseBefore(bases []uint64, offset uint64) int {
	return sort.Search(len(bases), func(i int) bool { return bases[i] > offset }) - 1
}

// makeRoom unmaps the least recently used segments, so that one more segment can be mapped.
func (r *Reader) makeRoom() {
	for len(r.segments) >= r.limit {
		oldest := -1
		for i, s := range r.segments {
			if s != r.kept && (oldest < 0 || s.used < r.segments[oldest].used) {
				oldest = i
			}
		}
		if oldest < 0 {
			return // only kept is left: one segment over the limit
		}
		r.forget(r.segments[oldest])
		r.segments = slices.Delete(r.segments, oldest, oldest+1)
	}
}

// keep keeps s mapped until Frames returns bytes of another segment.
func (r *Reader) keep(s *readSegment) {
	old := r.kept
	if r.kept = s; old != nil && old != s && old.end() <= r.dropped {
		r.drop(r.dropped)
	}
}

// drop unmaps the segments below the floor, except the one in kept.
func (r *Reader) drop(floor uint64) {
	r.dropped = floor
	r.segments = slices.DeleteFunc(r.segments, func(s *readSegment) bool {
		gone := s.end() <= floor && s != r.kept
		if gone {
			r.forget(s)
		}
		return gone
	})
}

// forget unmaps a segment and clears current and memo if they belong to it.
func (r *Reader) forget(s *readSegment) {
	if r.current == s {
		r.current = nil
	}
	if r.memo.from >= s.base && r.memo.from < s.end() {
		r.memo = answer{}
	}
	s.unmap()
}
