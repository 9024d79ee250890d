package datalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFirstStart(t *testing.T) {
	t.Run("before the directory", func(t *testing.T) {
		r := newRig(t)
		r.start(Position{})
		r.want()
		if !r.f.Position().IsZero() {
			t.Errorf("%+v", r.f.Position())
		}
		r.mkdir()
		r.want()
		r.put(log1, "a\n"+trailer)
		r.want()
		r.put(log2, "b\n")
		r.point(2) // two logs came between two looks
		r.want("a", "b")
		r.restart()
		r.append(log2, "c\n")
		r.want("c")
		r.wantGaps(0, "")
	})
	t.Run("stopped before the first log", func(t *testing.T) {
		r := newRig(t)
		r.start(Position{})
		r.want()
		r.mkdir()
		r.put(log1, "a\n"+trailer)
		r.put(log2, "b\n")
		r.point(2)
		r.opt.NotFirst = true
		r.start(Position{})
		r.want("a", "b")
		r.wantGaps(0, "")
	})
	t.Run("before the pointer", func(t *testing.T) {
		r := newRig(t)
		r.mkdir()
		r.put(log1, "before\n"+trailer)
		r.put(log2, "before\n{\"begun")
		r.age(log1, time.Hour)
		r.start(Position{})
		r.append(log2, "\":1}\na\n")
		r.want()
		r.point(2)
		r.want(`{"begun":1}`, "a")
	})
	t.Run("pointer without its log", func(t *testing.T) {
		r := newRig(t)
		r.mkdir()
		r.put(log1, "before\n"+trailer)
		r.point(2)
		r.start(Position{})
		r.want()
		r.put(log2, "a\n")
		r.want("a")
	})
	t.Run("in the middle of a file", func(t *testing.T) {
		r := newRig(t)
		r.mkdir()
		r.put(log1, "before\nbefore")
		r.point(1)
		r.start(Position{})
		if p := r.f.Position(); p.Number != 1 || p.Offset != 7 ||
			p.Check != slowCheck([]byte("before\n")) || p.Inode != r.inode(log1) {
			t.Errorf("%+v", p)
		}
		r.want()
		r.append(log1, " and after\na\n")
		r.want("before and after", "a")
	})
	t.Run("at an ended log", func(t *testing.T) {
		for _, end := range []string{trailer, "End: Number of bytes: 7\n\n",
			"End: Number of bytes: 7\r\n\r\n\r\n"} {
			r := newRig(t)
			r.mkdir()
			r.put(log1, "before\n"+end)
			r.point(1)
			r.start(Position{})
			r.put(log2, "a\n")
			r.waitWant()
			r.point(2)
			r.want("a")
		}
		r := newRig(t)
		r.mkdir()
		r.put(log1, "before\n"+trailer)
		r.age(log1, time.Second)
		r.put(log2, "the pointer had not moved yet\n")
		r.point(1)
		r.start(Position{})
		r.point(2)
		r.want("the pointer had not moved yet")
	})
	t.Run("other logs about", func(t *testing.T) {
		r := newRig(t)
		r.mkdir()
		r.put("old-"+log3, "before\n")
		r.put(log1, "before\n"+trailer)
		r.put(log2, "before\n")
		r.put(log3, "before\n")
		r.point(2)
		r.start(Position{})
		r.append(log2, "a\n"+trailer)
		r.append(log3, "b\n")
		r.point(3)
		r.want("a", "b")
	})
}

