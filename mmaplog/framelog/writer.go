package framelog

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"github.com/edsrzf/mmap-go"

	"distributor/mmaplog/crashpoint"
)

// Writer appends frames. A log has one Writer, in one process. One goroutine calls Append, Commit,
// Mark, LastSource and Close; ID, Head, Floor and Stats may be called from any goroutine.
type Writer struct {
	opts     Options
	lock     *os.File
	id       ID
	head     *headPage
	headMap  mmap.MMap
	headFile *os.File
	closed   bool
	broken   error   // how the active segment is damaged; nil: it is not
	leftover *uint64 // base of an abandoned segment that could not be removed
	refused  int     // consecutive writes into the active segment that failed

	active *segment
	tail   uint64               // logical end of the newest appended frame
	frames uint64               // frames appended since the log's first life
	last   [MaxStreams]sourceAt // newest source of each stream, uncommitted frames included
	kept   []span               // sealed segments that may be read, oldest first
	sealed []*segment           // sealed since the last Commit

	ahead  *queue // prepares segments before they are needed
	behind *queue // syncs, trims and unlinks sealed segments
	beside *queue // runs jobs that must not wait while a sync in behind hangs
	// unfinished holds the sealed segments that wait for behind.
	unfinished backlog
	relieving  atomic.Bool // relieve is queued in beside and has not begun
	spare      chan spare
	asked      bool // a spare is being made, or is in the channel

	spareFailed  bool        // the last spare could not be made; used by ahead only
	unremembered atomic.Bool // a sync has failed, and storing that in the head failed too

	counted counters
}

// span is the range of offsets of a segment.
type span struct{ base, end uint64 }

// spare is a segment made ahead, or the error that prevented it.
type spare struct {
	segment *segment
	err     error
}

type counters struct {
	segments, rolls, spareWaits, noSpace, failures atomic.Uint64
}

// Stats are figures for operators. Counts are since OpenWriter, except Frames.
type Stats struct {
	Head  uint64 `json:"head"`  // offset behind the newest frame
	Floor uint64 `json:"floor"` // offset of the oldest frame kept
	// Synced is the offset below which everything survives a crash of the machine. It moves when a
	// sealed segment has been synced.
	Synced     uint64 `json:"synced"`
	Frames     uint64 `json:"-"`          // committed since the log's first life
	Segments   uint64 `json:"segments"`   // on disk, the active one included
	Rolls      uint64 `json:"rolls"`      // segments begun
	SpareWaits uint64 `json:"spareWaits"` // rolls that had to wait for the next segment to be made
	NoSpace    uint64 `json:"noSpace"`    // Appends refused with ErrNoSpace, tries included
	// Failures counts background syncs, trims and unlinks that failed; each is logged.
	Failures uint64 `json:"failures"`
}

// ID returns the log's ID. It does not change while the Writer is open.
func (w *Writer) ID() ID { return w.id }

// Head returns the end of the newest committed frame.
func (w *Writer) Head() uint64 { return w.head.Head.Load() }

// Floor returns the oldest offset that can be read.
func (w *Writer) Floor() uint64 { return w.head.Floor.Load() }

// Stats returns the current figures. It may be called from any goroutine until Close.
func (w *Writer) Stats() Stats {
	c := &w.counted
	return Stats{
		Head: w.Head(), Floor: w.Floor(), Synced: w.head.Synced.Load(), Frames: w.head.Frames.Load(),
		Segments: c.segments.Load(), Rolls: c.rolls.Load(), SpareWaits: c.spareWaits.Load(),
		NoSpace: c.noSpace.Load(), Failures: c.failures.Load(),
	}
}

// LastSource returns the source and the end of the newest frame of a stream, appended frames
// included; after a restart, of the newest frame that was kept. The source stays known when the
// frame itself is below the floor.
func (w *Writer) LastSource(stream uint8) (src [32]byte, offset uint64, ok bool) {
	if stream >= MaxStreams || w.last[stream].End == 0 {
		return src, 0, false
	}
	return w.last[stream].Source, w.last[stream].End, true
}

