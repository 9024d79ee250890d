package datalog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mount mounts a file system until the end of the test. It skips the test if that is not allowed.
func mount(t *testing.T, kind, at, data string) {
	t.Helper()
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", at, kind, 0, data); err != nil {
		t.Skipf("mounting %s: %v", kind, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// TestSameInodeOnAnotherDevice switches the directory to another file system, on which the log has
// the same inode number.
func TestSameInodeOnAnotherDevice(t *testing.T) {
	r := newRig(t)
	base := filepath.Dir(r.dir)
	a, b := filepath.Join(base, "a"), filepath.Join(base, "b")
	mount(t, "tmpfs", a, "size=1m")
	mount(t, "tmpfs", b, "size=1m")
	r.must(os.Symlink(a, r.dir))
	r.put(log1, "")
	r.point(1)
	r.start(Position{})
	r.append(log1, long("a")+"\n")
	r.want(long("a"))
	before := r.inode(log1)
	for _, name := range []string{log1, activeLog} {
		text, err := os.ReadFile(r.path(name))
		r.must(err)
		r.must(os.WriteFile(filepath.Join(b, name), text, 0o644))
	}
	r.must(os.Symlink(b, r.dir+".new"))
	r.must(os.Rename(r.dir+".new", r.dir))
	if r.inode(log1) != before {
		t.Fatal("the inode numbers differ")
	}
	r.append(log1, long("b")+"\n")
	r.want(long("b"))
	r.append(log1, trailer)
	r.put(log2, "c\n")
	r.point(2)
	r.want("c")
	r.wantGaps(0, "")
}

// TestOverlayCopyUp follows a log in the lower layer of an overlay. The first write copies the log
// up, but a mapping stays one of the lower file.
func TestOverlayCopyUp(t *testing.T) {
	// within a page of the end, and beyond it
	for _, size := range []int{20, 4096 - 8, 4096, 3 * 4096} {
		r := newRig(t)
		base := filepath.Join(filepath.Dir(r.dir), "base")
		mount(t, "tmpfs", base, "size=4m")
		at := func(name string) string { return filepath.Join(base, name) }
		for _, name := range []string{"lower", "upper", "work"} {
			r.must(os.Mkdir(at(name), 0o755))
		}
		before := strings.Repeat("b", size-8) + "\nbefore\n"
		r.must(os.WriteFile(filepath.Join(at("lower"), log1), []byte(before), 0o644))
		r.must(os.WriteFile(filepath.Join(at("lower"), activeLog), []byte(log1), 0o644))
		mount(t, "overlay", r.dir, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at("lower"),
			at("upper"), at("work")))
		r.start(Position{Number: 1, Inode: r.inode(log1), Check: slowCheck(nil)}) // maps it
		r.want(strings.Repeat("b", size-8), "before")
		for i := range 3 {
			r.append(log1, fmt.Sprintf("%d\n", i))
			r.want(fmt.Sprint(i))
		}
		r.append(log1, trailer)
		r.put(log2, "next\n")
		r.point(2)
		r.want("next")
		r.wantGaps(0, "")
	}
}

// replaceBy replaces a log by another file.
func (r *rig) replaceBy(name, text string) {
	r.t.Helper()
	r.put("."+name+".new", text)
	r.rename("."+name+".new", name)
}

// TestOlderState checks that no record is sent again if a log lost its end, by a cut or by an older
// copy, while the follower runs or is stopped.
func TestOlderState(t *testing.T) {
	var lines []string
	for i := range 40 {
		lines = append(lines, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("p", 100)))
	}
	text := strings.Join(lines, "\n") + "\n"
	cut := len(strings.Join(lines[:30], "\n")) + 1
	const anew = `{"new":1}`
	for _, c := range []struct {
		name   string
		stop   bool
		past   bool
		change func(r *rig)
		then   string // appended
		want   []string
	}{
		{"running, cut", false, false, func(r *rig) { r.truncate(log1, int64(cut)) }, anew + "\n", []string{anew}},
		{"running, cut into a line", false, false, func(r *rig) { r.truncate(log1, int64(cut+50)) }, anew + "\n", []string{anew}},
		{"running, cut and grown", false, false, func(r *rig) {
			r.put(log1, text[:cut]+anew+"\n")
		}, "", []string{anew}},
		{"running, cut and grown further", false, false, func(r *rig) {
			r.put(log1, text[:cut]+anew+"\n"+strings.Repeat("x", len(text))+"\n")
		}, "", []string{anew, strings.Repeat("x", len(text))}},
		{"running, replaced", false, false, func(r *rig) { r.replaceBy(log1, text[:cut]) }, anew + "\n", []string{anew}},
		{"running, replaced and grown", false, false, func(r *rig) { r.replaceBy(log1, text[:cut]+anew+"\n") }, "", []string{anew}},
		{"running, replaced, and back", false, false, func(r *rig) { r.replaceBy(log1, text[:cut]); r.want(); r.replaceBy(log1, text) }, anew + "\n", []string{anew}},
		{"running, grown again", false, false, func(r *rig) { r.truncate(log1, int64(cut)); r.want(); r.append(log1, text[cut:cut+500]); r.want() }, text[cut+500:] + anew + "\n", []string{anew}},
		{"stopped, cut", true, false, func(r *rig) { r.truncate(log1, int64(len(text)-10)) }, anew + "\n", []string{anew}},
		{"stopped, cut, and the records known", true, true, func(r *rig) { r.truncate(log1, int64(cut)) }, anew + "\n", []string{anew}},
		{"stopped, cut into a line, and the records known", true, true, func(r *rig) { r.truncate(log1, int64(cut+50)) }, anew + "\n", []string{anew}},
		{"stopped, cut and grown", true, true, func(r *rig) {
			r.put(log1, text[:cut]+anew+"\n")
		}, "", []string{anew}},
		{"stopped, cut and grown further", true, true, func(r *rig) {
			r.put(log1, text[:cut]+anew+"\n"+strings.Repeat("x", len(text))+"\n")
		}, "", []string{anew, strings.Repeat("x", len(text))}},
		{"stopped, replaced", true, true, func(r *rig) { r.replaceBy(log1, text[:cut]) }, anew + "\n", []string{anew}},
		{"stopped, and grown again", true, true, func(r *rig) { r.truncate(log1, int64(cut)) }, text[cut:] + anew + "\n", []string{anew}},
		{"stopped, all of it lost", true, true, func(r *rig) { r.truncate(log1, 0) }, anew + "\n",
			[]string{anew}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRunningRig(t)
			r.append(log1, text)
			var past []Position
			var b Batch
			r.f.look(&b)
			for _, rec := range b.Records {
				past = append(past, rec.Next)
			}
			if len(past) != len(lines) {
				t.Fatal(len(past))
			}
			if c.past {
				slices.Reverse(past)
				r.opt.Past = slices.Values(past)
			}
			p := r.f.Position()
			if c.stop {
				r.f.Close()
			}
			c.change(r)
			if c.stop {
				r.start(p)
			}
			if c.then != "" {
				r.want()
				if got := r.f.Position(); got.Offset != p.Offset || got.Check != p.Check {
					t.Errorf("the position is %+v, want %+v", got, p)
				}
				r.append(log1, c.then)
			}
			r.want(c.want...)
			r.wantGaps(0, "")
			r.append(log1, "z\n"+trailer)
			r.put(log2, "next\n")
			r.point(2)
			r.want("z", "next")
		})
	}
	t.Run("changed since, and nothing known", func(t *testing.T) { // lines may have been appended
		r := newRunningRig(t)
		r.append(log1, text)
		r.want(lines...)
		p := r.f.Position()
		p.Time -= 60
		r.f.Close()
		r.truncate(log1, int64(cut))
		r.start(p)
		r.want()
		r.wantGaps(1, GapTruncated)
	})
	t.Run("an empty log of a later lap", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, text)
		r.want(lines...)
		p := r.f.Position()
		r.f.Close()
		r.put(log3, "b\n"+trailer)
		r.truncate(log1, 0)
		at := time.Unix(int64(p.Time)+60, 0)
		r.must(os.Chtimes(r.path(log3), at, at))
		r.start(p)
		r.waitWant("b")
		r.wantGaps(1, GapLogGone)
	})
}

