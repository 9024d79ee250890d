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

// outcome is what one read of a log came to.
type outcome uint8

const (
	idle      outcome = iota // no whole line for now
	advanced                 // look again: lines were taken (maybe blank ones only), or the file changed meanwhile
	truncated                // the file was cut; reading goes on at the start of the line at its new end
	rewritten                // other content in the same file; reading goes on at its beginning
)

// logFile is one data log, open, and the place in it. It knows nothing of other logs.
type logFile struct {
	number uint32
	name   string // without "old-"
	path   string // of that name, whether or not the file has it now
	inode  uint64
	file   *os.File
	fd     int
	win    window
	fp     fingerprint // of what is before fp.offset, the first byte not yet taken
	ended  bool        // the last line before the offset that is not blank is a trailer

	size     int64     // as of the last look
	mtime    time.Time // as of the last look
	searched int64     // no newline in [offset, searched)
	seen     int64     // size when the file last had what was read of it
	had      int64     // bytes before it were delivered before a cut, though the offset is below
	cutAt    int64     // what cutLost says was beyond it; 0: nothing
	cutLost  int64     // bytes that a cut has taken unread, behind lines that are still to come
	lost     loss      // to be told, and cleared, after a read

	maxLine int
	seam    seam
}

// loss is what a cut, or other content, has taken that was seen in a file and not read.
type loss struct {
	after Position
	bytes int64
}

// openLog opens a log and stands at its beginning.
func openLog(path string, number uint32) (*logFile, error) {
	// Not blocking: a FIFO of that name must not hold us up.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("datalog: open log: %w", err)
	}
	l := &logFile{number: number, file: file, fd: int(file.Fd())}
	st, err := l.stat()
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("datalog: %s is no regular file", path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	l.inode = st.Ino
	l.mtime = time.Unix(st.Mtim.Unix())
	l.size, l.seen = st.Size, st.Size
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

// position is where reading goes on.
func (l *logFile) position() Position {
	return Position{Number: l.number, Time: uint32(l.mtime.Unix()), Inode: l.inode, Offset: uint64(l.fp.offset), Check: l.fp.check()}
}

// seek goes to an offset within the file and takes what stands before it as read.
func (l *logFile) seek(offset int64) error {
	fp, err := fingerprintAt(l.file, offset)
	if err != nil {
		return err
	}
	ended, err := endsWithTrailer(l.file, offset)
	if err != nil {
		return err
	}
	l.fp, l.ended, l.searched = fp, ended, offset
	return nil
}

// matches reports whether the file may be the one that p was made of: long enough, same bytes before p.
func (l *logFile) matches(p Position) (bool, error) {
	if p.Number != l.number || p.Offset > uint64(l.size) {
		return false, nil
	}
	fp, err := fingerprintAt(l.file, int64(p.Offset))
	if errors.Is(err, io.EOF) { // cut just now
		return false, nil
	}
	return err == nil && fp.check() == p.Check, err
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
	if unchanged && l.searched == l.size && l.cutAt == 0 {
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
	// extent takes a line longer than a batch alone; one that is over the cap need not be copied to be
	// passed over. (One more byte may be a carriage return.)
	if length := end - l.fp.offset - 1; length > batchBytes && length > int64(l.maxLine)+1 {
		if out, err := l.verify(advanced); out != advanced || err != nil {
			return out, err
		}
		b.oversized++
		return advanced, l.seek(end)
	}
	return l.take(b, end)
}

// rest takes the last line of a log that nobody writes to any more, although it lacks its newline.
func (l *logFile) rest(b *Batch) (outcome, error) {
	if l.size-l.fp.offset > int64(l.maxLine) {
		b.oversized++
		return advanced, l.seek(l.size)
	}
	return l.take(b, l.size)
}

// take copies [offset, end) out of the file, makes sure that it still is what it was when its place
// was found, and cuts it into records.
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
	// A file that was cut meanwhile may have given zeros, or bytes of another line.
	st, err := l.stat()
	if err != nil {
		return idle, err
	}
	if st.Size < end {
		l.size = -1 // so that the next read does not take the file for unchanged
		return advanced, nil
	}
	if out, err := l.verify(advanced); out != advanced || err != nil {
		return out, err
	}
	l.ended = b.split(&l.fp, context, l.maxLine, l.position(), l.ended)
	l.searched = end
	return advanced, nil
}

// retry tells a fault that comes from a file being cut, after which the next read sees why, from a
// true error of the disk.
func (l *logFile) retry(err error) (outcome, error) {
	if errors.Is(err, errFault) {
		if st, serr := l.stat(); serr == nil && st.Size < l.size {
			l.size = -1
			return advanced, nil
		}
	}
	l.size = -1
	return idle, err
}

// extent finds the end of the lines that one batch takes, or the offset itself where no line is whole.
func (l *logFile) extent() (end int64, err error) {
	l.searched = min(max(l.searched, l.fp.offset), l.size)
	first := int64(-1)
	for first < 0 {
		if l.searched == l.size {
			return l.fp.offset, nil
		}
		to := min(l.size, l.searched+searchBytes)
		m, err := l.win.view(l.file, l.searched, to)
		if err != nil {
			return 0, err
		}
		i, err := findNewline(m)
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

// verify returns out if what stands before the offset is still what was read there, and else starts
// the file anew.
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
		l.seen = max(l.seen, l.size)
		return out, nil
	}
	return l.anew()
}

// cutShort makes the next read look again where the file ended before bytes that were there.
func (l *logFile) cutShort(err error) (outcome, error) {
	l.size = -1
	if errors.Is(err, io.EOF) {
		return advanced, nil
	}
	return idle, err
}

// cut deals with a file that is now shorter than what was read of it.
func (l *logFile) cut() (outcome, error) {
	head := make([]byte, min(l.size, int64(len(l.fp.heads()))))
	if err := readAt(l.file, head, 0); err != nil {
		return l.cutShort(err)
	}
	if !bytes.Equal(head, l.fp.heads()[:len(head)]) {
		return l.anew()
	}
	start, err := lineStart(l.file, l.size)
	if err == nil {
		err = l.seek(start)
	}
	if err != nil {
		return l.cutShort(err)
	}
	return truncated, nil
}

// shrunk notes what a cut has taken of the bytes that were there to be read.
func (l *logFile) shrunk() {
	if l.size >= l.seen {
		return
	}
	taken := l.seen - max(l.size, l.fp.offset, l.had)
	l.seen, l.had = l.size, min(l.had, l.size)
	switch {
	case l.size < l.fp.offset:
		l.lose(l.cutLost + max(0, taken))
		l.cutAt, l.cutLost, l.had = 0, 0, l.size
	case taken > 0:
		l.cutAt, l.cutLost = l.size, l.cutLost+taken
	}
}

// anew begins a file from its beginning that has other content.
func (l *logFile) anew() (outcome, error) {
	l.lose(l.cutLost + max(0, l.seen-max(l.fp.offset, l.had)))
	l.seen, l.had, l.cutAt, l.cutLost = 0, 0, 0, 0
	return rewritten, l.seek(0)
}

func (l *logFile) lose(bytes int64) {
	if bytes == 0 {
		return
	}
	if l.lost.bytes == 0 {
		l.lost.after = l.position()
	}
	l.lost.bytes += bytes
}
