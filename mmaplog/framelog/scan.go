package framelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

// verifyRun is how many frames a goroutine verifies before it takes the next piece of work: about
// 4 MB.
const verifyRun = 1024

// scanned is a segment as opening or inspecting a log found it, with the result of verification.
type scanned struct {
	base    uint64
	limit   uint64 // where it has to end, or unknown
	problem error  // why it cannot be read at all
	sealed  uint64

	first, count int    // entries from first to before count were verified
	bad          []bool // by entry
	end          uint64 // end of the last entry; 0: there is none
	runs         []run  // the result of verification

	retry         *retries
	frames, index mmap.MMap // mapped during verification; the index again after load
	entries       []entry
}

// scanMapped is called when a scan has mapped one more segment, and scanPaused when it waits for a
// disk that could not deliver. Tests only.
var scanMapped, scanPaused = func() {}, func() {}

// A failed read of the disk counts as damage if it fails again after pauses. All pauses of a scan
// take at most a second, also when the disk has lost many places.
const (
	retryPause = 50 * time.Millisecond
	retryMost  = 20
	retryEach  = 4
)

// retries counts the pauses that a scan may still make.
type retries struct{ left atomic.Int32 }

func newRetries() *retries {
	r := &retries{}
	r.left.Store(retryMost)
	return r
}

// do runs read until it works, fails with an error that is not a read error of the disk, or no
// pauses are left.
func (r *retries) do(read func() error) (err error) {
	for n := range retryEach + 1 {
		if err = read(); !isReadError(err) || n == retryEach || r.left.Add(-1) < 0 {
			break
		}
		scanPaused()
		time.Sleep(retryPause)
	}
	return err
}

// isReadError reports whether the disk could not deliver: EIO of a call, or a fault of a mapping.
func isReadError(err error) bool {
	var addressed interface{ Addr() uintptr }
	return errors.Is(err, unix.EIO) || errors.As(err, &addressed)
}

// isDamage reports whether a file is lost. Any other error, such as too many open files, may be
// gone at the next start, so nothing is given up because of it.
func isDamage(err error) bool {
	return errors.Is(err, ErrDamaged) || isReadError(err) ||
		errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG)
}

// run is a part of a segment that is good as a whole, or bad as a whole.
type run struct {
	end           uint64
	bad           string // why it is bad; empty: it is good
	frames, bytes uint64 // good frames in the run, and their bytes
}

// Segments are verified in windows of at most this many segments or bytes: mapping all at once
// would reach the kernel's limit of mappings.
const (
	scanSegmentsAtOnce = 64
	scanBytesAtOnce    = 512 << 20
)

// unknown stands for the log's end if no head tells it.
const unknown = goneFloor

// scanSegments reads and verifies the segments that begin below end, from floor on. It verifies the
// last segment from its own beginning, because that segment holds the newest sources. Damage is a
// finding, not an error. Errors: ErrVersion, and errors of opening files that may be whole.
func scanSegments(dir string, pairs []pair, floor, end uint64) ([]*scanned, error) {
	var segments []*scanned
	retry := newRetries()
	done, mapped := 0, 0 // segments verified, bytes mapped of those after them
	for i, p := range pairs {
		if p.base >= end {
			break
		}
		s := &scanned{base: p.base, limit: end, retry: retry}
		from := uint64(0)
		if i+1 < len(pairs) && pairs[i+1].base < end {
			s.limit, from = pairs[i+1].base, floor
		}
		segments = append(segments, s)
		if s.limit <= from {
			continue
		}
		s.problem = retry.do(func() error {
			unmap(&s.frames)
			unmap(&s.index)
			return s.open(dir, from)
		})
		if s.problem != nil && !isDamage(s.problem) {
			closeScanned(segments)
			return nil, s.problem
		}
		scanMapped()
		mapped += len(s.frames)
		if window := segments[done:]; len(window) >= scanSegmentsAtOnce || mapped >= scanBytesAtOnce {
			check(window, floor)
			done, mapped = len(segments), 0
		}
	}
	check(segments[done:], floor)
	return segments, nil
}

// check verifies open segments and unmaps them.
func check(segments []*scanned, floor uint64) {
	verify(segments)
	for _, s := range segments {
		if s.problem == nil && s.entries != nil {
			s.problem = s.retry.do(func() error {
				return guarded(func() error {
					s.sum(floor)
					return nil
				})
			})
		}
	}
	closeScanned(segments)
}

