package deflate

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"distributor/mmaplog/bell"
	"distributor/mmaplog/framelog"
)

const (
	// lingerFor is how long a twin is kept after its last client: one that comes back finds it.
	lingerFor = 10 * time.Second
	// lookEvery is how soon a full disk is noticed.
	lookEvery = time.Second
	// The pause after a life that ended early is doubled each time, and forgotten after a life of long.
	firstPause = time.Second
	lastPause  = 30 * time.Second
	longLife   = time.Minute
)

// Options say what a Compressor works with. All are needed.
type Options struct {
	Dir    string // of the twins, and of nothing else; removed when there is none
	Frames string // directory of the frame log
	Level  int    // see SetLevel
	// SegmentBytes and RetainBytes are the twin's (framelog.Options).
	SegmentBytes, RetainBytes int64
	// Backlog is how many bytes of the frame log a twin may be behind.
	Backlog int64
	// Announce is told the directory of a new twin, before anything is in it, and "" before one is removed.
	Announce func(dir string)
	// Grown takes a value when the frame log has grown.
	Grown <-chan struct{}
	// Readers of the twin are woken after frames have been added to it. A twin is wanted while
	// there are any: the workers with clients that can have compressed frames.
	Readers *bell.Set
	// Blocked tells why the frame log takes no frames at present, nil if it does.
	Blocked func() error
	Log     *slog.Logger
}

// Compressor keeps the twin. See the package's description.
type Compressor struct {
	o      Options
	level  atomic.Int64
	lives  uint64        // begun so far
	kick   chan struct{} // capacity 1: the level has changed
	linger time.Duration
	pause  time.Duration // the first

	alive                 atomic.Bool
	lag                   atomic.Uint64
	frames, in, out, same atomic.Uint64
	ends                  [len(Ends)]atomic.Uint64
}

// Stats are figures for operators. Counts are since New. GET /status shows the members that have a
// JSON name.
type Stats struct {
	Alive    bool           `json:"active"`   // there is a twin
	Frames   uint64         `json:"frames"`   // compressed
	InBytes  uint64         `json:"inBytes"`  // of the frames that a twin was made of
	OutBytes uint64         `json:"outBytes"` // of the frames in it
	Same     uint64         `json:"unshrunk"` // of Frames, those that did not get smaller
	Lag      uint64         `json:"lag"`      // bytes that the twin is behind; 0 without one
	Ends     map[End]uint64 `json:"-"`        // twins that ended early, every reason from the start
}

// End is why a twin ended early, a metric label and log key.
type End string

// Ends are all there are.
var Ends = [...]End{EndBehind, EndFull, EndFailed}

// Why a twin ends early.
const (
	EndBehind End = "behind"  // it was too far behind the frame log
	EndFull   End = "no_room" // the disk is full
	EndFailed End = "failed"  // anything else; the log says it
)

// New removes what an earlier process has left in o.Dir. Nothing runs before Run.
func New(o Options) (*Compressor, error) {
	if err := os.RemoveAll(o.Dir); err != nil {
		return nil, fmt.Errorf("deflate: remove what was left of a twin: %w", err)
	}
	c := &Compressor{o: o, kick: make(chan struct{}, 1), linger: lingerFor, pause: firstPause}
	c.level.Store(int64(o.Level))
	return c, nil
}

// SetLevel sets how hard it tries, from wsproto.MinDeflateLevel to MaxDeflateLevel; 0: not at all. It holds from the next
// frame on.
func (c *Compressor) SetLevel(n int) {
	c.level.Store(int64(n))
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Stats are those of now.
func (c *Compressor) Stats() Stats {
	s := Stats{
		Alive: c.alive.Load(), Frames: c.frames.Load(), InBytes: c.in.Load(), OutBytes: c.out.Load(), Same: c.same.Load(),
		Lag: c.lag.Load(), Ends: make(map[End]uint64, len(Ends)),
	}
	for i, end := range Ends {
		s.Ends[end] = c.ends[i].Load()
	}
	return s
}

func (c *Compressor) wanted() bool { return c.o.Readers.Filled() && c.level.Load() > 0 }

// Run works until ctx ends. Afterwards there is no twin; it may be called again.
func (c *Compressor) Run(ctx context.Context) {
	pause := c.pause
	for ctx.Err() == nil {
		if !c.wanted() {
			select {
			case <-c.kick:
			case <-c.o.Readers.Changed():
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		end, err := c.live(ctx)
		if err == nil {
			continue
		}
		c.count(end)
		if time.Since(began) >= longLife {
			pause = c.pause
		}
		level := slog.LevelWarn
		if end == EndBehind { // with much to do for those who ask
			level = slog.LevelInfo
		}
		c.o.Log.Log(ctx, level, "collectors that asked for compressed frames get plain ones for a while",
			"reason", string(end), "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, lastPause)
	}
}

func (c *Compressor) count(end End) {
	for i, one := range Ends {
		if one == end {
			c.ends[i].Add(1)
		}
	}
}

// live is one twin from its making to its removal. An error says why it ended early.
func (c *Compressor) live(ctx context.Context) (end End, err error) {
	if err := c.o.Blocked(); err != nil {
		return EndFull, err
	}
	c.lives++
	dir := filepath.Join(c.o.Dir, strconv.FormatUint(c.lives, 10))
	if err := os.RemoveAll(c.o.Dir); err != nil { // another primary may have begun to take over, and failed
		return EndFailed, fmt.Errorf("deflate: remove what was left of a twin: %w", err)
	}
	defer func() {
		// The rename ends the twin in one step: a worker that does not find a file tells by the
		// directory's name whether the twin has ended or is damaged.
		_ = os.Rename(dir, dir+"-ended")
		if err := os.RemoveAll(c.o.Dir); err != nil {
			c.o.Log.Error("the twin of the frame log cannot be removed", "error", err)
		}
	}()
	log, _, err := framelog.OpenWriter(framelog.Options{
		Dir: dir, SegmentBytes: c.o.SegmentBytes, RetainBytes: c.o.RetainBytes, Transient: true, Log: c.o.Log,
	})
	if err != nil {
		return endOf(err), fmt.Errorf("deflate: make a twin: %w", err)
	}
	defer log.Close() // nothing of it is wanted any more
	frames, err := framelog.OpenReader(c.o.Frames)
	if err != nil {
		return EndFailed, fmt.Errorf("deflate: read the frame log: %w", err)
	}
	defer frames.Close()

	f := follower{c: c, frames: frames, twin: log, at: frames.Head()}
	c.alive.Store(true)
	c.o.Announce(dir)
	defer func() {
		c.alive.Store(false)
		c.lag.Store(0)
		c.o.Announce("")
	}()
	if err = f.follow(ctx); err != nil {
		return endOf(err), err
	}
	return "", nil
}
