package framelog

import "fmt"

// known is what a head file says.
type known struct {
	id                          ID
	head, floor, synced, frames uint64
	state                       uint64
	boot                        bootID
}

// findings is what is left of a log, and why it gets a new ID, if it does.
type findings struct {
	verdict
	newID    string
	pairs    []pair
	segments []*scanned
}

func (h *headPage) known() *known {
	return &known{id: h.ID, head: h.Head.Load(), floor: h.Floor.Load(), synced: h.Synced.Load(),
		frames: h.Frames.Load(), state: h.State.Load(), boot: h.Boot}
}

// examine reads all there is and decides what is left. It changes nothing. h is nil where there is no usable head.
func examine(dir string, h *known, now bootID) (*findings, error) {
	pairs, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	f := &findings{pairs: pairs}
	whole := betweenHalves(pairs)
	first, last := uint64(0), uint64(0)
	if n := len(whole); n > 0 {
		first, last = whole[0].base, whole[n-1].base
	}
	end, floor, durable := uint64(unknown), first, last
	switch {
	case h == nil && len(pairs) == 0:
		f.newID = "there was no log"
	case h == nil:
		f.newID = "the head file was missing or damaged"
	case h.state == stateGone:
		f.newID = "an earlier recovery was interrupted"
		end, durable = h.head, h.head
	default:
		end, durable = h.head, h.head
		if h.state != stateClean && (now.isZero() || h.boot != now) {
			f.newID = "the machine went down while the log was open"
			durable = min(h.synced, h.head)
		}
		if (h.floor >= floor || f.newID == "") && h.floor <= h.head {
			floor = h.floor
		}
	}
	candidates := pairs
	if end == unknown {
		candidates = whole
	}
	if f.segments, err = scanSegments(dir, candidates, floor, end); err != nil {
		return nil, err
	}
	if end != unknown && end != floor && !endsAt(f.segments, end) {
		// Not a place where this log ever ended: go by what verifies.
		f.newID = fmt.Sprintf("the head stood at %d, where no frame ends", end)
		closeScanned(f.segments)
		end, floor, durable = unknown, first, last
		if f.segments, err = scanSegments(dir, whole, floor, end); err != nil {
			return nil, err
		}
	}
	f.verdict = judge(stretches(f.segments, floor, end), floor, durable)
	if len(f.cut) > 0 && f.newID == "" {
		f.newID = "committed frames at the end were damaged"
	}
	return f, nil
}

// betweenHalves leaves out pairs at either end that lack a file: the first may have been being removed, the last being made.
func betweenHalves(pairs []pair) []pair {
	half := func(p pair) bool { return !p.frames || !p.index }
	for len(pairs) > 0 && half(pairs[0]) {
		pairs = pairs[1:]
	}
	for len(pairs) > 0 && half(pairs[len(pairs)-1]) {
		pairs = pairs[:len(pairs)-1]
	}
	return pairs
}

// endsAt says whether the last of the segments has an entry for the log's end.
func endsAt(segments []*scanned, end uint64) bool {
	if len(segments) == 0 {
		return false
	}
	last := segments[len(segments)-1]
	return last.problem == nil && last.count > 0 && last.entries[last.count-1].End.Load() == end
}

// keeps says whether something of a segment is left.
func (f *findings) keeps(s *scanned) bool {
	return s.problem == nil && s.base < f.head && min(s.limit, f.head) > f.floor
}

// last is the segment that the head stands in (or at the end of), and how many entries it keeps. nil: none is left.
func (f *findings) last() (*scanned, int) {
	for i := len(f.segments) - 1; i >= 0; i-- {
		s := f.segments[i]
		if !f.keeps(s) {
			continue
		}
		for n := s.count; n > s.first; n-- {
			if !s.bad[n-1] && s.entries[n-1].End.Load() == f.head {
				return s, n
			}
		}
	}
	return nil, 0
}

// sources are the newest ones of what is left: those that a segment began with, and those of its good frames.
func (f *findings) sources() (sources [MaxStreams]sourceAt) {
	for _, s := range f.segments {
		if s.problem != nil || s.entries == nil || s.base > f.head {
			continue
		}
		sources = s.sources
		for i := s.first; i < s.count; i++ {
			if e := &s.entries[i]; !s.bad[i] && e.End.Load() <= f.head {
				sources[e.Stream] = sourceAt{e.End.Load(), e.Source}
			}
		}
	}
	return sources
}

func (f *findings) verified() (frames, bytes uint64) {
	for _, s := range f.segments {
		for i := s.first; i < s.count && s.entries != nil; i++ {
			if end := s.entries[i].End.Load(); !s.bad[i] && end <= f.head && end > f.floor {
				frames++
				bytes += end - s.start(i)
			}
		}
	}
	return frames, bytes
}
