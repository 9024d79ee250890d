package datalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// searchBytes is how far one step looks for the end of a long line.
const searchBytes = 4 << 20

// outcome is the result of one read of a log.
type outcome uint8

const (
	idle      outcome = iota // no whole line for now
	advanced                 // read again: lines (maybe blank) were taken, or the file changed
	truncated                // the file is an older state of itself; reading goes on where they differ
	rewritten                // other content in the same file; reading goes on at its beginning
	zeros                    // zero bytes inside a line were skipped, with the bytes before them
)

// logFile is one open data log, and the offset up to which it was read. It does not depend on other
// logs.
type logFile struct {
	number uint32
	name   string // without "old-"
	path   string // of that name, whether or not the file has it now
	id     fileID
	file   *os.File
	fd     int
	win    window
	fp     fingerprint // of what is before fp.offset, the first byte not yet taken
	ended  bool        // the last line before the offset that is not blank is a trailer
	trail  trail       // of what was read, also beyond the offset after a cut

	size     int64     // from the last stat
	mtime    time.Time // from the last stat
	searched int64     // no newline in [offset, searched)
	zerosAt  int64     // start of the zero bytes at the end of the file; -1: none
	seen     int64     // size, without such zero bytes, when the file last had all that was read
	had      int64     // after a cut: bytes before had were delivered, even beyond the offset
	passed   int64     // the furthest offset that was read of this content
	guessed  bool      // no record before the offset proves that reading goes on at the offset
	torn     int64     // after a cut: end of the file then, in the line that begins at the offset
	cutAt    int64     // the bytes of cutLost were beyond this offset; 0: cutLost is 0
	cutLost  int64     // unread bytes that a cut removed, after lines that are still to be read
	lost     loss      // the caller of read reports and clears it
	hole     hole      // zero bytes with other bytes after them

	maxLine int
	linger  time.Duration
	now     func() time.Time
	seam    seam
}

// loss describes bytes that were seen in a file and not read, and that a cut or other content
// removed.
type loss struct {
	after Position
	bytes int64
}

// openLog opens a log at its beginning.
func openLog(path string, number uint32) (*logFile, error) {
	// Not blocking: a FIFO of that name must not block the Follower.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("datalog: open log: %w", err)
	}
	l := &logFile{number: number, file: file, fd: int(file.Fd()), now: time.Now}
	st, err := l.stat()
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("datalog: %s is no regular file", path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	l.id = idOfStat(&st)
	l.mtime = time.Unix(st.Mtim.Unix())
	l.size, l.seen, l.zerosAt = st.Size, st.Size, -1
	return l, nil
}

func (l *logFile) close() {
	l.win.close()
	l.file.Close() // opened for reading: nothing can be lost here
}

func (l *logFile) stat() (st unix.Stat_t, err error) {
	if err = unix.Fstat(l.fd, &st); err != nil {
		return st, fmt.Errorf("datalog: stat log: %w", err)
	}
	return st, nil
}

// position returns where reading goes on.
func (l *logFile) position() Position {
	return Position{Number: l.number, Time: uint32(l.mtime.Unix()), Inode: l.id.ino,
		Offset: uint64(l.fp.offset), Check: l.fp.check()}
}

// seek goes to an offset within the file. The bytes before the offset count as read.
func (l *logFile) seek(offset int64) error {
	fp, err := fingerprintAt(l.file, offset)
	if err != nil {
		return err
	}
	ended, err := endsWithTrailer(l.file, offset)
	if err != nil {
		return err
	}
	l.fp, l.ended, l.searched, l.zerosAt, l.torn = fp, ended, offset, -1, 0
	l.passed = max(l.passed, offset)
	return nil
}

// matches reports whether p may be a position in this file: the file is long enough, and has the
// same bytes before p.
func (l *logFile) matches(p Position) (bool, error) {
	if p.Number != l.number || p.Offset > uint64(l.size) {
		return false, nil
	}
	fp, err := fingerprintAt(l.file, int64(p.Offset))
	if errors.Is(err, io.EOF) { // cut just now
		return false, nil
	}
	return err == nil && fp.fits(p.Check), err
}

