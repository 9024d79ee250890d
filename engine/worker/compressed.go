package worker

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"distributor/mmaplog/compressedlog"
	"distributor/mmaplog/framelog"
)

// compressedPatience is how long clients wait for a compressed log that does not grow while the
// frame log does. Then they get plain frames. Tests with a real compressor make it longer, because
// the compressor may stand still on a busy machine.
var compressedPatience = time.Second

// compressedLog is the compressed log as the loop last saw it.
type compressedLog struct {
	dir     string
	reader  *compressedlog.Reader // nil: there is no compressed log, or none that can be read
	grown   time.Time             // when the loop last saw that it had grown, or had reached the head
	stalled bool                  // it has not grown for compressedPatience
	changed bool                  // reader was opened or closed since the last turn
}

// compressedPlace is the offset at in the log of reader that stands for the offset cursor in the
// frame log.
type compressedPlace struct {
	at, cursor uint64
	reader     *compressedlog.Reader
}

// followCompressed changes to the compressed log in dir; "" means that there is none.
func (l *loop) followCompressed(dir string) {
	t := &l.compressed
	if dir == t.dir {
		return
	}
	l.leaveCompressed()
	t.dir = dir
	if dir == "" {
		return
	}
	r, err := compressedlog.Open(dir)
	if errors.Is(err, framelog.ErrNoLog) {
		return // the compressed log has ended already, and the next message says so
	}
	if err != nil {
		l.log.Error("cannot open the compressed log; its clients get plain frames",
			"dir", dir, "error", err)
		return
	}
	t.reader, t.grown, t.stalled = r, l.now, false
	l.refreshCompressed()
	t.changed = true
}

// leaveCompressed makes the clients of the compressed log go on with plain frames.
func (l *loop) leaveCompressed() {
	t := &l.compressed
	if t.reader != nil {
		_ = t.reader.Close()
		t.reader = nil
	}
	t.changed = true
	l.again()
}

// compressedFailed handles an error of reading the compressed log. If its floor has passed a client
// since the last turn, it stays in use for the others. If its directory is gone, it has ended, and
// the primary is about to say so. Any other error is damage: the compressor meets it too, or the
// next compressed log is better.
func (l *loop) compressedFailed(err error) {
	if errors.Is(err, framelog.ErrBelowFloor) {
		return
	}
	level := slog.LevelError
	if _, err := os.Stat(l.compressed.dir); errors.Is(err, fs.ErrNotExist) {
		level = slog.LevelInfo
	}
	l.log.Log(context.Background(), level,
		"cannot read the compressed log; its clients get plain frames",
		"dir", l.compressed.dir, "error", err)
	l.leaveCompressed()
}

// refreshCompressed reads how far the compressed log reaches now, and tells whether its clients may
// have something new.
func (l *loop) refreshCompressed() bool {
	t := &l.compressed
	changed := t.changed
	t.changed = false
	if t.reader == nil {
		return changed
	}
	grown, err := t.reader.Refresh()
	if err != nil {
		l.compressedFailed(err)
		return true
	}
	if grown || t.reader.End() >= l.head {
		t.grown = l.now
	}
	stalled := l.now.Sub(t.grown) >= compressedPatience
	changed = changed || grown || stalled != t.stalled
	t.stalled = stalled
	return changed
}

// serves tells whether a client at cursor, a frame boundary, is sent compressed frames next, or
// waits for them.
func (t *compressedLog) serves(cursor uint64) bool {
	r := t.reader
	return r != nil && !t.stalled && cursor >= r.Start() && r.Start() != r.End()
}
