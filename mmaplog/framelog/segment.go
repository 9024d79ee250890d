package framelog

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/edsrzf/mmap-go"
)

const (
	// bytesPerEntry is how many bytes of frames there is an index entry for: receipts are about 6 KB, original
	// transactions 1.2 KB. A segment whose frames are shorter on average is sealed when its index is full.
	bytesPerEntry = 1 << 10

	// populateAhead is how far before the writer pages are made ready: enough for milliseconds at full speed, and little
	// enough that at a low rate the pages are used before the kernel writes them back empty (30 s).
	populateAhead = 8 << 20
)

// segment is the writer's view of the segment it appends to (or will, or did until it was synced).
type segment struct {
	base     uint64
	files    [2]*os.File // frames, index
	frames   mmap.MMap
	index    mmap.MMap
	header   *indexHeader
	entries  []entry
	used     int // bytes of frames
	count    int // entries
	prepared int // bytes of frames that populate was asked for

	mapped sync.Mutex // held while populate works on the mappings, and to unmap them
}

func indexSize(segmentBytes int64) int64 {
	return roundToPage(pageSize + segmentBytes/bytesPerEntry*entrySize)
}

// openSegment opens the two files, gives them room for segmentBytes (what they have beyond stays), and maps them.
func openSegment(framesPath, indexPath string, flag int, segmentBytes int64, fault faults) (_ *segment, err error) {
	s := &segment{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	var maps [2]mmap.MMap
	for i, path := range [2]string{framesPath, indexPath} {
		if err := fault.check(opCreate, path); err != nil {
			return nil, fmt.Errorf("framelog: open %s: %w", path, err)
		}
		f, err := os.OpenFile(path, os.O_RDWR|flag, fileMode)
		if err != nil {
			return nil, fmt.Errorf("framelog: open segment: %w", err)
		}
		s.files[i] = f
		size := segmentBytes
		if i == 1 {
			size = indexSize(segmentBytes)
		}
		if info, err := f.Stat(); err != nil {
			return nil, fmt.Errorf("framelog: open segment: %w", err)
		} else {
			size = max(size, roundToPage(info.Size()))
		}
		if err := allocate(f, size, fault); err != nil {
			return nil, err
		}
		if maps[i], err = mapFile(f, size, mmap.RDWR, fault); err != nil {
			return nil, err
		}
		s.frames, s.index = maps[0], maps[1]
	}
	s.header, s.entries = asHeader(s.index), asEntries(s.index)
	return s, nil
}

// createSpare makes a segment that has no name and no base yet, with its first pages ready.
func createSpare(dir string, segmentBytes int64, fault faults) (*segment, error) {
	frames, index := filepath.Join(dir, spareName+framesExt), filepath.Join(dir, spareName+indexExt)
	s, err := openSegment(frames, index, os.O_CREATE|os.O_TRUNC, segmentBytes, fault)
	if err != nil {
		os.Remove(frames)
		os.Remove(index)
		return nil, err
	}
	s.populate(0, populateAhead)
	s.prepared = min(populateAhead, len(s.frames))
	return s, nil
}

// begin gives a spare its place in the log and its names: index first, because a frames file without one says nothing.
func (s *segment) begin(dir string, base, frames uint64, sources *[MaxStreams]sourceAt, fault faults) error {
	s.base = base
	s.header.Magic, s.header.Version = indexMagic, formatVersion
	s.header.Base, s.header.Frames, s.header.Sources = base, frames, *sources
	s.header.Check = s.header.check()
	for _, ext := range [2]string{indexExt, framesExt} {
		if err := rename(filepath.Join(dir, spareName+ext), segmentPath(dir, base, ext), fault); err != nil {
			return err
		}
	}
	return nil
}

// fits says whether a frame of n bytes can be put.
func (s *segment) fits(n int) bool { return n <= len(s.frames)-s.used && s.count < len(s.entries) }

// grow gives an empty segment room for one frame of n bytes. Nobody else maps a segment before something in it is committed.
func (s *segment) grow(n int64, fault faults) error {
	size := roundToPage(n)
	if err := allocate(s.files[0], size, fault); err != nil {
		return err
	}
	frames, err := mapFile(s.files[0], size, mmap.RDWR, fault)
	if err != nil {
		return err
	}
	s.mapped.Lock()
	unmap(&s.frames)
	s.frames = frames
	s.mapped.Unlock()
	s.prepared = len(frames) // one copy will touch it all now
	return nil
}

// put copies the frame behind the others and describes it. It fits.
func (s *segment) put(frame []byte, m *Meta) {
	copy(s.frames[s.used:], frame)
	s.used += len(frame)
	e := &s.entries[s.count]
	e.End.Store(s.base + uint64(s.used))
	e.Cycle, e.Time, e.Source, e.Stream, e.Flags = m.Cycle, m.Time, m.Source, m.Stream, 0
	e.Check = e.check(frame)
	s.count++
}

// populate prepares a stretch of the frames and the entries that go with it. Any goroutine.
func (s *segment) populate(from, to int) {
	s.mapped.Lock()
	defer s.mapped.Unlock()
	if s.frames == nil {
		return
	}
	frames, index := s.frames[:min(to, len(s.frames))], s.index
	index = index[:min(int(indexSize(int64(to))), len(index))]
	if !populate(frames[from:]) && from == 0 {
		// An old kernel. Touch all of it now, while nobody else knows this segment.
		touch(s.frames)
		touch(s.index)
		return
	}
	// The index of a segment that has grown is no larger for it.
	populate(index[min(int(indexSize(int64(from)))-pageSize, len(index)):])
}

// trim gives back what the frames file has beyond the last frame.
func (s *segment) trim(fault faults) error {
	path := s.files[0].Name()
	err := fault.check(opTrim, path)
	if err == nil {
		err = s.files[0].Truncate(int64(s.used))
	}
	if err != nil {
		return fmt.Errorf("framelog: trim %s: %w", path, err)
	}
	return nil
}

// unmap lets go of the mappings but not of the files.
func (s *segment) unmap() {
	s.mapped.Lock()
	defer s.mapped.Unlock()
	unmap(&s.frames)
	unmap(&s.index)
	s.header, s.entries = nil, nil
}

func (s *segment) close() {
	s.unmap()
	for _, f := range s.files {
		if f != nil {
			f.Close()
		}
	}
}