// TestOlderStateGrowsTwice appends whole lines to an older state before the follower sees it, and
// again before it is read. All these lines are new.
func TestOlderStateGrowsTwice(t *testing.T) {
	var lines []string
	for i := range 40 {
		lines = append(lines, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("p", 100)))
	}
	text := strings.Join(lines, "\n") + "\n"
	cut := len(strings.Join(lines[:30], "\n")) + 1
	for _, running := range []bool{false, true} {
		for _, torn := range []string{"", `{"torn":`} {
			t.Run(fmt.Sprintf("running %v, torn %q", running, torn), func(t *testing.T) {
				r := newRunningRig(t)
				r.append(log1, text)
				var past []Position
				var b Batch
				r.f.look(&b)
				for _, rec := range b.Records {
					past = append(past, rec.Next)
				}
				slices.Reverse(past)
				r.opt.Past = slices.Values(past)
				p := r.f.Position()
				r.put(log1, text[:cut]+anewLine+torn)
				if running {
					if out, err := r.f.cur.read(&b); out != truncated || err != nil {
						t.Fatal(out, err)
					}
				} else {
					r.start(p)
				}
				r.append(log1, strings.Repeat("1}\n", min(1, len(torn)))+`{"new":2}`+"\n")
				want := []string{strings.TrimSpace(anewLine), `{"torn":1}`, `{"new":2}`}
				if torn == "" {
					want = slices.Delete(want, 1, 2)
				}
				r.want(want...)
				r.wantGaps(0, "")
			})
		}
	}
}

