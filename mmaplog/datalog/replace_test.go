package datalog

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTruncation(t *testing.T) {
	lines := []string{long("a"), long("b"), long("c")}
	text := strings.Join(lines, "\n") + "\n"
	n := int64(len(lines[0]) + 1)
	for _, c := range []struct {
		name   string
		size   int64
		then   string
		want   []string
		offset uint64
	}{
		{"to nothing", 0, "d\n", []string{"d"}, 0},
		{"to the end of a line", 2 * n, "d\n", []string{"d"}, uint64(2 * n)},
		{"into a line", 2*n + 3, "d\n", []string{"c--d"}, uint64(2 * n)},
		{"into the first line", 5, "d\n", []string{"a----d"}, 0},
		{"by the newline", 3*n - 1, "\nd\n", []string{"d"}, uint64(2 * n)},
		{"into a line, and the writer does not know", 2*n + 3, "{d}\n", []string{"{d}"}, uint64(2 * n)},
		{"and what was cut comes again", n + 3, text[n+3:] + "d\n", []string{"d"}, uint64(n)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRunningRig(t)
			r.append(log1, text)
			r.want(lines...)
			before := r.f.Position()
			r.truncate(log1, c.size)
			r.want()
			if s := r.f.Stats(); s.Offset != c.offset {
				t.Errorf("at %d, want %d", s.Offset, c.offset)
			}
			if p := r.f.Position(); p != before {
				t.Errorf("the position is %+v, want %+v: what was read stays read", p, before)
			}
			r.append(log1, c.then)
			r.want(c.want...)
			if s := r.f.Stats(); s.Truncations != 1 || s.Rewrites != 0 {
				t.Errorf("%+v", s)
			}
			r.restart()
			r.append(log1, "e\n"+trailer)
			r.put(log2, "f\n")
			r.point(2)
			r.want("e", "f")
			r.wantGaps(0, "")
		})
	}
}

// TestTruncatedTrailer checks that a trailer that was cut off again does not end a log.
func TestTruncatedTrailer(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n"+trailer)
	r.want("a")
	r.truncate(log1, 2)
	r.put(log2, "c\n")
	r.point(2)
	r.want()
	r.append(log1, "b\n"+trailer)
	r.want("b", "c")
}

// TestTruncatedUnfinishedLine replaces an unfinished line by another one.
func TestTruncatedUnfinishedLine(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n"+strings.Repeat("x", 10_000))
	r.want("a")
	r.truncate(log1, 2)
	// longer than what was there
	r.append(log1, strings.Repeat("b", 100)+"\nc\n"+strings.Repeat("d", 20_000)+"\n")
	r.want(strings.Repeat("b", 100), "c", strings.Repeat("d", 20_000))
}

