package datalog

import "bytes"

// If a log lost its last bytes, it is an older state of the log that was read. Either a copy was
// restored, or the archiver's machine crashed before the bytes were on its disk. Reading goes on
// where the two states differ, which the marks of the trail tell.

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

// goBack goes on at an offset in a file that is an older state of what was read. Both have the same
// bytes before the offset.
func (l *logFile) goBack(offset int64) error {
	if err := l.seek(offset); err != nil {
		return err
	}
	return l.endTorn(l.size)
}

// endTorn is called when reading goes on in an older state of the file. If the bytes from the
// offset to end are a torn line, they were read before. If they have a whole record, this record
// and all after it are new.
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

// part handles a file that no longer has the bytes that were read before the offset. Reading goes
// on where the file begins to differ, or at its beginning.
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

// rejoin is called when a file that was cut has grown by a whole line. If the file has again what
// was read before, these bytes are skipped. Else the line and all after it are new. end is the end
// of the whole lines.
func (l *logFile) rejoin(end int64) (outcome, error) {
	if end <= l.torn {
		// A blank line after the last common record does not tell whether the file differs.
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
		// A restarted writer may have appended a line to the torn one.
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

// keepTorn passes the offset at which the log ended in a torn line to a copy, because the copy may
// have grown since. The copy's offset is at a mark, the log's may be after blank lines that follow
// the mark.
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

// beginsLine reports whether a record, a trailer or a blank line may begin with c. Few bytes inside
// a record are one of these.
func beginsLine(c byte) bool { return c == '{' || c == 'E' || c == '\n' || c == '\r' }

// shrunk counts the unread bytes that a cut has removed.
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

// anew goes on at the beginning of a file that has other content.
func (l *logFile) anew() (outcome, error) {
	l.lose(l.cutLost + max(0, l.seen-max(l.fp.offset, l.had)))
	l.seen, l.had, l.passed, l.cutAt, l.cutLost = 0, 0, 0, 0, 0
	l.trail = trail{}
	return rewritten, l.seek(0)
}

// lose adds to the bytes that were not read and are gone.
func (l *logFile) lose(bytes int64) {
	if bytes <= 0 {
		return
	}
	if l.lost.bytes == 0 {
		l.lost.after = l.position()
	}
	l.lost.bytes += bytes
}