// TestTrailIsBounded checks that a trail has at most maxMarks marks, and keeps the furthest one.
func TestTrailIsBounded(t *testing.T) {
	var l trail
	for i := int64(1); i <= 5*maxMarks; i++ {
		l.add(100*i, uint64(i))
		if len(l.marks) > maxMarks || l.end() != 100*i {
			t.Fatal(len(l.marks), l.end())
		}
	}
	if len(l.marks) < maxMarks/2 || !slices.IsSortedFunc(l.marks, func(a, b mark) int {
		return int(a.offset - b.offset)
	}) {
		t.Error(len(l.marks))
	}
	if m, ok := l.after(l.marks[7].offset); !ok || m != l.marks[8] {
		t.Error(m, ok)
	}
	l.dropAfter(l.marks[7].offset)
	if len(l.marks) != 8 {
		t.Error(len(l.marks))
	}
}

// TestMisleadingFileTimes uses file times by which logs of the previous round seem to be leftovers.
func TestMisleadingFileTimes(t *testing.T) {
	for name, ages := range map[string][]int{ // in seconds, of 6 to 10, 1 and 2
		"as written":           {70, 60, 50, 40, 30, 20, 10},
		"copied without times": {570, 840, 660, 750, 1110, 1020, 930},
		"the clock was ahead":  {-300, 60, 50, 40, 30, 20, 10},
	} {
		for _, stop := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stopped %v", name, stop), func(t *testing.T) {
				r := newRig(t)
				r.mkdir()
				logs := []string{"receipt-log6.txt", "receipt-log7.txt", "receipt-log8.txt", "receipt-log9.txt",
					"receipt-log10.txt", log1, log2}
				r.put(logs[0], "")
				r.point(6)
				r.start(Position{})
				p := r.f.Position()
				if stop {
					r.f.Close()
				}
				for i, log := range logs {
					r.append(log, log+"\n"+trailer)
					r.age(log, time.Duration(ages[i])*time.Second)
				}
				r.point(2)
				if stop {
					r.start(p)
				}
				r.waitWant(logs...)
				r.wantGaps(0, "")
			})
		}
	}
}

// TestMirrorOutOfOrder replaces each file by a longer copy, in another order than the files were
// written.
func TestMirrorOutOfOrder(t *testing.T) {
	setup := func(t *testing.T) *rig {
		r := newRig(t)
		r.mkdir()
		r.put("receipt-log9.txt", long("a")+"\n")
		r.point(9)
		r.start(Position{})
		return r
	}
	all := long("a") + "\n" + long("b") + "\n"
	t.Run("the rest comes late", func(t *testing.T) {
		for _, wait := range []time.Duration{0, 3 * time.Second, incompleteWait - time.Second,
			5 * time.Minute} {
			r := setup(t)
			r.replaceBy("receipt-log9.txt", all)
			r.want(long("b"))
			r.point(10)
			r.replaceBy("receipt-log10.txt", "d\n")
			for range 10 {
				r.want()
				r.clock = r.clock.Add(wait / 10)
			}
			r.replaceBy("receipt-log9.txt", all+"c\n"+trailer)
			r.want("c", "d")
			r.wantGaps(0, "")
		}
	})
	t.Run("the first time", func(t *testing.T) { // it is not known for a mirror
		r := setup(t)
		r.point(10)
		r.replaceBy("receipt-log10.txt", "d\n")
		r.want()
		r.clock = r.clock.Add(incompleteWait - time.Second)
		r.want()
		r.replaceBy("receipt-log9.txt", all+trailer)
		r.want(long("b"), "d")
		r.wantGaps(0, "")
	})
	t.Run("a log comes after the next", func(t *testing.T) {
		r := setup(t)
		r.replaceBy("receipt-log9.txt", all+trailer)
		r.want(long("b"))
		r.point(11)
		r.replaceBy("receipt-log11.txt", "e\n")
		r.want()
		r.clock = r.clock.Add(time.Minute)
		r.want()
		r.replaceBy("receipt-log10.txt", "d\n"+trailer)
		r.want("d", "e")
		r.wantGaps(0, "")
	})
	t.Run("too late", func(t *testing.T) {
		r := setup(t)
		r.point(10)
		r.replaceBy("receipt-log10.txt", "d\n")
		r.want()
		r.clock = r.clock.Add(incompleteWait)
		r.want("d")
		r.replaceBy("receipt-log9.txt", all+trailer)
		r.clock = r.clock.Add(checkEvery)
		r.want()
		r.wantGaps(1, GapLateGrowth)
		r.clock = r.clock.Add(checkEvery)
		r.want()
		r.wantGaps(1, GapLateGrowth) // once
	})
	t.Run("the next log comes before the pointer, and a restart", func(t *testing.T) {
		r := setup(t)
		r.replaceBy("receipt-log9.txt", all)
		r.want(long("b"))
		r.replaceBy("receipt-log10.txt", "d\n")
		r.restart()
		r.want()
		r.replaceBy("receipt-log9.txt", all+trailer)
		r.point(10)
		r.want("d")
		r.wantGaps(0, "")
	})
}

