package framelog

import (
	"io"
	"os"
	"unsafe"
)

// trust returns the findings of a log that was closed on this boot, without reading its frames: the
// writer that closed it had written them, and they are in the page cache or on disk. It returns nil
// if verifying is needed: the log was not closed, or in another boot, a sync has failed, or
// names, sizes, headers and the count of frames are not those that the close left.
func trust(dir string, h *known, now bootID) *findings {
	if h == nil || h.state != stateClean && h.state != stateLeft || !h.sameBoot(now) || h.lost != 0 ||
		h.floor > h.head {
		return nil
	}
	pairs, err := listSegments(dir)
	if err != nil {
		return nil
	}
	f := &findings{verdict: verdict{head: h.head, floor: h.floor}, trusted: true, pairs: pairs}
	at := h.floor // the segments are complete up to here
	for i, p := range pairs {
		s := &scanned{base: p.base, limit: h.head}
		if i+1 < len(pairs) && pairs[i+1].base < h.head {
			s.limit = pairs[i+1].base
		}
		if !f.keeps(s) {
			continue
		}
		f.segments = append(f.segments, s)
		if p.base > at || !p.index || !s.left(dir, h) {
			closeScanned(f.segments)
			return nil
		}
		at = s.limit
	}
	if at != h.head || len(f.segments) == 0 && h.frames != 0 {
		closeScanned(f.segments)
		return nil
	}
	return f
}

// left reports whether a segment has the size, the header and the ends that it had when the log was
// closed. It maps the segment with the head, for its newest sources, and the segment with the
// floor.
func (s *scanned) left(dir string, h *known) bool {
	frames, err := os.Stat(segmentPath(dir, s.base, framesExt))
	if err != nil || uint64(frames.Size()) < s.limit-s.base {
		return false
	}
	sealed := s.limit != h.head
	if sealed && (uint64(frames.Size()) != s.limit-s.base || !s.hasSeal(dir)) { // it was trimmed
		return false
	}
	if sealed && s.base >= h.floor {
		return true
	}
	if s.open(dir, 0) != nil {
		return false
	}
	ends := func(at uint64) bool {
		return guarded(func() error {
			if i := frameAfter(s.entries, at-1); i == len(s.entries) || s.entries[i].End.Load() != at {
				return ErrDamaged
			}
			return nil
		}) == nil
	}
	return (s.base >= h.floor || ends(h.floor)) && ends(s.limit) && (sealed || s.counts(h.frames))
}

// counts reports whether the frame that ends at the limit is the n-th of the log.
func (s *scanned) counts(n uint64) bool {
	return guarded(func() error {
		if asHeader(s.index).Frames+uint64(frameAfter(s.entries, s.limit-1))+1 != n {
			return ErrDamaged
		}
		return nil
	}) == nil
}

// hasSeal reads only the header, and reports whether it says that the segment ends at its limit.
func (s *scanned) hasSeal(dir string) bool {
	f, err := os.Open(segmentPath(dir, s.base, indexExt))
	if err != nil {
		return false
	}
	defer f.Close()
	var page [pageSize / 8]uint64 // aligned
	b := unsafe.Slice((*byte)(unsafe.Pointer(&page)), pageSize)
	if _, err := io.ReadFull(f, b); err != nil {
		return false
	}
	header := asHeader(b)
	s.sealed = header.Sealed.Load()
	return header.valid(s.base) == nil && s.sealed == s.limit
}
