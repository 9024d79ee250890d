package datalog

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Zero bytes are never part of a record. They are in places that were not written yet (allocated
// space, a hole), or whose bytes a crash of the archiver's machine has removed.

// errStale means that the mapping differs from the file.
var errStale = errors.New("datalog: the mapping is not what the file holds")

// hole describes zero bytes with other bytes after them. The Follower waits until they are
// overwritten, or until linger has passed.
type hole struct {
	upTo  int64 // zero bytes before upTo were there at since
	since time.Time
	held  bool // reading waits for the zero bytes at the offset
}

// overwritten checks, after a change of the file, whether the zero bytes at its end were written.
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

// endsInZeros sets zerosAt if the file, which has no whole line, ends in zero bytes. It returns
// errStale if the mapping differs from the file at its end.
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

// zerosEnd returns the end of the zero bytes that begin at from, at most to.
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

// skipHole returns the end of the file's hole at from, at most to; from itself if there is none.
// Bytes of a hole need not be read: gigabytes of them would cost seconds.
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

// passHole skips the zero bytes inside a line, and the bytes of the line before them, because no
// writer will complete that line. end is the end of this line or of a later one.
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
