package datalog

import "bytes"

// A log that lost its last bytes is an older state of the log that was read: a copy was restored,
// or the archiver's machine went down before the bytes were on its disk. Reading goes on where the
// two part, by the marks of the trail.

// cut handles a file that is now shorter than what was read of it.
func (l *logFile) cut() (outcome, error) {
	m, ok, err := l.trail.common(l.file, l.size)
	if err != nil {
		return l.cutShort(err)
	}
	if !ok {
		head := make([]byte, min(l.size, int64(len(l.fp.heads()))))
		if err := readAt(l.file, head, 0); err != nil {
			return l.cutShort(err)
		}
		if !bytes.Equal(head, l.fp.heads()[:len(head)]) {
			return l.anew()
		}
		if m.offset, err = lineStart(l.file, l.size); err != nil {
			return l.cutShort(err)
		}
	}
	if err := l.goBack(m.offset); err != nil {
		return l.cutShort(err)
	}
	return truncated, nil
}

// goBack treats the file as an older state of what was read. Both have the bytes before an offset
// in common.
func (l *logFile) goBack(offset int64) error {
	if err := l.seek(offset); err != nil {
		return err
	}
	return l.endTorn(l.size)
}

// endTorn is called when an older state of the file is at the place where reading goes on. If the
// bytes from there to end are a torn line, they were read before. If they are a whole record, this
// record and all behind it were written since.
func (l *logFile) endTorn(end int64) error {
	start, err := lineStart(l.file, end)
	if err != nil {
		return err
	}
	since := false
	if start > l.fp.offset {
		since, err = holdsRecord(l.file, l.fp.offset, start)
	}
	if l.torn = end; since {
		l.torn, l.had = 0, min(l.had, l.fp.offset)
	}
	return err
}

// part finds out where a file has parted from what was read, whose bytes before the offset it no
// longer has.
func (l *logFile) part() (outcome, error) {
	m, ok, err := l.trail.common(l.file, l.size)
	if err != nil {
		return l.cutShort(err)
	}
	if !ok {
		return l.anew()
	}
	l.lose(l.cutLost + max(0, l.seen-max(l.fp.offset, l.had)))
	l.seen, l.had, l.cutAt, l.cutLost = 0, m.offset, 0, 0
	if err := l.seek(m.offset); err != nil {
		return l.cutShort(err)
	}
	return truncated, nil
}

// rejoin is called when a file that was cut has grown by a whole line. If the file again holds what
// was read, these bytes are skipped; else the line, and all behind it, is new. end is the end of
// whole lines.
func (l *logFile) rejoin(end int64) (outcome, error) {
	if end <= l.torn {
		// A blank line behind the last record that the file and its trail have in common decides
		// nothing.
		if record, err := holdsRecord(l.file, l.fp.offset, end); err != nil {
			return l.cutShort(err)
		} else if !record {
			torn := l.torn
			err := l.seek(end)
			l.torn = torn
			return advanced, err
		}
	}
	if next, ok := l.trail.after(l.fp.offset); ok && l.size >= next.offset {
		m, ok, err := l.trail.common(l.file, l.size)
		if err != nil {
			return l.cutShort(err)
		}
		if ok && m.offset > l.fp.offset {
			return advanced, l.seek(m.offset)
		}
	}
	l.trail.dropAfter(l.fp.offset)
	torn := l.torn
	l.torn = 0
	if torn > l.fp.offset && torn < end {
		// A restarted writer does not know that the last line is torn.
		var first [1]byte
		if err := readAt(l.file, first[:], torn); err != nil {
			return l.cutShort(err)
		}
		if beginsLine(first[0]) {
			return advanced, l.seek(torn)
		}
	}
	return advanced, nil
}

// keepTorn makes a copy remember where the log was seen to end in a torn line, because the copy may
// have grown since. The copy stands at a mark, and the log maybe behind blank lines after the mark.
func (l *logFile) keepTorn(in *logFile) {
	if l.torn == 0 || in.size < l.torn || in.fp.offset > l.fp.offset {
		return
	}
	var ours, theirs [tailBytes]byte
	from := max(0, l.torn-tailBytes)
	n := l.torn - from
	if readAt(l.file, ours[:n], from) == nil && readAt(in.file, theirs[:n], from) == nil &&
		ours == theirs &&
		in.seek(l.fp.offset) == nil {
		in.torn = l.torn
	}
}

// beginsLine reports whether a writer's line may begin so: a record, a trailer, a blank line. Of
// the bytes inside of a record few are one of these.
func beginsLine(c byte) bool { return c == '{' || c == 'E' || c == '\n' || c == '\r' }

// shrunk notes how many unread bytes a cut has removed.
func (l *logFile) shrunk() {
	if l.size >= l.seen {
		return
	}
	taken := l.seen - max(l.size, l.fp.offset, l.had)
	l.seen, l.had, l.torn = l.size, min(l.had, l.size), min(l.torn, l.size)
	switch {
	case l.size < l.fp.offset:
		l.lose(l.cutLost + max(0, taken))
		l.cutAt, l.cutLost, l.had = 0, 0, l.size
	case taken > 0:
		l.cutAt, l.cutLost = l.size, l.cutLost+taken
	}
}

// anew restarts at the beginning of a file that has other content.
func (l *logFile) anew() (outcome, error) {
	l.lose(l.cutLost + max(0, l.seen-max(l.fp.offset, l.had)))
	l.seen, l.had, l.passed, l.cutAt, l.cutLost = 0, 0, 0, 0, 0
	l.trail = trail{}
	return rewritten, l.seek(0)
}

func (l *logFile) lose(bytes int64) {
	if bytes <= 0 {
		return
	}
	if l.lost.bytes == 0 {
		l.lost.after = l.position()
	}
	l.lost.bytes += bytes
}
