package datalog

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Zero bytes are no text: they stand where nothing was written yet (room that was allocated ahead,
// a hole), or where a crash of the archiver's machine has taken what was written. They are never
// part of a record.

var errStale = errors.New("datalog: the mapping is not what the file holds")

// hole describes zero bytes with other bytes behind them. The Follower waits for them to be
// overwritten.
type hole struct {
	upTo  int64 // zero bytes below it were seen at since
	since time.Time
	held  bool // reading waits for the zero bytes at the offset
}

// overwritten looks again at the zero bytes that the file ended in, because something has changed.
func (l *logFile) overwritten() error {
	if l.zerosAt < 0 || l.zerosAt >= l.size {
		l.zerosAt = -1
		return nil
	}
	var first [1]byte
	if err := readAt(l.file, first[:], l.zerosAt); err != nil {
		return err
	}
	if first[0] != 0 {
		l.searched = min(l.searched, l.zerosAt)
	}
	if l.searched < l.size {
		l.zerosAt = -1
	}
	return nil
}

// endsInZeros finds out whether the file, in which no line is whole, ends in zero bytes; and
// whether the mapping tells the truth about its end.
func (l *logFile) endsInZeros() error {
	if l.size == l.fp.offset || l.zerosAt >= 0 {
		return nil
	}
	var last, mapped [1]byte
	if err := readAt(l.file, last[:], l.size-1); err != nil {
		return err
	}
	m, err := l.win.view(l.file, l.size-1, l.size)
	if err == nil {
		err = copyMapped(mapped[:], m)
	}
	if err != nil {
		return err
	}
	if mapped != last {
		return errStale
	}
	if last[0] != 0 {
		return nil
	}
	if l.zerosAt, err = l.zeroIn(l.fp.offset, l.size); err != nil {
		l.zerosAt = -1
		return err
	}
	l.seen = min(l.seen, max(l.zerosAt, l.fp.offset))
	return nil
}

// zeroIn returns the offset of the first zero byte in [from, to), or -1.
func (l *logFile) zeroIn(from, to int64) (int64, error) {
	for at := from; at < to; at += searchBytes {
		m, err := l.win.view(l.file, at, min(to, at+searchBytes))
		if err != nil {
			return -1, err
		}
		if i, err := findByte(m, 0); err != nil || i >= 0 {
			return at + int64(i), err
		}
	}
	return -1, nil
}

// zerosEnd returns the end of the zero bytes that begin at an offset, at most to.
func (l *logFile) zerosEnd(from, to int64) (int64, error) {
	for at := from; at < to; at += searchBytes {
		if at = l.skipHole(at, to); at == to {
			break
		}
		m, err := l.win.view(l.file, at, min(to, at+searchBytes))
		if err != nil {
			return 0, err
		}
		if n, err := leadingZeros(m); err != nil || n < len(m) {
			return at + int64(n), err
		}
	}
	return to, nil
}

// skipHole returns where the hole of the file ends in which an offset lies, at most to. Bytes that
// were never written need not be read to be known as zero: gigabytes of them cost seconds.
func (l *logFile) skipHole(from, to int64) int64 {
	data, err := unix.Seek(l.fd, from, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // no data up to the end of the file
		return to
	case err != nil: // not known in this file system
		return from
	}
	return min(max(data, from), to)
}

// passHole skips the zero bytes inside a line, and the bytes before them in the line, which no
// writer will complete. end is the end of the line, or of a later one.
func (l *logFile) passHole(zero, end int64) (outcome, error) {
	to, err := l.zerosEnd(zero, end)
	if err != nil {
		return l.retry(err)
	}
	now := l.now()
	if to > l.hole.upTo {
		l.hole.upTo, l.hole.since = l.size, now
	}
	if l.hole.held = now.Sub(l.hole.since) < l.linger; l.hole.held {
		return idle, nil
	}
	l.lose(to - max(l.fp.offset, l.had, l.passed))
	if err := l.seek(to); err != nil {
		return l.cutShort(err)
	}
	l.trail.add(l.fp.offset, l.fp.check())
	return zeros, nil
}
