package datalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// ErrClosed is what Next returns after Close.
var ErrClosed = errors.New("datalog: follower is closed")

const (
	defaultInterval = 100 * time.Millisecond
	defaultMaxLine  = 64 << 20
	// defaultLinger is how long a gap must persist before it is accepted, and how long the Follower
	// waits for zero bytes to be overwritten. Rotations, and writes on a busy machine, take less.
	defaultLinger = 2 * time.Second
	// incompleteLingers, in units of linger (30 s), is how long a log without a trailer, which the
	// pointer no longer names, must not grow before the Follower leaves it. A writer ends a log
	// before it begins the next one, so the rest may still arrive: a copy of the directory brings
	// the files one by one, and 30 s are two logs of the usual size at 700 kB/s.
	incompleteLingers = 15
	// mirrorLingers, in units of linger (10 min), replaces both times while logs are replaced by
	// copies of themselves, because the job that keeps a mirror runs again after minutes. It also
	// bounds the wait for a log that goes on growing.
	mirrorLingers = 300
	// readsWithoutRecord bounds a poll: a file that changes at each read must not keep it busy.
	readsWithoutRecord = 100
)

// Options say which logs a Follower follows, and from where.
type Options struct {
	Dir    string   // the archiver's data-log directory; it may appear later
	Stream Stream   // the stream to follow
	From   Position // where to go on; zero: first start, at the logs' current end
	// NotFirst says, with a zero From, that this is no first start. At the first start there was no
	// log yet, so all logs that exist now have come since.
	NotFirst bool
	// Past returns, newest first, positions that were delivered before From; it may begin with
	// later ones. They tell how much of an older state of the log was read; without them only From
	// tells it. Past is called only when the log differs from what was read.
	Past iter.Seq[Position]
	// Left is what Follower.Left returned when From was stored, or later. It tells whether an
	// earlier log has grown since.
	Left []Position

	Interval time.Duration // between two polls without an inotify event; default 100 ms
	MaxLine  int           // longest line delivered; longer ones are skipped; default 64 MiB
	Log      *slog.Logger  // default: nothing is logged

	// For tests.
	linger  time.Duration
	now     func() time.Time
	noWatch bool
	seam    seam
}

// seam is called, in tests, where another process may act between two steps of the Follower.
type seam func(step string)

func (s seam) at(step string) {
	if s != nil {
		s(step)
	}
}