// TestOlderStateBeforeAllMarks replaces a log by an older copy that has grown. No mark is that
// early, because those frames are gone, so the follower must use the open file.
func TestOlderStateBeforeAllMarks(t *testing.T) {
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, "{\"n\":%d,\"pad\":%q}\n", i, strings.Repeat("p", 100))
	}
	whole := text.String()
	at := strings.LastIndex(whole[:2000], "\n") + 1
	for _, c := range []struct{ name, copied string }{
		{"behind a line", whole[:at] + anewLine},
		{"behind a torn line", whole[:at+60] + anewLine},
		{"longer than the log", whole[:at] + anewLine + strings.Repeat("{}\n", 5000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRunningRig(t)
			r.append(log1, whole)
			r.got()
			r.restart() // without Past
			r.want()
			r.replaceBy(log1, c.copied)
			if got := r.got(); len(got) == 0 || got[0]+"\n" != anewLine || len(got) > 1 && got[1] != "{}" {
				t.Fatalf("got %.200q, want %q first", got, anewLine)
			}
			r.wantGaps(0, "")
		})
	}
}

const anewLine = `{"new":1}` + "\n"

// TestTornCopyGrowsInACopy replaces a copy that ends inside a line, after a blank line, by a copy
// that has grown after the torn line.
func TestTornCopyGrowsInACopy(t *testing.T) {
	r := newRunningRig(t)
	whole := ""
	for i := range 4 {
		whole += long(fmt.Sprint(i)) + "\n\n"
	}
	r.append(log1, whole)
	r.got()
	cut := whole[:len(whole)-20]
	r.replaceBy(log1, cut)
	r.want()
	r.replaceBy(log1, cut+anewLine)
	r.want(strings.TrimSpace(anewLine))
	r.wantGaps(0, "")
}

// TestTornLineBehindABlankLine is the same in one file: a restarted writer appends to the torn
// line.
func TestTornLineBehindABlankLine(t *testing.T) {
	r := newRunningRig(t)
	whole := long("a") + "\n\n" + long("b") + "\n"
	r.append(log1, whole)
	r.want(long("a"), long("b"))
	r.truncate(log1, int64(len(whole)-20))
	r.want()
	r.append(log1, anewLine)
	r.want(strings.TrimSpace(anewLine))
	r.wantGaps(0, "")
}

// TestCopyWithTheInodeOfAnotherLog replaces a log that was left by a copy with the inode number of
// another log that was left.
func TestCopyWithTheInodeOfAnotherLog(t *testing.T) {
	r := newRunningRig(t)
	texts := []string{long("a") + "\n" + trailer, long("b") + "\n" + trailer}
	r.append(log1, texts[0])
	r.put(log2, texts[1])
	r.put(log3, "")
	r.point(3)
	r.want(long("a"), long("b"))
	r.replaceBy(log1, texts[0])
	id := func(name string) fileID {
		fi, err := os.Stat(r.path(name))
		r.must(err)
		return idOf(fi)
	}
	r.f.known[id(log1)] = r.f.known[id(log2)] // as if the second log had been replaced earlier
	r.remove(log3)
	r.replaceBy(log3, long("c")+"\n")
	r.waitWant(long("c"))
	r.wantGaps(0, "")
}