// begins reports whether the file is shorter than p and begins like the log of p.
func (l *logFile) begins(p Position) (bool, error) {
	head := min(int64(p.Offset), headBytes)
	if p.Number != l.number || p.Offset <= uint64(l.size) || l.size < head {
		return false, nil
	}
	fp, err := fingerprintAt(l.file, head)
	if errors.Is(err, io.EOF) { // cut just now
		return false, nil
	}
	return err == nil && fp.sumAt(head)>>32 == p.Check>>32, err
}

// read takes the next whole lines into b, as many as fit. It never waits.
func (l *logFile) read(b *Batch) (outcome, error) {
	st, err := l.stat()
	if err != nil {
		return idle, err
	}
	unchanged := st.Size == l.size && time.Unix(st.Mtim.Unix()).Equal(l.mtime)
	l.size, l.mtime = st.Size, time.Unix(st.Mtim.Unix())
	l.shrunk()
	if l.size < l.fp.offset {
		return l.cut()
	}
	if unchanged && l.searched == l.size && l.cutAt == 0 && !l.hole.held {
		return idle, nil
	}
	l.seam.at("sized")
	end, err := l.extent()
	if err != nil {
		return l.retry(err)
	}
	if l.cutAt > 0 {
		// Lines that the cut has left come first, then the gap, then what was appended since.
		left, err := lineStart(l.file, min(l.cutAt, l.size))
		if err != nil {
			return l.cutShort(err)
		}
		if left <= l.fp.offset {
			l.lose(l.cutLost)
			l.cutAt, l.cutLost = 0, 0
			return advanced, nil
		}
		end = min(end, left)
	}
	if end == l.fp.offset {
		return l.verify(idle)
	}
	if max(l.trail.end(), l.torn) > l.fp.offset {
		return l.rejoin(end)
	}
	// extent takes a line longer than a batch alone. A line over the limit is skipped without a
	// copy. (One more byte may be a carriage return.)
	if length := end - l.fp.offset - 1; length > batchBytes && length > int64(l.maxLine)+1 {
		return l.passOversized(b, end)
	}
	return l.take(b, end)
}

// passOversized skips a line that is longer than MaxLine.
func (l *logFile) passOversized(b *Batch, end int64) (outcome, error) {
	out, err := l.verify(advanced)
	if out != advanced || err != nil {
		return out, err
	}
	// A hole is no part of a line: the record after the hole must be read.
	if zero, err := l.zeroIn(l.fp.offset, end); err != nil {
		return l.retry(err)
	} else if zero >= 0 {
		return l.passHole(zero, end)
	}
	b.oversized++
	return advanced, l.seek(end)
}

// rest takes the last line of a log that is no longer written, even without a newline.
func (l *logFile) rest(b *Batch) (outcome, error) {
	end := l.dataEnd()
	if end < l.size && !l.ended {
		l.lose(l.size - max(end, l.passed))
	}
	switch {
	case end == l.fp.offset, end == l.torn: // a torn line was read when it was whole
		return advanced, l.seek(l.size)
	case end-l.fp.offset > int64(l.maxLine):
		b.oversized++
		return advanced, l.seek(l.size)
	}
	return l.take(b, end)
}

// dataEnd returns where the file ends, without the zero bytes at its end: nothing was written there
// yet, or a crash of the archiver's machine has removed what was written.
func (l *logFile) dataEnd() int64 {
	if l.zerosAt >= 0 {
		return min(l.zerosAt, l.size)
	}
	return l.size
}

// take copies [offset, end) out of the file, checks that the file has not changed since the end was
// found, and splits the bytes into records.
func (l *logFile) take(b *Batch, end int64) (outcome, error) {
	context := len(l.fp.tails())
	raw := b.room(context + int(end-l.fp.offset))
	copy(raw, l.fp.tails())
	m, err := l.win.view(l.file, l.fp.offset, end)
	if err == nil {
		err = copyMapped(raw[context:], m)
	}
	if err != nil {
		return l.retry(err)
	}
	l.seam.at("copied")
	// If the file was cut meanwhile, the copy may have zeros or bytes of another line.
	st, err := l.stat()
	if err != nil {
		return idle, err
	}
	if st.Size < end {
		l.size = -1 // so that the next read does not take the file for unchanged
		return advanced, nil
	}
	if stale, err := l.stale(raw[context:], end); err != nil {
		return l.cutShort(err)
	} else if stale {
		return l.giveUpMapping()
	}
	if out, err := l.verify(advanced); out != advanced || err != nil {
		return out, err
	}
	if zero := bytes.IndexByte(raw[context:], 0); zero >= 0 {
		start := bytes.LastIndexByte(raw[context:context+zero], '\n') + 1
		if start == 0 {
			return l.passHole(l.fp.offset+int64(zero), end)
		}
		end = l.fp.offset + int64(start)
		b.raw = raw[:context+start]
	}
	l.ended = b.split(&l.fp, context, l.maxLine, l.position(), l.ended)
	l.searched, l.hole.held = end, false
	for i := range b.Records {
		l.trail.add(int64(b.Records[i].Next.Offset), b.Records[i].Next.Check)
	}
	l.trail.add(l.fp.offset, l.fp.check())
	l.passed = max(l.passed, l.fp.offset)
	return advanced, nil
}

