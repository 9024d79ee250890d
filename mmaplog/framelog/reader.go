package framelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

// Reader reads the frames that a Writer, in this process or any other, has committed. One goroutine
// calls Frames, AppendFrames, FrameEnd, Meta, Given, AppendGiven and Close; Head, Marks, Floor and
// ID may be called from any goroutine until Close.
type Reader struct {
	dir     string
	id      ID
	head    *headPage
	headMap mmap.MMap

	ancestors []Ancestor

	segments []*readSegment // mapped segments, by base
	limit    int            // how many segments may be mapped at once
	uses     uint64         // clock of readSegment.used
	bases    []uint64       // bases of all segments, when the directory was last read
	current  *readSegment   // the segment that was last read
	kept     *readSegment   // the segment whose bytes Frames returned last
	dropped  uint64         // floor up to which segments were unmapped
	memo     answer
	reading  sync.WaitGroup // goroutines that read ahead
}

type readSegment struct {
	base    uint64
	frames  mmap.MMap
	index   mmap.MMap
	header  *indexHeader
	entries []entry
	used    uint64 // Reader.uses when it last became current
}

// answer holds the arguments and the result of the last call of Frames.
type answer struct {
	from, head uint64
	max        int
	frames     []byte
}

// OpenReader opens the log in dir. Errors: ErrNoLog (there is no log yet), ErrReplaced (a log with
// a new ID is about to appear), ErrVersion, ErrDamaged.
func OpenReader(dir string) (*Reader, error) {
	path := filepath.Join(dir, headName)
	m, err := mapReadOnly(path, pageSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoLog, dir)
	}
	if err != nil {
		return nil, err
	}
	r := &Reader{dir: dir, headMap: m, head: asHead(m), limit: mappedSegments()}
	err = guarded(func() error {
		r.ancestors, _ = r.head.Lineage.list()
		return r.head.valid()
	})
	if err != nil {
		unmap(&r.headMap)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.id = r.head.ID
	if r.Floor() == goneFloor {
		unmap(&r.headMap)
		return nil, ErrReplaced
	}
	return r, nil
}

// ID returns the ID of the log that this Reader reads. A log with a new ID needs a new Reader
// (ErrReplaced).
func (r *Reader) ID() ID { return r.id }

// Ancestors returns the earlier IDs whose positions can be translated, newest first.
func (r *Reader) Ancestors() []Ancestor { return r.ancestors }

// Head returns the end of the newest committed frame.
func (r *Reader) Head() uint64 { return r.head.Head.Load() }

// Marks returns how often the Writer has called Mark. If it is loaded after Head, it includes all
// Marks before the frames below that head.
func (r *Reader) Marks() uint64 { return r.head.Marks.Load() }

// Floor returns the oldest offset that can be read. Floor is above Head once the log has been
// replaced.
func (r *Reader) Floor() uint64 { return r.head.Floor.Load() }

// Frames returns committed bytes from the offset from, which may lie inside a frame. They end where
// the last frame within max (≥ 1) bytes ends, or after max bytes if a single frame is longer. All
// bytes are of one segment; the next call returns those of the next segment. At the head Frames
// returns none.
//
// The bytes are mapped, read-only, and valid until the next call of Frames, AppendFrames or Close.
// They stay right when the floor passes them meanwhile. If another program truncated the file,
// passing the bytes to a system call gives EFAULT.
//
// Errors: ErrBelowFloor, ErrBeyondHead, ErrReplaced, ErrDamaged.
func (r *Reader) Frames(from uint64, max int) ([]byte, error) {
	head, floor := r.Head(), r.Floor()
	if m := &r.memo; from == m.from && head == m.head && max == m.max && from >= floor &&
		m.frames != nil {
		return m.frames, nil // most clients ask for the same bytes as the client before
	}
	if from == head && floor <= head {
		return nil, nil
	}
	return r.find(from, head, floor, max)
}

