package datalog

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The functions of this file change the logs of a model round: cuts, other content, deletion,
// rotation, restarts of the follower.

// deleteOne deletes a log that was read completely and left.
func (m *modelRound) deleteOne() {
	l := m.logs[m.rng.IntN(len(m.logs))]
	if l.deleted || l == m.active() {
		return
	}
	m.lookUntilDone()
	m.delete(l)
}

// replaceActive deletes the active log after all of it was read, and begins another one of the same
// name, as an archiver does if its log was deleted while it was stopped.
func (m *modelRound) replaceActive() {
	if m.chaos != timesTell {
		return // the place of a deleted log in the order follows from the times
	}
	m.lookUntilDone()
	l := m.active()
	if m.f.cur.ended {
		return // a new log with the number of a complete one may mean that a round was missed
	}
	m.delete(l)
	l.closed = true
	m.maybeLook()
	if l.due() != nil { // an unterminated line was not read yet
		l.consumed = bytes.LastIndexByte(l.content, '\n') + 1
	}
	m.create(l.number)
	m.lookUntilDone()
}

// truncate cuts the active log after all of it was read. The follower looks before the log grows
// again, because a cut and growth between two looks are like other content.
func (m *modelRound) truncate() {
	m.lookUntilDone()
	l := m.active()
	size := 0
	if m.chance(70) {
		size = m.rng.IntN(len(l.content) + 1)
	}
	m.note("truncate %d to %d", l.number, size)
	m.must(os.Truncate(m.path(l), int64(size)))
	m.touch(l)
	unread := len(l.content) - max(size, l.consumed)
	certainly := len(l.content) - max(size, l.consumed, l.had)
	l.content, l.had = l.content[:size:size], min(l.had, size)
	l.lineAt = min(l.lineAt, size)
	if l.torn = min(l.torn, size); l.consumed > size {
		l.consumed, l.had, l.torn = bytes.LastIndexByte(l.content, '\n')+1, size, size
	}
	m.handed = nil // positions after the cut are no longer valid
	m.lookAtCut(certainly, unread)
}

// lookAtCut expects a gap for the unread bytes that were cut off: the line without its newline. The
// rest of a line that was delivered before an earlier cut counts only if the follower was restarted
// since.
func (m *modelRound) lookAtCut(least, most int) {
	m.mayCut, m.lost = true, 0
	if m.look(); m.lost < uint64(max(0, least)) || m.lost > uint64(max(0, most)) {
		m.fail("a gap of %d bytes, not %d to %d", m.lost, least, most)
	}
	m.mayCut = false
}

// rewrite replaces the content of the active log by other content of at least the same size.
func (m *modelRound) rewrite() {
	m.lookUntilDone()
	l := m.active()
	m.seq++
	text := fmt.Sprintf(`{"n":%d,"rewritten":%q}`, m.seq, strings.Repeat("r", len(l.content))) + "\n"
	if l.consumed == 0 {
		return // nothing was read of it, so this is only another beginning
	}
	m.note("rewrite %d: %q", l.number, text)
	m.must(os.WriteFile(m.path(l), []byte(text), 0o644))
	m.touch(l)
	unread, certainly := len(l.content)-l.consumed, len(l.content)-max(l.consumed, l.had)
	l.content, l.consumed, l.had, l.torn, l.lineAt = []byte(text), 0, 0, 0, 0
	m.handed = nil
	m.lookAtCut(certainly, unread)
}

// copyDirectory restores all files from a copy: the same names and times, other inodes.
func (m *modelRound) copyDirectory() {
	m.note("copy the directory")
	aside := m.dir + ".aside"
	m.must(os.Rename(m.dir, aside))
	m.must(os.Mkdir(m.dir, 0o755))
	entries, err := os.ReadDir(aside)
	m.must(err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(aside, e.Name()))
		m.must(err)
		fi, err := e.Info()
		m.must(err)
		to := filepath.Join(m.dir, e.Name())
		m.must(os.WriteFile(to, b, 0o644))
		m.must(os.Chtimes(to, fi.ModTime(), fi.ModTime()))
	}
	m.must(os.RemoveAll(aside))
}

// restart ends the follower as a crash would, and starts one from a position that it had handed
// out.
func (m *modelRound) restart() {
	if m.shortened() {
		m.lookUntilDone()
	}
	lost := m.shortened()
	choices := append(m.handed[max(0, len(m.handed)-8):len(m.handed):len(m.handed)],
		handedOut{m.f.Position(), m.current(), len(m.past)})
	h := choices[m.rng.IntN(len(choices))]
	if h.log == nil || h.p.IsZero() {
		return
	}
	at := m.index(h.log)
	for _, l := range m.logs[at:] {
		// A log that was cut to less than a fingerprint does not prove that it is the one that was
		// read.
		if l.deleted || (l.torn > 0 || lost) && len(l.content) < headBytes {
			return
		}
	}
	m.expect()
	m.check()
	m.f.Close()
	m.left, m.f = m.f.Left(), nil
	m.note("restart from %+v", h.p)
	m.past = m.past[:h.past]
	// What had come out after that position comes again.
	m.want, m.got, m.handed = nil, nil, nil
	for i, l := range m.logs {
		switch {
		case i == at && !lost:
			l.consumed = int(h.p.Offset)
		case i > at:
			l.consumed = 0
		}
	}
	// A position at the beginning of a log names neither of two logs of its number: the times do.
	if m.chance(20) && m.medium != overlay && (m.chaos == timesTell || h.p.Offset >= tailBytes) {
		m.copyDirectory()
		m.medium = plain
	}
	m.start(h.p)
}