// Append adds a frame to the log. No reader sees the frame before Commit, and the frame must not
// change until then: frames that lie behind each other in memory are written together, by one
// pwrite(2). On an error nothing was appended. After ErrBlocked the same call works as soon as the
// file system works again (each try asks the file system, so pause between tries). ErrDamaged means
// that another program has truncated the active segment; after it nothing works but Close.
func (w *Writer) Append(frame []byte, m Meta) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer w.recoverStore(&err)
	return w.append(frame, m)
}

func (w *Writer) append(frame []byte, m Meta) error {
	n := len(frame)
	switch {
	case w.closed:
		return ErrClosed
	case n == 0 || n > MaxFrame:
		return fmt.Errorf("%w: %d bytes", ErrFrame, n)
	case m.Stream >= MaxStreams:
		return fmt.Errorf("%w: stream %d", ErrFrame, m.Stream)
	}
	if w.broken != nil {
		return w.broken
	}
	var err error
	if !w.active.follows(frame) {
		err = w.flush()
	}
	if err == nil && !w.active.fits(n) {
		err = w.makeRoom(n)
	}
	if errors.Is(err, ErrNoSpace) {
		w.counted.noSpace.Add(1)
	}
	if err != nil {
		return err
	}
	w.active.put(frame, &m)
	crashpoint.Pass(crashpoint.EntryWritten)
	w.tail += uint64(n)
	w.frames++
	last := &w.last[m.Stream]
	last.End, last.Source = w.tail, m.Source
	return nil
}

// Commit makes all appended frames visible to readers at once. Errors are as from Append. After
// ErrBlocked no further frame is visible, and the frames must not change until the same call has
// worked.
func (w *Writer) Commit() (err error) {
	if w.closed {
		return ErrClosed
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer w.recoverStore(&err)
	if w.broken != nil {
		return w.broken
	}
	if err := w.flush(); err != nil || w.tail == w.head.Head.Load() {
		return err
	}
	w.head.Frames.Store(w.frames)
	crashpoint.Pass(crashpoint.FramesCounted)
	// A release store: frames, their entries, seals and the names of segments come before it.
	w.head.Head.Store(w.tail)
	crashpoint.Pass(crashpoint.HeadPublished)
	if len(w.sealed) > 0 {
		w.retireSegments()
	}
	return nil
}

// Mark tells readers that something outside the log has changed: a reader that sees a frame
// committed after Mark also sees Reader.Marks increased. It returns ErrBlocked as Append does.
func (w *Writer) Mark() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer w.recoverStore(&err)
	w.head.Marks.Add(1)
	return nil
}

// makeRoom makes the active segment one that a frame of n bytes fits in, or changes nothing.
func (w *Writer) makeRoom(n int) error {
	if err := w.flush(); err != nil || w.active.fits(n) { // the frames may have moved
		return err
	}
	if w.active.count > 0 {
		if err := w.roll(); err != nil {
			return blocked(err)
		}
	}
	if int64(n) > w.active.size {
		if err := w.active.grow(int64(n), w.opts.fault); err != nil {
			return blocked(err)
		}
	}
	return nil
}

// roll seals the active segment, whose frames are all written, and goes on in the next one.
func (w *Writer) roll() error {
	next, err := w.begin(w.tail, w.frames, &w.last)
	if err != nil {
		return err
	}
	crashpoint.Pass(crashpoint.FramesNamed)
	if err := w.active.seal(w.tail); err != nil {
		return errors.Join(err, w.abandon(next))
	}
	crashpoint.Pass(crashpoint.SegmentSealed)
	w.sealed = append(w.sealed, w.active)
	w.active = next
	w.counted.segments.Add(1)
	w.counted.rolls.Add(1)
	w.askSpare()
	return nil
}

func (w *Writer) askSpare() {
	if w.asked {
		return
	}
	w.asked = true
	w.ahead.do(func() {
		s, err := createSpare(w.opts.Dir, w.opts.SegmentBytes, w.opts.fault)
		if err != nil && !w.spareFailed { // while this lasts, each Append asks for a spare
			w.opts.Log.Warn("frame log: the next segment cannot be prepared",
				"dir", w.opts.Dir, "error", err)
		}
		w.spareFailed = err != nil
		w.spare <- spare{s, err}
	})
}

