package datalog

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What happens to the files of a model round beside what its writer does: other devices, copies in
// any order, older states, times that lie, files that cannot be read, a lower layer that is copied
// up.

// medium is what the directory of a round lies on.
type medium uint8

const (
	plain   medium = iota
	devices        // a link to a file system, which is moved to another one
	overlay        // the first logs lie in a lower layer
)

// lay makes the directory of the round. A round whose mounts are not permitted is a plain one.
func (m *modelRound) lay() {
	if m.medium == devices {
		if device := m.mountDevice(); device != "" {
			m.must(os.Symlink(device, m.dir))
			return
		}
		m.medium = plain
	}
	m.must(os.Mkdir(m.dir, 0o755))
}

func (m *modelRound) mounted(kind, at, data string) bool {
	m.must(os.MkdirAll(at, 0o755))
	if unix.Mount("none", at, kind, 0, data) != nil {
		return false
	}
	m.mounts = append(m.mounts, at)
	return true
}

// unmount is called when the follower is closed.
func (m *modelRound) unmount() {
	for _, at := range slices.Backward(m.mounts) {
		_ = unix.Unmount(at, unix.MNT_DETACH)
	}
}

func (m *modelRound) mountDevice() string {
	at := fmt.Sprintf("%s.device%d", m.dir, len(m.mounts))
	if !m.mounted("tmpfs", at, "size=4m") {
		return ""
	}
	return at
}

// freeze puts what the directory holds into the lower layer of an overlay.
func (m *modelRound) freeze() {
	if m.medium != overlay {
		return
	}
	base := m.dir + ".base"
	if !m.mounted("tmpfs", base, "size=4m") {
		return
	}
	at := func(name string) string { return filepath.Join(base, name) }
	m.must(os.CopyFS(at("lower"), os.DirFS(m.dir)))
	m.must(os.Mkdir(at("upper"), 0o755))
	m.must(os.Mkdir(at("work"), 0o755))
	if m.mounted("overlay", m.dir, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at("lower"),
		at("upper"), at("work"))) {
		m.note("overlay")
	}
}

// moveToDevice copies all files to a new file system and switches the link. It copies in the order
// of creation, so that the files get the same inode numbers.
func (m *modelRound) moveToDevice() {
	if m.medium != devices || len(m.mounts) > 5 {
		return
	}
	if m.lookUntilDone(); m.f.Position().Offset < tailBytes || m.shortened() &&
		len(m.active().content) < headBytes {
		return // what was read is too short to identify the log
	}
	to := m.mountDevice()
	if to == "" {
		return
	}
	m.note("move to another device")
	entries, err := os.ReadDir(m.dir)
	m.must(err)
	slices.SortFunc(entries, func(a, b os.DirEntry) int {
		return cmp.Compare(m.inodeOf(a.Name()), m.inodeOf(b.Name()))
	})
	for _, e := range entries {
		m.copyTo(filepath.Join(m.dir, e.Name()), filepath.Join(to, e.Name()))
	}
	m.must(os.Symlink(to, m.dir+".new"))
	m.must(os.Rename(m.dir+".new", m.dir))
}

func (m *modelRound) inodeOf(name string) uint64 {
	fi, err := os.Stat(filepath.Join(m.dir, name))
	m.must(err)
	return idOf(fi).ino
}

// copyTo copies a file with its time.
func (m *modelRound) copyTo(from, to string) {
	b, err := os.ReadFile(from)
	m.must(err)
	fi, err := os.Stat(from)
	m.must(err)
	m.must(os.WriteFile(to, b, 0o644))
	m.must(os.Chtimes(to, fi.ModTime(), fi.ModTime()))
}

// mirror replaces a log by a copy of itself.
func (m *modelRound) mirror(l *modelLog) {
	if m.lookUntilDone(); l.deleted || l.consumed < tailBytes {
		return // what was read of it is too short to identify it
	}
	m.note("replace %d by a copy", l.number)
	m.replace(l, l.content)
}

// replace replaces a log by a file with the given content, as rsync does.
func (m *modelRound) replace(l *modelLog, content []byte) {
	m.must(os.WriteFile(m.path(l)+".new", content, 0o644))
	m.must(os.Rename(m.path(l)+".new", m.path(l)))
	m.touch(l)
}

// restoreOlder replaces the active log, all of which was read, by an older state, and sometimes
// restores the newer state afterwards.
func (m *modelRound) restoreOlder() {
	m.lookUntilDone()
	l := m.active()
	if len(l.content) < 2*headBytes || l.consumed < len(l.content) || m.shortened() {
		return // too short to identify it
	}
	size := headBytes + m.rng.IntN(len(l.content)-headBytes)
	if at := bytes.LastIndexByte(l.content[:size], '\n') + 1; at >= headBytes && m.chance(50) {
		m.seq++
		line := fmt.Sprintf(`{"n":%d,"grown":true}`, m.seq) + m.eol()
		m.note("replace %d by its first %d bytes, grown by %q", l.number, at, line)
		m.replace(l, append(l.content[:at:at], line...))
		l.content, l.lineAt = append(l.content[:at:at], line...), min(l.lineAt, at)
		l.consumed, l.had, l.torn = at, at, 0
		m.handed = nil
		m.lookUntilDone()
		return
	}
	m.note("replace %d by its first %d bytes", l.number, size)
	whole, before := l.content, *l
	m.replace(l, l.content[:size])
	l.content, l.lineAt = l.content[:size:size], min(l.lineAt, size)
	l.consumed, l.had, l.torn = bytes.LastIndexByte(l.content, '\n')+1, size, size
	m.handed = nil
	m.lookUntilDone()
	if m.chance(50) {
		m.note("put %d back", l.number)
		m.replace(l, whole)
		*l = before
		m.handed = nil
		m.lookUntilDone()
	}
}

// hide makes a file unreadable for a while.
func (m *modelRound) hide() {
	path := filepath.Join(m.dir, m.stream.pointerName())
	if l := m.logs[m.rng.IntN(len(m.logs))]; !l.deleted && m.chance(60) {
		path = m.path(l)
	}
	aside := filepath.Join(m.dir, "aside")
	m.note("make %s unreadable", filepath.Base(path))
	m.must(os.Rename(path, aside))
	m.must(os.Symlink(path, path))
	for range 4 {
		m.look()
		m.clock = m.clock.Add(incompleteWait / 2)
	}
	m.must(os.Remove(path))
	m.must(os.Rename(aside, path))
}

// chaos says how wrong the times of a round's files are.
type chaos uint8

const (
	timesTell  chaos = iota
	timesApart       // neighbours may be in the wrong order, by less than leftoverAge
	timesBack        // the clock goes backwards
)

func (m *modelRound) fileTime() time.Time {
	switch m.chaos {
	case timesApart:
		return m.mtime.Add(time.Duration(m.rng.IntN(50)) * time.Second)
	case timesBack:
		return m.mtime.Add(-2 * m.mtime.Sub(modelEpoch) * time.Minute / time.Second)
	}
	return m.mtime
}
