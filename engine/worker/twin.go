package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"distributor/mmaplog/framelog"
	"distributor/mmaplog/twin"
)

// twinPatience is for how long a twin that does not grow, though the frame log
// does, is waited for: clients that use it get plain frames then. Tests with a
// real compressor make it longer, because on a busy machine it may stand.
var twinPatience = time.Second

// twinView is the frame log's twin as the loop last saw it.
type twinView struct {
	dir     string
	reader  *twin.Reader // nil: there is none, or none that can be read
	grown   time.Time    // when it last grew, or had all there was
	stalled bool
	changed bool // it came or went since the last turn
}

// followTwin goes over to the twin in dir; "": there is none any more.
func (l *loop) followTwin(dir string) {
	t := &l.twin
	if dir == t.dir {
		return
	}
	l.leaveTwin()
	t.dir = dir
	if dir == "" {
		return
	}
	r, err := twin.Open(dir)
	if errors.Is(err, framelog.ErrNoLog) {
		return // it has ended already, and the next message says so
	}
	if err != nil {
		l.log.Error("the twin of the frame log cannot be used", "error", err)
		return
	}
	t.reader, t.grown, t.stalled = r, l.now, false
	l.lookAtTwin()
	t.changed = true
}

// leaveTwin has the clients of the twin go on with plain frames.
func (l *loop) leaveTwin() {
	t := &l.twin
	if t.reader != nil {
		_ = t.reader.Close()
		t.reader = nil
	}
	t.changed = true
	l.again()
}

// spoilt handles an error of reading the twin. If the twin's floor has passed a client since the
// last turn, the twin stays in use for the others. If the twin's directory is gone, the twin has
// ended, and the primary is about to say so. Any other error is damage: the compressor meets it
// too, or the next twin is better.
func (l *loop) spoilt(err error) {
	if errors.Is(err, framelog.ErrBelowFloor) {
		return
	}
	level := slog.LevelError
	if _, err := os.Stat(l.twin.dir); errors.Is(err, fs.ErrNotExist) {
		level = slog.LevelInfo
	}
	l.log.Log(context.Background(), level, "the twin of the frame log is not used any more",
		"dir", l.twin.dir, "error", err)
	l.leaveTwin()
}

// lookAtTwin says whether there is something new for the clients that use it.
func (l *loop) lookAtTwin() bool {
	t := &l.twin
	changed := t.changed
	t.changed = false
	if t.reader == nil {
		return changed
	}
	grown, err := t.reader.Refresh()
	if err != nil {
		l.spoilt(err)
		return true
	}
	if grown || t.reader.End() >= l.head {
		t.grown = l.now
	}
	stalled := l.now.Sub(t.grown) >= twinPatience
	changed = changed || grown || stalled != t.stalled
	t.stalled = stalled
	return changed
}

// serves says whether a client at cursor, a frame boundary, gets what is next
// from the twin, or waits for it.
func (t *twinView) serves(cursor uint64) bool {
	return t.reader != nil && !t.stalled && cursor >= t.reader.Start() && t.reader.Start() != t.reader.End()
}

// reach is the offset up to which c can be sent to now.
func (l *loop) reach(c *client) uint64 {
	if c.deflate && !c.inside && l.twin.serves(c.cursor) {
		return l.twin.reader.End()
	}
	return l.head
}

// sendTwin is sendData from the twin. It is for a client at a frame boundary,
// and leaves it at one: of a compressed frame that the socket took in part the
// rest goes to c.out, so that the twin may go at any time. used is false where
// the twin turns out not to have what comes next.
func (l *loop) sendTwin(c *client, limit int, room uint64) (sent int, used bool, err error) {
	r := l.twin.reader
	if c.cursor >= r.End() {
		return 0, true, nil // it comes
	}
	at, used := c.twinAt, true
	if c.twinOf != c.cursor || c.twinIn != r {
		at, used, err = r.At(c.cursor)
	}
	// Room is counted in the frame log, and ends where a frame does.
	var end uint64
	if used && err == nil {
		end, used, err = r.At(c.cursor + min(room, r.End()-c.cursor))
	}
	var b []byte
	if used && err == nil {
		b, err = r.Frames(at, int(min(uint64(limit), end-at)))
	}
	if err != nil {
		l.spoilt(err)
		return 0, false, nil
	}
	if !used {
		return 0, false, nil
	}
	n, _, err := l.sendPinging(c, b, c.cursor+min(room, r.End()-c.cursor), r, at)
	if errors.Is(err, errGone) {
		return 0, true, err
	} else if err != nil { // EFAULT, or a place of a ping that cannot be looked up
		l.spoilt(err)
		return 0, false, nil
	}
	c.twinAt, c.twinOf, c.twinIn = at, c.cursor, r
	if n == 0 {
		return 0, true, nil
	}
	rest, err := l.settle(c, at+uint64(n))
	if err != nil {
		// What it was given cannot be told any more: it comes back.
		c.inside = true
		return n, true, fmt.Errorf("worker: a place in the twin: %v", err)
	}
	return n + rest, true, nil
}

// settle notes that c was given the twin up to at, which may be inside of a
// frame: then it sees to the rest, and returns how much that is.
func (l *loop) settle(c *client, at uint64) (int, error) {
	r := l.twin.reader
	p, err := r.Given(at)
	if err != nil {
		return 0, err
	}
	rest := int(p.At - at)
	switch {
	case rest == 0:
	case p.Kind == twin.Same: // the frame log has the same bytes
		c.cursor, c.inside = p.End-uint64(rest), true
		return 0, nil
	default:
		if c.out, err = r.AppendGiven(c.out, at, rest); err != nil {
			return 0, err
		}
	}
	c.cursor, c.twinAt, c.twinOf = p.End, p.At, p.End
	return rest, nil
}