func TestOtherContent(t *testing.T) {
	text := long("a") + "\n" + long("b") + "\n"
	same := strings.ToUpper(text)
	for _, c := range []struct {
		name, text string
		want       []string
		older      uint64 // number of times that the log counts as an older state that has grown
	}{
		{"same size", same, []string{long("A"), long("B")}, 0},
		{"same end", "X" + text[1:], []string{"X" + long("a")[1:], long("b")}, 0},
		{"same beginning", text[:len(text)-2] + "x\n", []string{long("b")[:len(long("b"))-1] + "x"}, 1},
		{"larger", "x\n" + text + "y\n", []string{"x", long("a"), long("b"), "y"}, 0},
		{"smaller", "x\n", []string{"x"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRunningRig(t)
			r.append(log1, text)
			r.want(long("a"), long("b"))
			r.put(log1, c.text)
			r.want(c.want...)
			if s := r.f.Stats(); s.Rewrites != 1-c.older || s.Truncations != c.older || s.Gaps != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestNameUsedAgain deletes the active log and creates it again. Lines that were appended to the
// deleted file must still be read.
func TestNameUsedAgain(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n")
	r.want("a")
	w, err := os.OpenFile(r.path(log1), os.O_APPEND|os.O_WRONLY, 0)
	r.must(err)
	defer w.Close()
	r.remove(log1)
	r.want()
	w.WriteString("b\nc")
	r.want("b")
	r.put(log1, "d\n")
	r.want()
	w.WriteString("c\n")
	r.waitWant("cc", "d")
	r.append(log1, "e\n")
	r.want("e")
	r.wantGaps(0, "")
}

// TestNameAndInodeUsedAgain gives a new log the inode number of a deleted one, so that only the
// fingerprint tells them apart.
func TestNameAndInodeUsedAgain(t *testing.T) {
	for range 20 { // until the file system gives the same number
		r := newRunningRig(t)
		r.append(log1, long("a")+"\n"+long("b")+"\n")
		r.want(long("a"), long("b"))
		p := r.f.Position()
		r.f.Close()
		r.remove(log1)
		r.put(log1, long("x")+"\n"+long("y")+"\n"+long("z")+"\n")
		if r.inode(log1) != p.Inode {
			continue
		}
		r.start(p)
		r.waitWant(long("x"), long("y"), long("z"))
		r.wantGaps(1, GapLogGone)
		return
	}
	t.Skip("this file system does not give inode numbers again")
}

func TestReplacedByACopyOfItself(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, long("a")+"\n")
	r.want(long("a"))
	r.put("copy", long("a")+"\n"+long("b")+"\n")
	r.rename("copy", log1)
	r.waitWant(long("b"))
	r.wantGaps(0, "")
}

// TestReplacedByAnotherLog checks that another log with a few equal bytes is not taken for a copy.
func TestReplacedByAnotherLog(t *testing.T) {
	r := newRig(t)
	r.mkdir()
	r.put("old-"+log1, "a\nof a lap before\n")
	r.put(log1, "")
	r.point(1)
	r.start(Position{})
	r.append(log1, "a\n")
	r.want("a")
	r.remove(log1)
	r.put(log1, "b\n")
	r.waitWant("b")
}

func TestDirectoryReplaced(t *testing.T) {
	t.Run("by a copy", func(t *testing.T) {
		r := newRunningRig(t)
		r.put(log3, long("lap before")+"\n"+trailer)
		r.age(log3, time.Hour)
		r.append(log1, long("a")+"\n"+trailer)
		r.put(log2, long("b")+"\n")
		r.point(2)
		r.want(long("a"), long("b"))
		aside := r.dir + ".aside"
		r.must(os.Rename(r.dir, aside))
		r.waitWant()
		r.must(os.CopyFS(r.dir, os.DirFS(aside)))
		r.append(log2, long("c")+"\n")
		r.waitWant(long("c"))
		r.append(log2, trailer)
		r.append(log3, "d\n")
		r.point(3)
		r.want("d")
		r.wantGaps(0, "")
	})
	t.Run("by a new archiver's", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, long("a")+"\n")
		r.want(long("a"))
		r.must(os.RemoveAll(r.dir))
		r.waitWant()
		r.mkdir()
		r.put(log1, long("b")+"\n"+trailer)
		r.put(log2, "c\n")
		r.point(2)
		r.waitWant(long("b"), "c")
		r.wantGaps(0, "")
	})
}

// TestLogIsNoFile checks that anything but a regular file is not read and does not block.
func TestLogIsNoFile(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n"+trailer)
	mkfifo(t, r.path(log2))
	r.point(2)
	r.waitWant("a")
	r.remove(log2)
	r.put(log2, "b\n")
	r.want("b")
}

// TestCutUnderTheMapping cuts a file between the stat and the read of its mapping, which must be an
// error and no crash, and after the copy, which must not deliver zeros.
func TestCutUnderTheMapping(t *testing.T) {
	for _, at := range []string{"sized", "copied"} {
		for _, size := range []int64{0, 5000, 8192, 300_000} {
			r := newRig(t)
			r.mkdir()
			r.put(log1, "")
			r.point(1)
			cut := false
			r.opt.seam = func(step string) {
				if step == at && !cut {
					cut = true
					r.truncate(log1, size)
				}
			}
			r.start(Position{})
			text := bytes.Repeat([]byte(long("line")+"\n"), 900) // three times the place of the cut
			r.append(log1, string(text))
			whole := int(size) / len(long("line")+"\n")
			got := r.got()
			if !cut || len(got) != whole {
				t.Fatalf("%s, to %d: cut %v, %d lines, want %d", at, size, cut, len(got), whole)
			}
			r.append(log1, "\nend\n")
			for _, line := range append(got, r.got()...) {
				if line != "end" && !strings.HasPrefix(long("line"), line) {
					t.Fatalf("%s, to %d: wrong bytes: %.80q", at, size, line)
				}
			}
			if s := r.f.Stats(); s.Errors != 0 {
				t.Errorf("%s, to %d: %+v", at, size, s)
			}
		}
	}
}

// TestRewrittenUnderTheMapping is the same with other content in the file at once.
func TestRewrittenUnderTheMapping(t *testing.T) {
	for _, at := range []string{"sized", "copied"} {
		r := newRunningRig(t)
		r.append(log1, long("a")+"\n")
		r.want(long("a"))
		done := false
		r.f.cur.seam = func(step string) {
			if step == at && !done {
				done = true
				r.put(log1, long("x")+"\n"+long("y")+"\n")
			}
		}
		r.append(log1, long("b")+"\n")
		r.want(long("x"), long("y"))
	}
}