func (o *Options) complete() error {
	if o.Dir == "" {
		return errors.New("datalog: no directory")
	}
	if !o.Stream.valid() {
		return fmt.Errorf("datalog: no such stream: %v", o.Stream)
	}
	if o.Interval < 0 || o.MaxLine < 0 {
		return errors.New("datalog: negative Interval or MaxLine")
	}
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.MaxLine == 0 {
		o.MaxLine = defaultMaxLine
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.linger == 0 {
		o.linger = defaultLinger
	}
	if o.now == nil {
		o.now = time.Now
	}
	return nil
}

// Follower delivers the lines of one stream. One goroutine drives it; Stats may be called from any.
type Follower struct {
	opt         Options
	log         *slog.Logger
	pointerPath string
	pointerText [128]byte
	complaints  complaints
	watch       *watch
	tick        *time.Ticker
	closed      bool

	from    Position            // position to resume from; zero once that is done
	cur     *logFile            // the log being read; nil before the first one
	settled bool                // known holds what needs no reading, as of the start
	first   bool                // what existed at the start is skipped
	known   map[fileID]Position // up to where logs other than cur need no reading
	highest uint32              // highest known number; before a wrap-around the last log's
	grewAt  time.Time           // when cur was last seen to grow
	mirror  time.Time           // when a log was last seen to be replaced by a copy of itself
	unended time.Time           // when a log was last left without its trailer
	checked time.Time           // when the logs that were left were last checked
	moved   moved               // since when the pointer names another log
	doubt   doubt               // a gap that may still close
	gaps    []Gap               // not yet delivered
	left    []Position          // where the latest logs were left; never changed in place

	tally Stats // used by the driving goroutine only

	mu     sync.Mutex // guards the fields below
	shared Stats      // copy of tally, as of the last poll
	ends   []Position // copy of left, as of the last poll
	zeros  int64      // zero bytes at the end of cur, not written yet
	open   *logFile   // cur, so that Stats can read its size; never closed outside mu
}

// moved remembers when the pointer left the log being read, and the number it names since.
type moved struct {
	to uint32
	at time.Time
}

// doubt remembers since when a gap has been seen before a log.
type doubt struct {
	before fileID // the log after the gap
	at     time.Time
}

// NewFollower checks the options and polls once, so that Position is meaningful at once. A missing
// or unreadable directory or file is no error: it is logged and retried.
func NewFollower(opt Options) (*Follower, error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	log := opt.Log.With("stream", opt.Stream.String())
	f := &Follower{
		opt:         opt,
		log:         log,
		pointerPath: filepath.Join(opt.Dir, opt.Stream.pointerName()),
		complaints:  complaints{log: log, now: opt.now, last: map[string]*complaint{}},
		watch:       newWatch(opt.Dir, opt.Stream),
		tick:        time.NewTicker(opt.Interval),
		from:        opt.From,
		known:       map[fileID]Position{},
		left:        slices.Clone(opt.Left),
	}
	f.tally.Stream = opt.Stream
	f.settled = opt.From.IsZero() && opt.NotFirst
	f.keepWatch()
	f.begin()
	f.publish()
	return f, nil
}

// Next waits for at least one record or gap, and fills b with at most about 1 MiB or 1024 lines. It
// returns the error of ctx when ctx ends, or ErrClosed. A failing file operation is no error: it is
// logged, counted in Stats, and retried.
func (f *Follower) Next(ctx context.Context, b *Batch) error {
	for {
		if f.closed {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.look(b); len(b.Records) > 0 || len(b.Gaps) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-f.watch.wake:
		case <-f.tick.C:
			f.keepWatch()
		}
	}
}

// look polls once, without waiting. It stops at the first records.
func (f *Follower) look(b *Batch) {
	defer f.publish()
	b.reset()
	defer func() { b.Gaps, f.gaps = append(b.Gaps, f.gaps...), f.gaps[:0] }()
	for range readsWithoutRecord {
		if len(b.Records) > 0 || f.cur == nil && !f.begin() {
			return
		}
		size := f.cur.size
		out, err := f.cur.read(b)
		if err != nil {
			f.complaints.report("read log", f.cur.path, fmt.Errorf("%s: %w", f.cur.name, err))
			return
		}
		f.complaints.clear("read log")
		if f.cur.size > size {
			f.grewAt = f.opt.now()
		}
		f.tellLost()
		if !f.account(out, b) && !f.advance(b) {
			return
		}
	}
}

// tellLost makes a gap of bytes that were seen in the log being read and lost unread.
func (f *Follower) tellLost() {
	if lost := f.cur.lost; lost.bytes > 0 {
		f.cur.lost = loss{}
		f.gap(GapTruncated, lost.after, f.cur.number, uint64(lost.bytes))
	}
}

// account counts the outcome of a read, and reports whether to read again.
func (f *Follower) account(out outcome, b *Batch) bool {
	switch out {
	case idle:
		return false
	case truncated:
		f.noteOlder()
	case rewritten:
		f.tally.Rewrites++
		f.log.Warn("data log: the file has other content; reading it from its beginning",
			"file", f.cur.name)
	case zeros:
		f.log.Warn("data log: zero bytes passed over", "file", f.cur.name, "offset", f.cur.fp.offset)
	}
	if b.oversized > 0 {
		if f.tally.Oversized == 0 {
			f.log.Warn("data log: skipped a line that is too long; further ones are only counted",
				"file", f.cur.name, "offset", f.cur.fp.offset, "longest", f.opt.MaxLine)
		}
		f.tally.Oversized += uint64(b.oversized)
		b.oversized = 0
	}
	f.tally.Records += uint64(len(b.Records))
	for i := range b.Records {
		f.tally.Bytes += uint64(len(b.Records[i].Line))
	}
	return true
}

// Position returns where reading goes on after everything that Next has delivered; skipped lines
// are included. Only the goroutine that drives the Follower may call it.
func (f *Follower) Position() Position {
	if f.cur == nil {
		return f.from
	}
	p := f.cur.position()
	if last, ok := f.cur.trail.after(f.cur.fp.offset); ok {
		last = f.cur.trail.marks[len(f.cur.trail.marks)-1] // what the log has lost was read
		p.Offset, p.Check = uint64(last.offset), last.check
	}
	return p
}

// Stats returns the current figures. It may be called from any goroutine, also after Close.
func (f *Follower) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.shared
	if f.open != nil {
		if st, err := f.open.stat(); err == nil {
			s.BytesBehind += max(0, st.Size-int64(s.Offset)-f.zeros)
		}
	}
	return s
}

// Left returns where the latest logs were left, for Options.Left. It may be called from any
// goroutine, also after Close.
func (f *Follower) Left() []Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ends)
}

// Close releases files, mappings and the watch. Do not call it while Next runs: end Next's context
// first.
func (f *Follower) Close() error {
	if !f.closed {
		f.closed = true
		f.tick.Stop()
		f.watch.close()
		f.from = f.Position()
		f.setCurrent(nil)
		f.publish()
	}
	return nil
}

func (f *Follower) publish() {
	f.tally.Errors = f.complaints.count
	f.tally.Watching = f.watch.notify != nil
	f.tally.LastGrowth = f.grewAt
	if f.cur != nil {
		f.tally.File, f.tally.Number, f.tally.Offset = f.cur.name, f.cur.number, uint64(f.cur.fp.offset)
	}
	f.tally.Trouble = f.complaints.trouble()
	if f.cur == nil && f.from.IsZero() && errors.Is(f.tally.Trouble.Err, fs.ErrNotExist) {
		f.tally.Trouble = Trouble{} // the stream has no logs yet
	}
	f.mu.Lock()
	f.shared, f.zeros, f.ends = f.tally, 0, f.left
	if f.cur != nil {
		f.zeros = max(0, f.cur.size-f.cur.dataEnd())
	}
	f.mu.Unlock()
}

// noteOlder counts and logs that the log being read is now in an older state than what was read.
func (f *Follower) noteOlder() {
	f.tally.Truncations++
	f.log.Warn("data log: the log lost its end, or an older copy took its place; "+
		"reading goes on where the copy ends",
		"file", f.cur.name, "size", f.cur.size, "offset", f.cur.fp.offset)
}

// setCurrent closes the log being read and makes l the one that is read.
func (f *Follower) setCurrent(l *logFile) {
	f.mu.Lock()
	before := f.open
	f.cur, f.open = l, l
	f.mu.Unlock()
	if before != nil {
		before.close()
	}
}

func (f *Follower) keepWatch() {
	if f.opt.noWatch {
		return
	}
	if err := f.watch.keep(); err != nil {
		f.complaints.report(watching, f.opt.Dir, err)
	} else {
		f.complaints.clear(watching)
	}
}