// pastOf gives what came out before, newest first. A crash may have taken the newest.
func (m *modelRound) pastOf() iter.Seq[Position] {
	past := slices.Clone(m.past)
	return func(yield func(Position) bool) {
		for _, p := range slices.Backward(past) {
			if !yield(p) {
				return
			}
		}
	}
}

// shortened reports whether the log being read is shorter than what was read of it.
func (m *modelRound) shortened() bool {
	return m.f.cur != nil && m.f.cur.trail.end() > m.f.cur.fp.offset
}

// point rewrites the active file in one of the ways that were seen.
func (m *modelRound) point(number int) {
	path := filepath.Join(m.dir, m.stream.pointerName())
	text := m.stream.logName(uint32(number), false)
	how := m.rng.IntN(8)
	m.note("point to %d, way %d", number, how)
	switch how {
	case 0:
		m.must(os.WriteFile(path, nil, 0o644))
		m.maybeLook()
	case 1:
		m.must(os.WriteFile(path, []byte("nonsense"), 0o644))
		m.maybeLook()
	case 2:
		m.must(os.WriteFile(path, []byte(text[:len(text)-m.rng.IntN(8)-1]), 0o644))
		m.maybeLook()
	case 3:
		m.must(os.RemoveAll(path))
		m.maybeLook()
	case 4:
		text += "\n"
	case 5:
		m.must(os.WriteFile(path+".tmp", []byte(text), 0o644))
		m.must(os.Rename(path+".tmp", path))
		return
	}
	m.must(os.WriteFile(path, []byte(text), 0o644))
}

// rotate ends the active log and begins the next one, as the writers do it: trailer, retire a half,
// create, point. Variants: no trailer, one that is wrong, the log's rest after the pointer has
// moved.
func (m *modelRound) rotate() {
	before := m.active()
	trailer := fmt.Sprintf("End: Number of entries: %d", m.rng.IntN(1000)) + m.eol() + m.blank
	if m.chance(50) {
		trailer = fmt.Sprintf("End: Number of bytes: %d", m.rng.Uint64()) + m.eol() + m.blank
	}
	late, outOfOrder := "", false
	switch m.rng.IntN(10) {
	case 0:
		trailer = ""
	case 1:
		if before.ended() || m.chaos != timesTell && len(before.content) == 0 {
			break // what comes after a trailer and after the pointer has moved is not waited for
		}
		m.seq++
		late, trailer = fmt.Sprintf(`{"n":%d,"late":true}`, m.seq)+"\n"+trailer, ""
	case 2:
		trailer += trailer
	case 3: // a mirror, that brings the next log before the rest of this one
		if before.ended() || m.chaos != timesTell && len(before.content) == 0 {
			break
		}
		for range 1 + m.rng.IntN(3) {
			m.seq++
			late += fmt.Sprintf(`{"n":%d,"mirrored":true}`, m.seq) + m.eol() + m.blank
		}
		late, trailer, outOfOrder = late+trailer, "", true
	}
	m.write(before, trailer)
	m.mtime = m.mtime.Add(time.Second)
	n := before.number + 1
	if n == m.max/2 {
		m.retire(m.max/2+1, m.max)
	}
	if n == m.max {
		m.retire(1, m.max/2)
	}
	if n > m.max {
		n = 1
	}
	m.create(n)
	m.maybeLook()
	m.point(n)
	if m.chance(30) {
		m.look()
	}
	if outOfOrder && m.f != nil {
		m.look()
		outOfOrder = m.f.Position().Offset >= tailBytes && m.current() == before && !m.shortened()
	}
	if outOfOrder {
		for range m.rng.IntN(4) {
			m.appendLine()
			m.clock = m.clock.Add(incompleteWait / 5)
		}
		before.take(late)
		m.replace(before, before.content)
	} else {
		m.write(before, late) // the model's order is that of the logs
	}
	before.closed = true
}

// retire deletes the old- logs and puts half of the others in their place.
func (m *modelRound) retire(from, to int) {
	for _, l := range m.logs[m.index(m.current()):] {
		if l.old && !l.deleted {
			m.lookUntilDone() // else it would be gone before the follower gets there
			break
		}
	}
	for _, l := range m.logs {
		if l.old && !l.deleted {
			m.delete(l)
		}
	}
	for k := from; k <= to; k++ {
		for _, l := range m.logs {
			if l.number == k && !l.old && !l.deleted {
				m.rename(l)
				if m.chance(20) {
					m.look()
				}
			}
		}
	}
}