// sum stores the result of verification in runs, from the floor on.
func (s *scanned) sum(floor uint64) {
	at := max(s.base, floor)
	s.runs = nil
	add := func(to uint64, bad string) {
		if to <= at {
			return
		}
		if n := len(s.runs); n > 0 && (s.runs[n-1].bad == "") == (bad == "") {
			s.runs[n-1].end = to
		} else {
			s.runs = append(s.runs, run{end: to, bad: bad})
		}
		at = to
	}
	for i := s.first; i < s.count; i++ {
		start, end := s.start(i), s.entries[i].End.Load()
		switch {
		case s.bad[i]: // the next good entry shows how far the bad part goes
			continue
		case start < floor && floor < end:
			add(end, "the floor stood inside of this frame")
		default:
			add(start, mismatch)
			add(end, "")
		}
		if n := len(s.runs); n > 0 {
			s.runs[n-1].frames++
			s.runs[n-1].bytes += end - start
		}
	}
	if s.limit != unknown {
		add(s.limit, mismatch)
	}
	if s.count > 0 {
		s.end = s.entries[s.count-1].End.Load()
	}
}

// load maps the index of a verified segment again.
func (s *scanned) load(dir string) (err error) {
	if s.entries == nil {
		if s.index, err = mapForScan(segmentPath(dir, s.base, indexExt)); err == nil {
			s.entries = asEntries(s.index)
		}
	}
	return err
}

func closeScanned(segments []*scanned) {
	for _, s := range segments {
		unmap(&s.frames)
		unmap(&s.index)
		s.entries = nil
	}
}

// open maps both files and decides which entries to verify: those of frames that end above from.
func (s *scanned) open(dir string, from uint64) (err error) {
	if s.index, err = mapForScan(segmentPath(dir, s.base, indexExt)); err != nil {
		return err
	}
	if len(s.index) < pageSize {
		return fmt.Errorf("%w: index: %d bytes", ErrDamaged, len(s.index))
	}
	if s.frames, err = mapForScan(segmentPath(dir, s.base, framesExt)); err != nil {
		return err
	}
	return guarded(func() error {
		header := asHeader(s.index)
		if err := header.valid(s.base); err != nil {
			return err
		}
		s.sealed = header.Sealed.Load()
		s.entries = asEntries(s.index)
		s.count = s.countEntries()
		s.bad = make([]bool, s.count)
		for s.first < s.count && s.entries[s.first].End.Load() <= from {
			s.first++
		}
		return nil
	})
}

// countEntries counts the entries up to the one that ends at the limit. If no entry ends there, it
// counts the entries before the first unused one.
func (s *scanned) countEntries() int {
	unused := -1
	for i := range s.entries {
		switch s.entries[i].End.Load() {
		case s.limit:
			return i + 1
		case 0:
			if unused < 0 {
				unused = i
			}
		}
	}
	if unused < 0 {
		return len(s.entries)
	}
	return unused
}

// start returns where the frame of entry i begins, if the entry before is right.
func (s *scanned) start(i int) uint64 {
	if i == 0 {
		return s.base
	}
	return s.entries[i-1].End.Load()
}

// verify checks every frame of the segments, on all cores.
func verify(segments []*scanned) {
	type piece struct {
		s        *scanned
		from, to int
	}
	var pieces []piece
	for _, s := range segments {
		for from := s.first; s.problem == nil && from < s.count; from += verifyRun {
			pieces = append(pieces, piece{s, from, min(from+verifyRun, s.count)})
		}
	}
	work := make(chan piece)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(pieces)) {
		workers.Go(func() {
			for r := range work {
				r.s.verify(r.from, r.to)
			}
		})
	}
	for _, r := range pieces {
		work <- r
	}
	close(work)
	workers.Wait()
}

// verify marks the bad entries from from to before to. If the disk cannot deliver a place after
// retries, its entry is bad like any other.
func (s *scanned) verify(from, to int) {
	for i := from; i < to; i++ {
		err := s.retry.do(func() error {
			return guarded(func() error {
				for ; i < to; i++ {
					s.bad[i] = !s.frameIsGood(i)
				}
				return nil
			})
		})
		if err != nil {
			s.bad[i] = true
		}
	}
}

func (s *scanned) frameIsGood(i int) bool {
	start, e := s.start(i), &s.entries[i]
	end := e.End.Load()
	if start < s.base || end <= start || end > s.limit || end-s.base > uint64(len(s.frames)) {
		return false
	}
	return e.Stream < MaxStreams && e.Check == e.check(s.frames[start-s.base:end-s.base])
}

// mapForScan maps all of a file and asks for it to be read ahead.
func mapForScan(path string) (mmap.MMap, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: file is missing", ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("framelog: scan: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("framelog: scan: %w", err)
	}
	m, err := mapFile(f, info.Size(), mmap.RDONLY, nil)
	if err == nil && m != nil {
		// Best effort: without it the kernel reads the pages one by one.
		_ = unix.Madvise(m, unix.MADV_WILLNEED)
	}
	return m, err
}