func TestResume(t *testing.T) {
	// Each case starts from the position after "b" in log 1, which has "a", "b" and "c".
	setup := func(t *testing.T) (*rig, Position) {
		r := newRunningRig(t)
		r.append(log1, long("a")+"\n"+long("b")+"\n")
		r.want(long("a"), long("b"))
		p := r.f.Position()
		if p != r.last {
			t.Fatalf("position %+v, after the last record %+v", p, r.last)
		}
		r.append(log1, long("c")+"\n")
		return r, p
	}
	rotations := func(r *rig) {
		r.append(log1, trailer)
		r.put(log2, "d\n"+trailer)
		r.put(log3, "e\n")
		r.point(3)
	}
	t.Run("where it stopped", func(t *testing.T) {
		r, p := setup(t)
		r.start(p)
		if r.f.Position() != p {
			t.Errorf("%+v", r.f.Position())
		}
		r.want(long("c"))
		if s := r.f.Stats(); s.Rotations != 0 || s.Offset != uint64(r.f.cur.size) {
			t.Errorf("%+v", s)
		}
	})
	t.Run("after rotations", func(t *testing.T) {
		r, p := setup(t)
		rotations(r)
		r.start(p)
		r.want(long("c"), "d", "e")
		r.wantGaps(0, "")
	})
	t.Run("renamed to old", func(t *testing.T) {
		r, p := setup(t)
		rotations(r)
		r.rename(log1, "old-"+log1)
		r.rename(log2, "old-"+log2)
		r.start(p)
		r.want(long("c"), "d", "e")
		r.wantGaps(0, "")
	})
	t.Run("renamed, and its number used again", func(t *testing.T) {
		r, p := setup(t)
		rotations(r)
		r.append(log3, trailer)
		r.rename(log1, "old-"+log1)
		r.rename(log2, "old-"+log2)
		r.put(log1, "f\n")
		r.point(1)
		r.start(p)
		r.want(long("c"), "d", "e", "f")
		r.wantGaps(0, "")
	})
	t.Run("copied", func(t *testing.T) {
		for _, also := range []bool{false, true} {
			r, p := setup(t)
			rotations(r)
			aside := r.dir + ".aside"
			r.must(os.Rename(r.dir, aside))
			r.must(os.CopyFS(r.dir, os.DirFS(aside)))
			if also { // the log under the other name, and other content under its own
				r.rename(log1, "old-"+log1)
				r.append(log3, trailer)
				r.put(log1, "f\n")
				r.point(1)
			}
			r.start(p)
			if also {
				r.want(long("c"), "d", "e", "f")
			} else {
				r.want(long("c"), "d", "e")
			}
			r.wantGaps(0, "")
		}
	})
	t.Run("copied, with nothing read yet", func(t *testing.T) {
		r := newRunningRig(t)
		p := r.f.Position()
		r.f.Close()
		r.append(log1, "a\n"+trailer)
		r.put(log2, "b\n"+trailer)
		r.rename(log1, "old-"+log1)
		r.put(log1, "c\n")
		r.point(1)
		aside := r.dir + ".aside"
		r.must(os.Rename(r.dir, aside))
		r.must(os.CopyFS(r.dir, os.DirFS(aside)))
		r.age(log1, time.Second) // copies may have any time
		r.start(p)
		r.want("a", "b", "c")
	})
	t.Run("the same inode before a copy", func(t *testing.T) {
		for _, renamed := range []bool{false, true} {
			r, p := setup(t)
			b, err := os.ReadFile(r.path(log1))
			r.must(err)
			if renamed {
				r.rename(log1, "old-"+log1)
				r.put(log1, string(b))
			} else {
				r.put("old-"+log1, string(b))
			}
			r.start(p)
			if r.f.cur == nil || r.f.cur.id.ino != p.Inode {
				t.Errorf("renamed %v: resumed in the copy", renamed)
			}
		}
	})
	t.Run("gone", func(t *testing.T) {
		r, p := setup(t)
		rotations(r)
		r.append(log3, trailer)
		r.put(log4, "f\n"+trailer)
		r.put("old-"+log2, "g\n") // of the previous round, by its number
		r.point(4)
		r.remove(log1)
		r.start(p)
		if r.f.Position() != p {
			t.Errorf("%+v", r.f.Position())
		}
		r.want()
		r.waitWant("d", "e", "f")
		r.wantGaps(1, GapLogGone)
		if g := r.f.Stats().LastGap; g.After != p || g.Next != 2 {
			t.Errorf("%+v", g)
		}
	})
	t.Run("gone with the number used again", func(t *testing.T) {
		r, p := setup(t)
		r.remove(log1)
		r.put("old-"+log3, "c\n"+trailer)
		r.put(log4, "d\n"+trailer)
		r.put(log1, "e\n"+trailer)
		r.put(log2, "f\n")
		r.point(2)
		r.start(p)
		r.waitWant("c", "d", "e", "f")
		r.wantGaps(1, GapLogGone)
	})
	t.Run("gone, older ones are there", func(t *testing.T) {
		r := newRig(t)
		r.mkdir()
		r.put(log1, "before\n"+trailer)
		r.put(log2, "")
		r.age(log1, time.Hour)
		r.point(2)
		r.start(Position{})
		r.append(log2, "a\n")
		r.want("a")
		p := r.f.Position()
		r.f.Close()
		r.remove(log2)
		r.put(log2, "b\n") // the number is in use, so only the times tell that log 1 is older
		r.start(p)
		r.waitWant("b")
		r.wantGaps(1, GapLogGone)
	})
	t.Run("not there yet", func(t *testing.T) {
		r, p := setup(t)
		rotations(r)
		aside := r.dir + ".aside"
		r.must(os.Rename(r.dir, aside))
		r.start(p)
		r.waitWant()
		r.must(os.Rename(aside, r.dir))
		r.want(long("c"), "d", "e")
		r.wantGaps(0, "")
	})
	t.Run("being copied", func(t *testing.T) {
		r, p := setup(t)
		rotations(r)
		aside := r.dir + ".aside"
		r.must(os.Rename(r.dir, aside))
		r.mkdir()
		r.point(3)
		r.start(p)
		for _, name := range []string{log3, log2, log1} {
			r.want()
			b, err := os.ReadFile(aside + "/" + name)
			r.must(err)
			r.put(name, string(b))
		}
		r.want(long("c"), "d", "e")
		r.wantGaps(0, "")
	})
	t.Run("cut while nobody looked", func(t *testing.T) {
		r, p := setup(t)
		r.f.Close()
		r.put(log1, "x\n")
		r.start(p)
		r.waitWant("x")
		r.wantGaps(1, GapLogGone)
	})
	t.Run("at the end of an ended log", func(t *testing.T) {
		r, _ := setup(t)
		r.want(long("c"))
		r.append(log1, "End: Number of bytes: 3\n\n")
		r.want()
		r.restart()
		r.put(log2, "d\n")
		r.point(2)
		r.want("d")
	})
}