// TestFirstLogBesideAnEmptyOlderOne starts when the next log was just created with an earlier time,
// because the clock was set back.
func TestFirstLogBesideAnEmptyOlderOne(t *testing.T) {
	for _, c := range []struct{ first, next int }{{1, 2}, {2, 1}} {
		r := newRig(t)
		first, next := Receipt.FileName(uint32(c.first)), Receipt.FileName(uint32(c.next))
		r.start(Position{})
		r.mkdir()
		r.put(first, "a\n"+trailer)
		r.put(next, "")
		r.age(next, time.Hour)
		r.point(c.first)
		r.want()
		r.put(next, "b\n")
		r.point(c.next)
		r.waitWant("a", "b")
		r.wantGaps(0, "")
	}
}

// TestGrowthWhileStopped checks that growth of a log that was left, while nothing runs, is reported
// once as a gap at the next start, and that no other change of such logs is.
func TestGrowthWhileStopped(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(r *rig)
		gaps   uint64
	}{
		{"nothing", func(*rig) {}, 0},
		{"grown", func(r *rig) { r.append(log1, "late\n") }, 1},
		{"grown by blank lines and a trailer", func(r *rig) { r.append(log1, "\n\n"+trailer) }, 0},
		{"renamed", func(r *rig) { r.rename(log1, "old-"+log1) }, 0},
		{"renamed and grown", func(r *rig) { r.append(log1, "late\n"); r.rename(log1, "old-"+log1) }, 1},
		{"copied", func(r *rig) { r.replaceBy(log1, long("a")+"\n"+trailer) }, 0},
		{"copied and grown", func(r *rig) { r.replaceBy(log1, long("a")+"\n"+trailer+"late\n") }, 1},
		{"another log", func(r *rig) {
			r.replaceBy(log1, long("z")+"\n"+long("z")+"\n"+trailer+trailer)
		}, 0},
		{"cut", func(r *rig) { r.truncate(log1, 100) }, 0},
		{"gone", func(r *rig) { r.remove(log1) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRunningRig(t)
			r.append(log1, long("a")+"\n"+trailer)
			r.put(log2, long("b")+"\n"+trailer)
			r.put(log3, long("c")+"\n")
			r.point(3)
			r.want(long("a"), long("b"), long("c"))
			r.opt.Left = r.f.Left()
			r.restart()
			r.want()
			r.wantGaps(0, "")
			r.opt.Left = r.f.Left()
			r.f.Close()
			c.change(r)
			r.restart()
			r.append(log3, "more\n")
			r.want("more")
			if n := r.f.Stats().Gaps; n != c.gaps {
				t.Fatalf("%d gaps, want %d", n, c.gaps)
			}
			r.opt.Left = r.f.Left()
			r.restart()
			r.want()
			r.wantGaps(0, "") // once
		})
	}
}

// TestStaleMappingOfABatch uses a mapping that differs from the file at the end of the copied
// bytes.
func TestStaleMappingOfABatch(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, long("a")+"\n")
	r.want(long("a"))
	r.put("stale", long("a")+"\n"+long("x")+"x\n")
	stale, err := os.Open(r.path("stale"))
	r.must(err)
	defer stale.Close()
	r.f.cur.win.close()
	_, err = r.f.cur.win.view(stale, 0, 1)
	r.must(err)
	r.append(log1, long("b")+"b\n")
	r.want(long("b") + "b")
	if !r.f.cur.win.direct {
		t.Error("the mapping is still in use")
	}
}

// TestCopyOfWhichNothingIsKnown cuts a log without known records, and replaces it by a longer copy
// with a later time. Lines of the copy may be new.
func TestCopyOfWhichNothingIsKnown(t *testing.T) {
	r := newRunningRig(t)
	whole := strings.Repeat(long("a")+"\n", 40)
	r.append(log1, whole)
	r.got()
	r.restart() // without Past
	r.want()
	r.truncate(log1, 300)
	r.want()
	r.replaceBy(log1, whole[:10*len(long("a")+"\n")])
	r.age(log1, -time.Hour)
	r.want()
	r.wantGaps(1, GapTruncated)
}

func TestSkipHole(t *testing.T) {
	r := newRunningRig(t)
	const size = 64 << 20
	r.append(log1, "a")
	r.truncate(log1, size)
	if at := r.f.cur.skipHole(1<<20, size); at == 1<<20 {
		t.Skip("the file system does not tell of holes")
	} else if at != size {
		t.Errorf("the hole ends at %d, want %d", at, size)
	}
	if at := r.f.cur.skipHole(0, size); at != 0 {
		t.Errorf("a hole where data is, up to %d", at)
	}
	r.append(log1, "b")
	if at := r.f.cur.skipHole(1<<20, size+1); at > size {
		t.Errorf("the hole ends at %d, behind the data at %d", at, size)
	}
}
