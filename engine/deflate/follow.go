package deflate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"distributor/mmaplog/compressedlog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

const (
	// sliceBytes is how much of the frame log is compressed before it is sent: less than a
	// millisecond's work.
	sliceBytes = 64 << 10
	// keptBytes is how much memory each buffer keeps for the next slice.
	keptBytes = 4 * sliceBytes
	// maxCompressed is the longest compressed frame. Longer frames stay plain, because a worker has to
	// keep the rest of a compressed frame that a client's socket accepted in part.
	maxCompressed = 1 << 20
)

var errBehind = errors.New("deflate: too far behind the frame log")

func endOf(err error) End {
	switch {
	case errors.Is(err, errBehind), errors.Is(err, framelog.ErrBelowFloor):
		return EndBehind
	case errors.Is(err, framelog.ErrNoSpace):
		return EndFull
	}
	return EndFailed
}

// follower makes the frames of one compressed log.
type follower struct {
	c          *Compressor
	frames     *framelog.Reader
	compressed *framelog.Writer
	at         uint64 // the frame log is compressed up to this offset
	level      int64  // the level of deflater
	deflater   *wsproto.Deflater
	plain      []byte    // frames to compress
	made       []byte    // compressed frames: the compressed log borrows them until the commit
	alone      time.Time // since when there is no client; zero while there is one
}

// follow compresses new frames until no client wants them anymore or ctx ends; then it returns nil.
func (f *follower) follow(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		level := f.c.level.Load()
		if level == 0 || f.idle() {
			return nil
		}
		behind := f.frames.Head() - f.at
		f.c.lag.Store(behind)
		if behind > uint64(f.c.o.Backlog) {
			return fmt.Errorf("%w: %d bytes", errBehind, behind)
		}
		if behind > 0 {
			if err := f.slice(level); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-f.c.kick:
		case <-f.c.o.Grown:
		case <-f.c.o.Readers.Changed():
		case <-look.C:
			if err := f.c.o.Blocked(); err != nil {
				return fmt.Errorf("%w: %w", framelog.ErrNoSpace, err)
			}
		}
	}
	return nil
}

// idle reports whether there has been no client for long enough.
func (f *follower) idle() bool {
	switch {
	case f.c.o.Readers.Filled():
		f.alone = time.Time{}
	case f.alone.IsZero():
		f.alone = time.Now()
	}
	return !f.alone.IsZero() && time.Since(f.alone) >= f.c.linger
}

// slice compresses the next frames and wakes the workers that send them.
func (f *follower) slice(level int64) error {
	if err := f.setLevel(level); err != nil {
		return err
	}
	if err := f.read(); err != nil {
		return err
	}
	for rest := f.plain; len(rest) > 0; {
		n, err := wsproto.TextFrameSize(rest)
		if err != nil {
			return fmt.Errorf("deflate: frame log at %d: %w", f.at, err)
		}
		if err := f.frame(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if err := f.compressed.Commit(); err != nil {
		return fmt.Errorf("deflate: compressed log: %w", err)
	}
	f.made = f.made[:0]
	f.giveBack()
	f.c.o.Readers.Ring()
	return nil
}

// giveBack releases the memory that a long frame needed.
func (f *follower) giveBack() {
	if cap(f.plain) > keptBytes {
		// level 0 makes the next slice replace the deflater, which holds a long buffer
		f.plain, f.level = nil, 0
	}
	if cap(f.made) > keptBytes {
		f.made = nil
	}
}

// read copies whole frames into plain. It copies, because the file may be truncated under the
// mapping.
func (f *follower) read() (err error) {
	if f.plain, err = f.frames.AppendFrames(f.plain[:0], f.at, sliceBytes); err != nil {
		return fmt.Errorf("deflate: frame log: %w", err)
	}
	if len(f.plain) < sliceBytes {
		return nil
	}
	// The last frame is incomplete if it is longer than that.
	end, err := f.frames.FrameEnd(f.at + uint64(len(f.plain)))
	if err == nil && end > f.at+uint64(len(f.plain)) {
		f.plain, err = f.frames.AppendFrames(f.plain[:0], f.at, int(end-f.at))
	}
	if err != nil {
		return fmt.Errorf("deflate: frame log: %w", err)
	}
	return nil
}

func (f *follower) frame(plain []byte) error {
	made, err := f.deflater.Frame(plain)
	if err != nil {
		return fmt.Errorf("deflate: frame log at %d: %w", f.at, err)
	}
	kind := compressedlog.Other
	if made == nil || len(made) > maxCompressed {
		made, kind = plain, compressedlog.Same
		f.c.same.Add(1)
	} else {
		f.made = append(f.made, made...) // if this reallocates, the borrowed frames stay unchanged
		made = f.made[len(f.made)-len(made):]
	}
	span := compressedlog.Span{Start: f.at, End: f.at + uint64(len(plain))}
	if err := compressedlog.Append(f.compressed, made, kind, span); err != nil {
		return fmt.Errorf("deflate: compressed log: %w", err)
	}
	f.at = span.End
	f.c.frames.Add(1)
	f.c.in.Add(uint64(len(plain)))
	f.c.out.Add(uint64(len(made)))
	return nil
}

// setLevel makes a Deflater of the requested level.
func (f *follower) setLevel(level int64) (err error) {
	if level != f.level {
		f.deflater, err = wsproto.NewDeflater(int(level))
		f.level = level
	}
	return err
}