// TestResumeFromEveryRecord checks that from each delivered position exactly the later records
// come.
func TestResumeFromEveryRecord(t *testing.T) {
	r := newRunningRig(t)
	var want []string
	for n := 1; n <= 3; n++ {
		for i := range 40 {
			line := fmt.Sprintf("%d in %d", i, n)
			want = append(want, line)
			r.append(fmt.Sprintf(logN, n), line+"\r\n\n"[n%2:])
		}
		if n < 3 {
			r.append(fmt.Sprintf(logN, n), "End: Number of bytes: 9\n\n")
		}
		r.put(fmt.Sprintf(logN, n+1), "")
		r.point(min(3, n+1))
	}
	var all []Record
	var b Batch
	for len(all) < len(want) {
		r.f.look(&b)
		for _, rec := range b.Records {
			all = append(all, Record{[]byte(string(rec.Line)), rec.Next})
		}
	}
	for i, rec := range all {
		r.start(DecodePosition(rec.Next.Encode()))
		r.want(want[i+1:]...)
	}
	r.wantGaps(0, "")
}

// TestEndsWithTrailer includes the case that the examined part begins with the text of a trailer,
// which may be the end of a longer line.
func TestEndsWithTrailer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for text, want := range map[string]bool{
		"": false, "\n\n": false, trailer: true, "a\n" + trailer + "\n \r\n": true,
		trailer + "a\n": false, "a" + trailer: false,
		trailer + strings.Repeat("\n", 4096-len(trailer)):                     true,
		"x\n" + trailer + strings.Repeat("\n", 4096-len(trailer)-1):           true,
		"x" + trailer + strings.Repeat("\n", 4096-len(trailer)):               false,
		strings.Repeat("x\n", 5000) + trailer:                                 true,
		strings.Repeat("x", 5000) + trailer + "End: Number of bytes: 1\r\n\n": true,
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := endsWithTrailer(f, int64(len(text))); got != want || err != nil {
			t.Errorf("%.30q…, %d bytes: %v %v, want %v", text, len(text), got, err, want)
		}
		f.Close()
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Stream: Cycle}, {Dir: "x"}, {Dir: "x", Stream: 4},
		{Dir: "x", Stream: Cycle, Interval: -1}, {Dir: "x", Stream: Cycle, MaxLine: -1}} {
		if f, err := NewFollower(o); err == nil {
			f.Close()
			t.Errorf("%+v accepted", o)
		}
	}
	for _, s := range []Stream{0, 4} {
		if s.valid() || s.String() != fmt.Sprintf("stream(%d)", s) {
			t.Error(s.String())
		}
	}
}

// TestLeftIsBounded checks that only the newest logs that were left are remembered.
func TestLeftIsBounded(t *testing.T) {
	var f Follower
	for n := range uint32(3 * maxLeft) {
		f.noteLeft(Position{Number: n, Offset: tailBytes})
	}
	if n := len(f.left); n != maxLeft || f.left[0].Number != 2*maxLeft ||
		f.left[n-1].Number != 3*maxLeft-1 {
		t.Errorf("%d: %v", n, f.left)
	}
}