// find does what Frames does, without using the memo.
func (r *Reader) find(from, head, floor uint64, max int) (b []byte, err error) {
	if max < 1 {
		panic(fmt.Sprintf("framelog: Frames of at most %d bytes", max))
	}
	if err := within(from, floor, head); err != nil {
		return nil, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverFault(&err)
	s, err := r.segmentAt(from, floor)
	if err != nil {
		return nil, err
	}
	limit := min(head, s.end())
	if limit-from > uint64(max) {
		limit = from + uint64(max)
		if i := frameAfter(s.entries, limit); i > 0 {
			if end := s.entries[i-1].End.Load(); end > from && end <= limit {
				limit = end
			}
		}
	}
	if limit <= from || limit-s.base > uint64(len(s.frames)) {
		return nil, fmt.Errorf("%w: segment %016x: cannot hold offset %d", ErrDamaged, s.base, limit)
	}
	b = s.frames[from-s.base : limit-s.base : limit-s.base]
	r.keep(s)
	r.memo = answer{from: from, head: head, max: max, frames: b}
	return b, nil
}

// AppendFrames appends to dst what Frames returns. It is for Go code that reads the bytes itself: a
// truncated file would kill the process there. AppendFrames returns ErrDamaged instead, and dst
// unchanged. Errors are as for Frames.
func (r *Reader) AppendFrames(dst []byte, from uint64, max int) ([]byte, error) {
	b, err := r.Frames(from, max)
	if err != nil {
		return dst, err
	}
	out := dst
	err = guarded(func() error {
		out = append(dst, b...)
		return nil
	})
	return out, err
}

// FrameEnd returns offset if a frame ends or begins there, else the end of the frame that offset
// lies in. Errors are as for Frames.
func (r *Reader) FrameEnd(offset uint64) (end uint64, err error) {
	head, floor := r.Head(), r.Floor()
	if err := within(offset, floor, head); err != nil {
		return 0, err
	}
	if offset == head || offset == floor {
		return offset, nil
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverFault(&err)
	// The segment with the byte before offset: at the end of a segment, the next one is not needed.
	s, err := r.segmentAt(offset-1, floor)
	if err != nil {
		return 0, err
	}
	_, end, err = s.frameWith(offset-1, head)
	return end, err
}

// Meta describes the frame with the byte before offset: the last frame that a client at that offset
// has received, or is receiving. At the floor there is no such frame: ErrBelowFloor. Errors are as
// for Frames.
func (r *Reader) Meta(offset uint64) (m Meta, err error) {
	head, floor := r.Head(), r.Floor()
	if offset == floor {
		return Meta{}, fmt.Errorf("%w: no frame before offset %d is kept", ErrBelowFloor, offset)
	}
	if err := within(offset, floor, head); err != nil {
		return Meta{}, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverFault(&err)
	s, err := r.segmentAt(offset-1, floor)
	if err != nil {
		return Meta{}, err
	}
	e, _, err := s.frameWith(offset-1, head)
	if err != nil {
		return Meta{}, err
	}
	return e.meta(), nil
}

// Given returns Meta and FrameEnd of the frame with the byte before offset, for offsets in the
// bytes that Frames returned last or at their end. It works also when the floor has passed these
// bytes meanwhile. So a caller that has sent them to a client can tell the client's position.
// Errors: ErrDamaged.
func (r *Reader) Given(offset uint64) (m Meta, end uint64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverFault(&err)
	s, err := r.given(offset - 1)
	if err != nil {
		return Meta{}, 0, err
	}
	e, end, err := s.frameWith(offset-1, r.Head())
	if err != nil {
		return Meta{}, 0, err
	}
	return e.meta(), end, nil
}

// AppendGiven appends to dst the n bytes that begin at from, of a frame that Given has described. A
// truncated file is ErrDamaged, as in AppendFrames.
func (r *Reader) AppendGiven(dst []byte, from uint64, n int) ([]byte, error) {
	out := dst
	err := guarded(func() error {
		s, err := r.given(from)
		if err != nil {
			return err
		}
		if end := from - s.base + uint64(n); end > uint64(len(s.frames)) {
			return fmt.Errorf("%w: segment %016x: cannot hold offset %d", ErrDamaged, s.base, s.base+end)
		}
		out = append(dst, s.frames[from-s.base:][:n]...)
		return nil
	})
	return out, err
}

// Close unmaps everything: slices from Frames must not be used any more.
func (r *Reader) Close() error {
	for _, s := range r.segments {
		s.unmap()
	}
	r.segments, r.bases, r.current, r.kept, r.memo = nil, nil, nil, nil, answer{}
	r.reading.Wait()
	unmap(&r.headMap)
	return nil
}

func within(offset, floor, head uint64) error {
	switch {
	case floor == goneFloor:
		return ErrReplaced
	case offset < floor:
		return fmt.Errorf("%w: offset %d, floor %d", ErrBelowFloor, offset, floor)
	case offset > head:
		return fmt.Errorf("%w: offset %d, head %d", ErrBeyondHead, offset, head)
	}
	return nil
}

// end returns where the segment ends, or goneFloor while it is active. The caller loads the head
// first: if that head is beyond the segment's end, end sees the end.
func (s *readSegment) end() uint64 {
	if sealed := s.header.Sealed.Load(); sealed != 0 {
		return sealed
	}
	return goneFloor
}

// frameWith finds the frame that holds the byte at offset; offset is below the head.
func (s *readSegment) frameWith(offset, head uint64) (*entry, uint64, error) {
	i := frameAfter(s.entries, offset)
	if i < len(s.entries) {
		if end := s.entries[i].End.Load(); end > offset && end <= head {
			return &s.entries[i], end, nil
		}
	}
	return nil, 0, fmt.Errorf("%w: index of segment %016x: no frame with offset %d",
		ErrDamaged, s.base, offset)
}

func (r *Reader) open(base uint64) (*readSegment, error) {
	s, opened := &readSegment{base: base}, false
	defer func() {
		if !opened { // also when reading the header faults
			s.unmap()
		}
	}()
	var err error
	path := segmentPath(r.dir, base, indexExt)
	if s.index, err = mapReadOnly(path, 0); err != nil {
		return nil, err
	}
	if len(s.index) < pageSize {
		return nil, fmt.Errorf("%w: %s: %d bytes", ErrDamaged, path, len(s.index))
	}
	s.header, s.entries = asHeader(s.index), asEntries(s.index)
	if err := s.header.valid(base); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s.frames, err = mapReadOnly(segmentPath(r.dir, base, framesExt), 0); err != nil {
		return nil, err
	}
	if end := s.end(); end != goneFloor { // a sealed segment may not be in memory
		r.reading.Go(func() {
			readAhead(segmentPath(r.dir, base, framesExt))
			readAhead(segmentPath(r.dir, end, framesExt))
		})
	}
	opened = true
	return s, nil
}

func (s *readSegment) unmap() {
	unmap(&s.frames)
	unmap(&s.index)
}

// mapReadOnly maps a whole file, which must have size bytes; size 0 accepts any.
func mapReadOnly(path string, size int64) (mmap.MMap, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("framelog: open: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("framelog: open: %w", err)
	}
	if size != 0 && info.Size() != size {
		return nil, fmt.Errorf("%w: %s: %d bytes instead of %d", ErrDamaged, path, info.Size(), size)
	}
	return mapFile(f, info.Size(), mmap.RDONLY, nil)
}

// readAhead starts bringing a file into memory, if it is there.
func readAhead(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	// Best effort: without it the kernel reads the pages at one fault each.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_WILLNEED)
}
