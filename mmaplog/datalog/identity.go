package datalog

import (
	"errors"
	"io"
	"os"
	"slices"
	"sort"
	"syscall"

	"golang.org/x/sys/unix"
)

// fileID identifies a file until the next reboot. A Position stores only the inode, because device
// numbers change at a reboot; its Check proves that a file is the same.
type fileID struct {
	dev, ino uint64
}

func idOf(fi os.FileInfo) fileID {
	st := fi.Sys().(*syscall.Stat_t)
	return fileID{uint64(st.Dev), st.Ino}
}

func idOfStat(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

// maxMarks bounds the marks of one log: 128 KiB of memory. A log of the usual 10 MiB holds about
// 2,400 receipts, so that each of its records has a mark.
const maxMarks = 8192

// mark identifies the bytes before an offset of a log: check is the Check of a Position there.
type mark struct {
	offset int64
	check  uint64
}

// trail holds the marks of what was read of one log, in ascending order of their offsets. The trail
// belongs to the content: it goes along when the log is replaced by a copy of itself.
type trail struct {
	marks []mark
	// earlier returns the marks before the first one; nil: there are none. It may read much of a
	// frame log, so it is called only when a log differs from what was read.
	earlier func() []mark
}

// end returns the furthest offset that was read.
func (t *trail) end() int64 {
	if len(t.marks) == 0 {
		return 0
	}
	return t.marks[len(t.marks)-1].offset
}

// add appends a mark. Marks that do not lie beyond the last one are left out.
func (t *trail) add(offset int64, check uint64) {
	if offset <= t.end() || offset < tailBytes {
		return // too few bytes for the fingerprint's tail identify nothing
	}
	if len(t.marks) == maxMarks {
		for i := range maxMarks / 2 {
			t.marks[i] = t.marks[2*i+1]
		}
		t.marks = t.marks[:maxMarks/2]
	}
	t.marks = append(t.marks, mark{offset, check})
}

// load adds the earlier marks.
func (t *trail) load() {
	if t.earlier == nil {
		return
	}
	late := t.marks
	*t = trail{marks: slices.Clone(t.earlier())}
	for _, m := range late {
		t.add(m.offset, m.check)
	}
}

// dropAfter removes the marks beyond an offset.
func (t *trail) dropAfter(offset int64) {
	if len(t.marks) > 0 && offset < t.marks[0].offset {
		t.load()
	}
	n, _ := slices.BinarySearchFunc(t.marks, offset+1, func(m mark, at int64) int {
		return int(min(1, max(-1, m.offset-at)))
	})
	t.marks = t.marks[:n]
}

// after returns the first mark beyond an offset.
func (t *trail) after(offset int64) (mark, bool) {
	if len(t.marks) > 0 && offset < t.marks[0].offset {
		t.load()
	}
	n := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].offset > offset })
	if n == len(t.marks) {
		return mark{}, false
	}
	return t.marks[n], true
}

// common returns the furthest mark up to which a file of that size has what was read. ok is false
// if there is none.
func (t *trail) common(f *os.File, size int64) (m mark, ok bool, err error) {
	t.load()
	// What matches at one mark matches at all marks before it.
	n := sort.Search(len(t.marks), func(i int) bool {
		var same bool
		if err == nil && t.marks[i].offset <= size {
			same, err = t.marks[i].fits(f)
		}
		return !same
	})
	if n == 0 || err != nil {
		return mark{}, false, err
	}
	return t.marks[n-1], true, nil
}

// fits reports whether a file has before the mark what was read there.
func (m mark) fits(f *os.File) (bool, error) {
	fp, err := fingerprintAt(f, m.offset)
	if errors.Is(err, io.EOF) { // the file has just been cut
		return false, nil
	}
	return err == nil && fp.fits(m.check), err
}