// stale reports whether bytes that were copied from the mapping differ from the file. The bytes end
// at offset end. In an overlay file system, a mapping of a lower file stays a mapping of that file
// after the first write has copied the file up. Its last page then shows zeros where the upper file
// has grown.
func (l *logFile) stale(copied []byte, end int64) (bool, error) {
	if l.win.direct {
		return false, nil
	}
	var tail [tailBytes]byte
	t := tail[:min(len(copied), tailBytes)]
	if err := readAt(l.file, t, end-int64(len(t))); err != nil {
		return false, err
	}
	return !bytes.Equal(t, copied[len(copied)-len(t):]), nil
}

// retry handles an error from the mapping. If the file was cut, the next read handles that. Else
// the next reads do not use the mapping, so that a disk error is returned as such.
func (l *logFile) retry(err error) (outcome, error) {
	st, serr := l.stat()
	size := l.size
	l.size = -1
	switch {
	case serr == nil && st.Size < size && (errors.Is(err, errFault) || errors.Is(err, io.EOF)):
		return advanced, nil
	case !l.win.direct:
		return l.giveUpMapping()
	}
	return idle, err
}

// giveUpMapping makes the next reads use pread instead of the mapping, from the offset on.
func (l *logFile) giveUpMapping() (outcome, error) {
	l.win.giveUpMapping()
	l.size, l.searched, l.zerosAt = -1, l.fp.offset, -1
	return advanced, nil
}

// extent returns the end of the lines for one batch, or the offset itself if no line is whole.
func (l *logFile) extent() (end int64, err error) {
	l.searched = min(max(l.searched, l.fp.offset), l.size)
	if err := l.overwritten(); err != nil {
		return 0, err
	}
	first := int64(-1)
	for first < 0 {
		if l.searched == l.size {
			return l.fp.offset, l.endsInZeros()
		}
		if l.searched > l.fp.offset {
			l.searched = l.skipHole(l.searched, l.size)
		}
		to := min(l.size, l.searched+searchBytes)
		m, err := l.win.view(l.file, l.searched, to)
		if err != nil {
			return 0, err
		}
		i, err := findByte(m, '\n')
		if err != nil {
			return 0, err
		}
		if i >= 0 {
			first = l.searched + int64(i) + 1
		} else {
			l.searched = to
		}
	}
	limit := min(l.size, l.fp.offset+batchBytes)
	if first >= limit {
		return first, nil
	}
	m, err := l.win.view(l.file, first, limit)
	if err != nil {
		return 0, err
	}
	more, err := takeLines(m, batchLines-1)
	return first + int64(more), err
}

// verify returns out if the file still has before the offset what was read there. Else it calls
// part.
func (l *logFile) verify(out outcome) (outcome, error) {
	var head [headBytes]byte
	var tail [tailBytes]byte
	h, t := head[:len(l.fp.heads())], tail[:len(l.fp.tails())]
	if err := readAt(l.file, h, 0); err != nil {
		return l.cutShort(err)
	}
	if err := readAt(l.file, t, l.fp.offset-int64(len(t))); err != nil {
		return l.cutShort(err)
	}
	if l.fp.same(h, t) {
		l.seen = max(l.seen, l.dataEnd())
		return out, nil
	}
	return l.part()
}

// cutShort handles an error of a pread. If the file ended too early, the next read handles the cut.
func (l *logFile) cutShort(err error) (outcome, error) {
	l.size = -1
	if errors.Is(err, io.EOF) {
		return advanced, nil
	}
	return idle, err
}