// takeSpare returns the next segment. If making it failed some time ago, takeSpare tries once more.
func (w *Writer) takeSpare() (*segment, error) {
	for {
		old := w.asked
		w.askSpare()
		var got spare
		select {
		case got = <-w.spare:
		default:
			w.counted.spareWaits.Add(1)
			got = <-w.spare
		}
		w.asked = false
		if got.err == nil || !old {
			return got.segment, got.err
		}
	}
}

// retireSegments runs after a Commit that passed the end of segments. It queues these segments to
// be synced in the background, and removes the oldest ones. The floor is raised first: a reader
// that does not find a file loads the floor again. The sync of the newer segments brings the floor
// to disk before files are removed.
func (w *Writer) retireSegments() {
	for _, s := range w.sealed {
		w.kept = append(w.kept, span{s.base, s.base + uint64(s.used)})
	}
	retired := w.retire()
	for _, s := range w.sealed {
		w.unfinished.add(s)
		w.behind.do(func() { w.finish(s) })
	}
	w.sealed = w.sealed[:0]
	for _, gone := range retired {
		w.behind.do(func() {
			w.failed("unlink a segment that is no longer kept",
				unlinkSegment(w.opts.Dir, gone.base, w.opts.fault))
		})
	}
	if w.unfinished.many() && w.relieving.CompareAndSwap(false, true) {
		w.beside.do(w.relieve)
	}
}

// retire raises the floor above the segments that exceed RetainBytes, and returns them.
func (w *Writer) retire() []span {
	head, drop := w.Head(), 0
	for drop < len(w.kept) && head-w.kept[drop].end >= uint64(w.opts.RetainBytes) {
		drop++
	}
	if drop == 0 {
		return nil
	}
	w.head.Floor.Store(max(w.Floor(), w.kept[drop-1].end))
	crashpoint.Pass(crashpoint.FloorRaised)
	retired := slices.Clone(w.kept[:drop])
	w.counted.segments.Add(-uint64(drop))
	w.kept = append(w.kept[:0], w.kept[drop:]...)
	w.forgetLost()
	return retired
}

// failed counts and logs a background operation that failed, if err is not nil.
func (w *Writer) failed(what string, err error) {
	if err != nil {
		w.counted.failures.Add(1)
		w.opts.Log.Error("frame log: cannot "+what, "dir", w.opts.Dir, "error", err)
	}
}

// Close drops uncommitted frames, brings everything to disk and releases the lock. Readers can go
// on reading.
func (w *Writer) Close() error {
	return w.end(func(last []*segment) error {
		err := w.sync(w.Head(), last...)
		crashpoint.Pass(crashpoint.LogSynced)
		if err == nil {
			err = w.sayClosed()
		}
		return err
	})
}

// Leave closes a log that another process of this machine opens at once. It finishes only the syncs
// that are already queued; the other process does the rest. After a crash of the machine, the log
// counts as open.
func (w *Writer) Leave() error {
	return w.end(func([]*segment) error {
		if !w.mayVouch() {
			return nil
		}
		return w.storing(func() { w.head.State.Store(stateLeft) })
	})
}

// end stops the background goroutines, calls bring for the segments that are not queued, and
// releases files and lock.
func (w *Writer) end(bring func(last []*segment) error) error {
	if w.closed {
		return nil
	}
	w.closed = true
	w.ahead.close()
	w.beside.close()
	w.behind.close()
	var errs []error
	if w.asked {
		if got := <-w.spare; got.segment != nil {
			got.segment.close()
		}
	}
	errs = append(errs, removeSpare(w.opts.Dir, w.opts.fault))
	// Segments in sealed end beyond the head, so the head lies in one of these.
	last := append(w.sealed, w.active)
	err := bring(last)
	for _, s := range last {
		s.close()
	}
	w.letGo()
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("framelog: close: %w", err)
	}
	return nil
}

// letGo closes the head and then the lock.
func (w *Writer) letGo() {
	unmap(&w.headMap)
	w.head = nil
	if w.headFile != nil {
		w.headFile.Close()
	}
	unlock(w.lock)
}
