package framelog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/edsrzf/mmap-go"

	"distributor/mmaplog/crashpoint"
)

const (
	// bytesPerEntry is the number of bytes of frames per index entry. Receipts are about 6 KB,
	// original transactions 1.2 KB. A segment whose frames are shorter on average is sealed when
	// its index is full.
	bytesPerEntry = 1 << 10
)

// segment is the writer's view of a segment: the active one, the spare, or a sealed one that is not
// synced yet.
type segment struct {
	base    uint64
	files   [2]*os.File // frames, index
	paths   [2]string   // the current paths of files
	size    int64       // room for frames, allocated
	index   mmap.MMap
	header  *indexHeader
	entries []entry
	used    int // bytes of frames
	count   int // entries
	// pending holds the last of these bytes, which are not in the file yet. The memory belongs to
	// the caller of Append.
	pending  []byte
	nameless bool // another segment took its file names: nothing more may be committed in it
}

func indexSize(segmentBytes int64) int64 {
	return roundToPage(pageSize + segmentBytes/bytesPerEntry*entrySize)
}

// openSegment opens the two files, allocates room for segmentBytes (larger files keep their size),
// and maps the index.
func openSegment(framesPath, indexPath string, flag int, segmentBytes int64, fault faults) (
	_ *segment, err error,
) {
	s := &segment{paths: [2]string{framesPath, indexPath}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for i, path := range s.paths {
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
		if err := allocate(f, path, size, fault); err != nil {
			return nil, err
		}
		if i == 0 {
			s.size = size
			if flag&os.O_CREATE != 0 {
				crashpoint.Pass(crashpoint.SpareCreated)
			}
		} else if s.index, err = mapFile(f, size, mmap.RDWR, fault); err != nil {
			return nil, err
		}
	}
	s.header, s.entries = asHeader(s.index), asEntries(s.index)
	return s, nil
}

// createSpare makes a segment that has no base and no final names yet. It populates the pages of
// the index, because the first store into a page costs 4 to 7 times as much as a later one.
func createSpare(dir string, segmentBytes int64, fault faults) (*segment, error) {
	frames, index := filepath.Join(dir, spareName+framesExt), filepath.Join(dir, spareName+indexExt)
	s, err := openSegment(frames, index, os.O_CREATE|os.O_TRUNC, segmentBytes, fault)
	if err != nil {
		os.Remove(frames)
		os.Remove(index)
		return nil, err
	}
	crashpoint.Pass(crashpoint.SpareMade)
	if !populate(s.index) { // an old kernel
		_ = guarded(func() error { // Append reports a truncated file
			touch(s.index)
			return nil
		})
	}
	return s, nil
}

// begin gives a spare its base and its file names. The index is renamed first, because a frames
// file without an index says nothing.
func (s *segment) begin(
	dir string, base, frames uint64, sources *[MaxStreams]sourceAt, fault faults,
) error {
	s.base = base
	s.header.Magic, s.header.Version = indexMagic, formatVersion
	s.header.Base, s.header.Frames, s.header.Sources = base, frames, *sources
	s.header.Check = s.header.check()
	for i, ext := range []string{framesExt, indexExt} {
		s.paths[i] = segmentPath(dir, base, ext)
	}
	if err := rename(filepath.Join(dir, spareName+indexExt), s.paths[1], fault); err != nil {
		return err
	}
	crashpoint.Pass(crashpoint.IndexNamed)
	return rename(filepath.Join(dir, spareName+framesExt), s.paths[0], fault)
}

// fits reports whether the segment has room for a frame of n bytes.
func (s *segment) fits(n int) bool { return n <= int(s.size)-s.used && s.count < len(s.entries) }

// grow gives an empty segment room for one frame of n bytes. This is safe because no reader maps a
// segment before a frame in it is committed.
func (s *segment) grow(n int64, fault faults) error {
	size := roundToPage(n)
	if err := allocate(s.files[0], s.paths[0], size, fault); err != nil {
		return err
	}
	s.size = size
	crashpoint.Pass(crashpoint.SegmentGrown)
	return nil
}

// follows reports whether the frame lies directly behind the pending bytes in memory, so that one
// write takes both.
func (s *segment) follows(frame []byte) bool {
	n := len(s.pending)
	return n == 0 || cap(s.pending)-n >= len(frame) && &s.pending[:n+1][n] == &frame[0]
}

// put adds the frame behind the others and stores its entry. The caller has checked that the frame
// fits and follows. If a store faults, nothing was put.
func (s *segment) put(frame []byte, m *Meta) {
	used := s.used + len(frame)
	e := &s.entries[s.count]
	e.End.Store(s.base + uint64(used))
	e.Cycle, e.Time, e.Source, e.Stream, e.Flags = m.Cycle, m.Time, m.Source, m.Stream, 0
	e.Check = e.check(frame)
	if n := len(s.pending); n > 0 {
		s.pending = s.pending[:n+len(frame)]
	} else {
		s.pending = frame
	}
	s.used = used
	s.count++
}

// flush writes the pending bytes. After an error they are still pending.
func (s *segment) flush(fault faults) error {
	if len(s.pending) == 0 {
		return nil
	}
	if s.nameless {
		return errors.New("its file names were given to a segment that could not be begun")
	}
	// If another program truncated the file, writing beyond its end would leave a hole, and readers
	// would send that hole.
	err := shortened(s.files[0], s.paths[0], s.size)
	if err == nil {
		err = fault.check(opWrite, s.paths[0])
	}
	if err == nil {
		_, err = s.files[0].WriteAt(s.pending, int64(s.used-len(s.pending)))
	}
	if errors.Is(err, ErrDamaged) {
		return err
	}
	if err != nil {
		return fmt.Errorf("write %d bytes into %s: %w", len(s.pending), s.paths[0], cause(err))
	}
	s.pending = nil
	crashpoint.Pass(crashpoint.FramesWritten)
	return nil
}

// storing runs f, which stores into the index of s, and turns a memory fault into storeFault's
// error.
func (s *segment) storing(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if err = storeFault(p, s.index, s.files[1], s.paths[1]); err == nil {
				err = faultError(p)
			}
		}
	}()
	return f()
}

// trim cuts the frames file at the last frame.
func (s *segment) trim(fault faults) error {
	err := fault.check(opTrim, s.paths[0])
	if err == nil {
		err = s.files[0].Truncate(int64(s.used))
	}
	if err != nil {
		return fmt.Errorf("framelog: trim %s: %w", s.paths[0], cause(err))
	}
	return nil
}

// unmap removes the mapping of the index; the files stay open.
func (s *segment) unmap() {
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
