package framelog

import (
	"fmt"
	"slices"
)

// known holds the fields of a head file.
type known struct {
	id                          ID
	head, floor, synced, frames uint64
	state                       uint64
	boot                        bootID
	lost                        uint64
	ancestors                   []Ancestor
}

// expected describes what the log should hold: it ends at end, nothing below floor is served, and
// everything below durable had reached the disk. judge uses it.
type expected struct {
	end     uint64 // unknown: no usable head tells it
	floor   uint64
	durable uint64
}

// findings says what is left of a log, and why the log gets a new ID, if it does.
type findings struct {
	verdict
	newID               string
	trusted, rolledBack bool // as in Recovery
	pairs               []pair
	segments            []*scanned
}

func (h *headPage) known() *known {
	k := &known{id: h.ID, head: h.Head.Load(), floor: h.Floor.Load(), synced: h.Synced.Load(),
		frames: h.Frames.Load(), state: h.State.Load(), boot: h.Boot, lost: h.Lost.Load()}
	k.ancestors, _ = h.Lineage.list()
	if k.state == stateGone {
		k.floor = h.Gone.Load()
	}
	return k
}

// sameBoot reports whether the machine has kept running since the log was last opened. If it has,
// everything written is in the page cache or on disk, unless a sync has failed.
func (h *known) sameBoot(now bootID) bool { return !now.isZero() && h.boot == now }

// durable returns the offset below which everything had reached the disk. A bad place below it is
// damage. The log ends before a bad place above it, and the records from there on are made again.
// durable ignores boot and state: other fields of a head may be newer than the frames, or may have
// been stored by a recovery that did not finish. Synced is never stored beyond Head. If it lies
// beyond, one of the two is damaged, and nothing counts as durable.
func (h *known) durable() uint64 {
	if h == nil || h.synced > h.head {
		return 0
	}
	return h.synced
}

// counted returns the end of the newest frame that h counts, or 0 if the segments do not have the
// frame. Frames are counted when they are written and before the head moves. So if the head is
// lower, it is damaged, or the writer was killed between the two stores. In either case the frame
// is committed if it verifies.
func (h *known) counted(dir string, pairs []pair) (end uint64) {
	if h.state == stateGone {
		return 0
	}
	for _, p := range slices.Backward(pairs) {
		index, err := mapForScan(segmentPath(dir, p.base, indexExt))
		if err != nil || len(index) < pageSize {
			unmap(&index)
			continue
		}
		found := false
		err = guarded(func() error {
			header, entries := asHeader(index), asEntries(index)
			if header.valid(p.base) != nil || header.Frames >= h.frames {
				return nil
			}
			found = true
			if i := h.frames - header.Frames - 1; i < uint64(len(entries)) {
				end = entries[i].End.Load()
			}
			return nil
		})
		unmap(&index)
		if found || err != nil {
			break
		}
	}
	return end
}

// expect returns what the segments, which begin at first, should hold according to the head. It
// also returns why the log gets a new ID, if that is known before the segments are read.
func expect(h *known, first uint64, now bootID) (e expected, newID string) {
	e = expected{end: unknown, floor: first, durable: h.durable()}
	if h == nil {
		return e, "the head file was missing or damaged"
	}
	e.end = h.head
	switch {
	case h.state == stateGone:
		newID = "an earlier recovery was interrupted"
	case h.state != stateClean && !h.sameBoot(now):
		newID = "the machine went down while the log was open"
	}
	// Files below the floor may be gone already, or have other bytes. If the first files above the
	// floor are gone, that is damage, unless retention removed them and the raised floor was not on
	// disk.
	if (h.floor >= first || newID == "") && h.floor <= h.head {
		e.floor = h.floor
	}
	return e, newID
}

// examine reads the whole log and decides what is left of it. It changes nothing. h is nil if there
// is no usable head.
func examine(dir string, h *known, now bootID) (*findings, error) {
	pairs, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	f := &findings{pairs: pairs}
	whole := betweenHalves(pairs)
	first := uint64(0)
	if len(whole) > 0 {
		first = whole[0].base
	}
	if h != nil {
		h.head = max(h.head, h.counted(dir, pairs))
	}
	var e expected
	e, f.newID = expect(h, first, now)
	if h == nil && len(pairs) == 0 {
		f.newID = "there was no log"
	}
	candidates := pairs
	if e.end == unknown {
		candidates = whole
	}
	if f.segments, err = scanSegments(dir, candidates, e.floor, e.end); err != nil {
		return nil, err
	}
	if e.end != unknown && e.end != e.floor && !endsAt(f.segments, e.end) {
		// The log never ended there: use what verifies.
		f.newID = fmt.Sprintf("the head stood at %d, where no frame ends", e.end)
		e.end = unknown
		if err := f.again(dir, whole, e); err != nil {
			return nil, err
		}
	}
	f.verdict = judge(stretches(f.segments, e), e)
	if told := e.floor; f.head == told && first < told && e.end != told {
		// Nothing above the floor is left. Segments below it that were to be removed still say
		// where reading goes on.
		e.floor, e.end = first, unknown
		if err := f.again(dir, whole, e); err != nil {
			return nil, err
		}
		f.verdict = judge(stretches(f.segments, e), e)
		f.damaged = slices.DeleteFunc(f.damaged, func(d Damage) bool { return d.End <= told })
	}
	if len(f.cut) > 0 && f.newID == "" {
		f.newID = "committed frames at the end were damaged"
	}
	return f, f.load(dir)
}

// load maps the index of the segment that the head lies in, and of those behind it, for last and
// sources.
func (f *findings) load(dir string) error {
	for _, s := range slices.Backward(f.segments) {
		if s.problem != nil || s.bad == nil || s.base > f.head {
			continue
		}
		if err := newRetries().do(func() error { return s.load(dir) }); err != nil {
			return err
		}
		if f.keeps(s) {
			break
		}
	}
	return nil
}

// again scans the segments once more, with other expectations.
func (f *findings) again(dir string, pairs []pair, e expected) (err error) {
	closeScanned(f.segments)
	f.segments, err = scanSegments(dir, pairs, e.floor, e.end)
	return err
}

// betweenHalves drops pairs at either end that lack a file: a crash may have interrupted the
// removal of the first, or the making of the last.
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

// endsAt reports whether the last segment has an entry for the log's end.
func endsAt(segments []*scanned, end uint64) bool {
	if len(segments) == 0 {
		return false
	}
	last := segments[len(segments)-1]
	return last.problem == nil && last.count > 0 && last.end == end
}

// keeps reports whether some frame of a segment is left.
func (f *findings) keeps(s *scanned) bool {
	return s.problem == nil && s.base < f.head && min(s.limit, f.head) > f.floor
}

// last returns the segment that the head lies in (or at the end of), and how many entries the
// segment keeps; nil: no segment is left.
func (f *findings) last() (*scanned, int) {
	for i := len(f.segments) - 1; i >= 0; i-- {
		s := f.segments[i]
		if !f.keeps(s) || s.entries == nil {
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

// sources returns the newest source of each stream in what is left: those that a segment began
// with, and those of its good frames.
func (f *findings) sources() (sources [MaxStreams]sourceAt) {
	for _, s := range f.segments {
		if s.problem != nil || s.entries == nil || s.base > f.head {
			continue
		}
		sources = asHeader(s.index).Sources
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
		for _, r := range s.runs {
			if r.end <= f.head && r.end > f.floor { // the head is the end of a run
				frames += r.frames
				bytes += r.bytes
			}
		}
	}
	return frames, bytes
}
