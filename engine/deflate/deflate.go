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
	// lingerFor is how long a compressed log is kept after its last client, so that a client that
	// reconnects finds it.
	lingerFor = 10 * time.Second
	// lookEvery is how often the disk is checked for room.
	lookEvery = time.Second
	// The pause after an early end doubles each time. A life of longLife resets it to firstPause.
	firstPause = time.Second
	lastPause  = 30 * time.Second
	longLife   = time.Minute
)

// Options are the inputs of a Compressor. All are required.
type Options struct {
	Dir    string // directory of the compressed logs only; removed when there is none
	Frames string // directory of the frame log
	Level  int    // see SetLevel
	// SegmentBytes and RetainBytes are the options of the compressed log (framelog.Options).
	SegmentBytes, RetainBytes int64
	// Backlog is how many bytes a compressed log may be behind the frame log.
	Backlog int64
	// Announce is called with the directory of a new compressed log before the first frame is in it,
	// and with "" before a compressed log is removed.
	Announce func(dir string)
	// Grown receives a value when the frame log has grown.
	Grown <-chan struct{}
	// Readers are the workers with clients that can receive compressed frames. They are woken after
	// frames have been added. A compressed log is wanted while there are any.
	Readers *bell.Set
	// Blocked returns why the frame log accepts no frames at present, or nil if it does.
	Blocked func() error
	Log     *slog.Logger
}

// Compressor makes and fills the compressed log. See the package documentation.
type Compressor struct {
	o      Options
	level  atomic.Int64
	lives  uint64        // compressed logs made so far
	kick   chan struct{} // capacity 1: the level has changed
	linger time.Duration
	pause  time.Duration // the first pause

	alive                 atomic.Bool
	lag                   atomic.Uint64
	frames, in, out, same atomic.Uint64
	ends                  [len(Ends)]atomic.Uint64
}

// Stats are figures for operators, counted since New. GET /status shows the members that have a
// JSON name.
type Stats struct {
	Alive    bool   `json:"active"`   // a compressed log exists
	Frames   uint64 `json:"frames"`   // frames compressed
	InBytes  uint64 `json:"inBytes"`  // bytes of these frames before compression
	OutBytes uint64 `json:"outBytes"` // bytes of these frames in the compressed log
	Same     uint64 `json:"unshrunk"` // of Frames, those that did not get smaller
	Lag      uint64 `json:"lag"`      // bytes that the compressed log is behind; 0 without one
	// early ends by reason; every reason is present from the start
	Ends map[End]uint64 `json:"-"`
}

// End is why a compressed log ended early. It is a metric label and an attribute of the log.
type End string

// Ends are all reasons.
var Ends = [...]End{EndBehind, EndFull, EndFailed}

// Reasons for which a compressed log ends early.
const (
	EndBehind End = "behind"  // the compressed log was too far behind the frame log
	EndFull   End = "no_room" // the disk is full
	EndFailed End = "failed"  // any other error, which is logged
)

// New removes the files that an earlier process has left in o.Dir, and returns a Compressor.
// Nothing runs before Run.
func New(o Options) (*Compressor, error) {
	if err := os.RemoveAll(o.Dir); err != nil {
		return nil, fmt.Errorf("deflate: remove the files of an earlier compressed log: %w", err)
	}
	c := &Compressor{o: o, kick: make(chan struct{}, 1), linger: lingerFor, pause: firstPause}
	c.level.Store(int64(o.Level))
	return c, nil
}

// SetLevel sets the compression level, from wsproto.MinDeflateLevel to wsproto.MaxDeflateLevel,
// from the next frame on; 0 turns compression off.
func (c *Compressor) SetLevel(n int) {
	c.level.Store(int64(n))
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Stats returns the present figures.
func (c *Compressor) Stats() Stats {
	s := Stats{
		Alive: c.alive.Load(), Frames: c.frames.Load(), InBytes: c.in.Load(), OutBytes: c.out.Load(),
		Same: c.same.Load(),
		Lag:  c.lag.Load(), Ends: make(map[End]uint64, len(Ends)),
	}
	for i, end := range Ends {
		s.Ends[end] = c.ends[i].Load()
	}
	return s
}

func (c *Compressor) wanted() bool { return c.o.Readers.Filled() && c.level.Load() > 0 }

// Run makes and fills compressed logs until ctx ends. When Run returns, there is none. Run may be
// called again.
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
		if end == EndBehind { // expected while the distributor catches up
			level = slog.LevelInfo
		}
		c.o.Log.Log(ctx, level, "compression is paused; collectors that negotiated it get plain frames",
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

// live makes a compressed log, fills it, and removes it. An error says why it ended early.
func (c *Compressor) live(ctx context.Context) (end End, err error) {
	if err := c.o.Blocked(); err != nil {
		return EndFull, err
	}
	c.lives++
	dir := filepath.Join(c.o.Dir, strconv.FormatUint(c.lives, 10))
	// a new process may have started a handover and failed
	if err := os.RemoveAll(c.o.Dir); err != nil {
		return EndFailed, fmt.Errorf("deflate: remove the files of an earlier compressed log: %w", err)
	}
	defer func() {
		// The rename ends the compressed log in one step: a worker that does not find a file sees from
		// the directory's name whether the compressed log has ended or is damaged.
		_ = os.Rename(dir, dir+"-ended")
		if err := os.RemoveAll(c.o.Dir); err != nil {
			c.o.Log.Error("the compressed log cannot be removed", "error", err)
		}
	}()
	log, _, err := framelog.OpenWriter(framelog.Options{
		Dir: dir, SegmentBytes: c.o.SegmentBytes, RetainBytes: c.o.RetainBytes, Transient: true,
		Log: c.o.Log,
	})
	if err != nil {
		return endOf(err), fmt.Errorf("deflate: make the compressed log: %w", err)
	}
	defer log.Close() // an error does not matter, because the files are removed
	frames, err := framelog.OpenReader(c.o.Frames)
	if err != nil {
		return EndFailed, fmt.Errorf("deflate: read the frame log: %w", err)
	}
	defer frames.Close()

	f := follower{c: c, frames: frames, compressed: log, at: frames.Head()}
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
