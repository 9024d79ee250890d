package datalog

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Faults of data logs, and the test of each:
//
//	line cut at every byte                        TestLineCutAtEveryByte
//	line cut at 4 KiB edges                       TestLineCutAtPageEdges
//	no newline at the end, then rotation          TestLogWithoutTrailer, …AndFurtherRotations
//	blank lines, CR LF, BOM, NUL, 16 MiB          TestWhatIsALine
//	line over the limit                           TestLinesOverTheCap
//	trailer with a wrong count                    TestFaults/trailer with a wrong count
//	trailer text inside a JSON string             TestWhatIsALine/no trailers
//	pointer empty, torn, garbage                  TestPointerStates
//	pointer ahead of its file                     TestPointerStates/ahead of its file
//	pointer rewritten with the same value         TestFaults/pointer rewritten with the same value
//	two or more rotations between looks           TestSeveralRotationsBetweenTwoLooks
//	wrap-around, old- renames of both halves      TestWrapAround, TestModel
//	rename while open                             TestRenameWhileOpen, TestRenameWhileListing
//	name reused by a new file                     TestNameUsedAgain
//	the same, with the inode number               TestFaults/name and inode reused,
//	                                              TestNameAndInodeUsedAgain,
//	                                              TestRememberedInodeUsedAgain
//	truncation to nothing, to the middle          TestTruncation
//	the same, before all was read                 TestFaults/truncated, not all read: …
//	other content, of the same size or not        TestOtherContent
//	the same, before all was read                 TestFaults/other content, not all read
//	cut while it is being read                    TestCutUnderTheMapping
//	deletion of the active log                    TestFaults/active log deleted
//	deletion of logs not yet read                 TestFaults/next log deleted,
//	                                              TestMissingLogIsAGap, TestWholeRoundBehind
//	directory replaced                            TestDirectoryReplaced
//	permission lost and regained                  TestPermissions
//	inotify absent                                TestPollingOnly, TestNoBusyLoop
//	inotify overflowing                           TestInotifyOverflow
//	start before the directory exists             TestFirstStart, TestInotifyOnANewDirectory
//	start in the middle of a file                 TestFirstStart/in the middle of a file
//	start after many rotations                    TestFaults/start after many rotations
//	clock steps                                   TestClockSteps

// fault is a row: a running follower at the end of log 1, which holds the line "a".
type fault struct {
	name string
	do   func(r *rig)
	want []string
	gaps []Gap // only Reason, Next and Bytes are compared
}

var faults = []fault{
	{"trailer with a wrong count", func(r *rig) {
		for n, count := range []string{"0", "99999999999999999999", "000", "1"} {
			r.append(fmt.Sprintf(logN, n+1), fmt.Sprintf("in %d\nEnd: Number of bytes: %s\n", n+1, count))
			r.put(fmt.Sprintf(logN, n+2), "")
			r.point(n + 2)
		}
	}, []string{"in 1", "in 2", "in 3", "in 4"}, nil},

	{"pointer rewritten with the same value", func(r *rig) {
		for range 3 {
			r.append(log1, "b\n")
			r.put(activeLog, "")
			r.want("b")
			r.point(1)
			r.want()
		}
		r.append(log1, "c\n"+trailer)
		r.point(1)
		r.want("c")
		r.point(1) // though it has ended
		r.put(log2, "d\n")
		r.want()
		r.point(2)
		r.want("d")
		r.point(2)
	}, nil, nil},

	// The name is removed and comes back for the same file, with other content.
	{"name and inode reused", func(r *rig) {
		r.must(os.Link(r.path(log1), r.path("aside")))
		r.remove(log1)
		r.want()
		r.put("aside", "x\ny\n")
		r.rename("aside", log1)
	}, []string{"x", "y"}, nil},

	{"truncated, not all read: to nothing", func(r *rig) {
		r.append(log1, "half a line")
		r.want()
		r.truncate(log1, 0)
		r.want()
		r.append(log1, "b\n")
	}, []string{"b"}, []Gap{{Reason: GapTruncated, Next: 1, Bytes: 11}}},

	{"truncated, not all read: into the line", func(r *rig) {
		r.append(log1, "half a line")
		r.want()
		r.truncate(log1, 6)
		r.want()
		r.append(log1, " b\n")
	}, []string{"half b"}, []Gap{{Reason: GapTruncated, Next: 1, Bytes: 7}}},

	{"truncated, all read", func(r *rig) {
		r.append(log1, "b\n")
		r.want("b")
		r.truncate(log1, 3) // inside a line that was delivered
		r.want()
		r.truncate(log1, 2)
		r.want()
		r.append(log1, "c\n")
	}, []string{"c"}, nil},

	{"other content, not all read", func(r *rig) {
		r.append(log1, "half a line")
		r.want()
		r.put(log1, strings.Repeat("x", 20)+"\n")
	}, []string{strings.Repeat("x", 20)}, []Gap{{Reason: GapTruncated, Next: 1, Bytes: 11}}},

	{"active log deleted", func(r *rig) { // what came before it was is read all the same
		r.append(log1, "b\n")
		r.remove(log1)
		r.want("b")
		r.waitWant()
		r.put(log2, "c\n")
		r.point(2)
	}, []string{"c"}, nil},

	{"next log deleted", func(r *rig) {
		r.append(log1, trailer)
		r.put(log2, "lost\n"+trailer)
		r.put(log3, "c\n")
		r.remove(log2)
		r.point(3)
	}, []string{"c"}, []Gap{{Reason: GapLogsMissing, Next: 3}}},

	{"several logs and ours deleted", func(r *rig) {
		r.append(log1, "b\n"+trailer)
		r.put(log4, "c\n")
		r.remove(log1)
		r.point(4)
	}, []string{"b", "c"}, []Gap{{Reason: GapLogGone, Next: 4}}},

	{"start after many rotations", func(r *rig) { // twice round, at most 4 logs, reading in between
		p, n := r.f.Position(), 1
		var want []string
		for i := range 19 {
			line := fmt.Sprintf("%d in %d", i, n)
			r.append(fmt.Sprintf(logN, n), line+"\n"+trailer)
			want = append(want, line)
			if n = n%4 + 1; n == 2 {
				retire(r, 3, 4)
			} else if n == 4 {
				retire(r, 1, 2)
			}
			r.put(fmt.Sprintf(logN, n), "")
			r.point(n)
			if i%3 == 2 { // three logs behind at most
				r.start(p)
				r.want(want...)
				p, want = r.f.Position(), nil
				r.f.Close()
			}
		}
		r.start(p)
		r.want(want...)
	}, nil, nil},
}

func TestFaults(t *testing.T) {
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			r := newRunningRig(t)
			r.append(log1, "a\n")
			r.want("a")
			c.do(r)
			r.waitWant(c.want...)
			if s := r.f.Stats(); s.Gaps != uint64(len(c.gaps)) {
				t.Fatalf("%d gaps, last %+v; want %+v", s.Gaps, s.LastGap, c.gaps)
			}
			for _, want := range c.gaps {
				s := r.f.Stats()
				if g := s.LastGap; g.Reason != want.Reason || g.Next != want.Next || g.Bytes != want.Bytes ||
					s.GapBytes != want.Bytes || g.Time.IsZero() {
					t.Errorf("%+v, want %+v", g, want)
				}
			}
		})
	}
}

// TestGapsInBatches checks that a gap is delivered once, after the records before it and before the
// records after it.
func TestGapsInBatches(t *testing.T) {
	words := func(r *rig) (words []string) {
		for range 6 {
			var b Batch
			r.f.look(&b)
			for _, g := range b.Gaps {
				words = append(words, string(g.Reason))
			}
			for _, rec := range b.Records {
				words = append(words, string(rec.Line[:1]))
			}
			r.clock = r.clock.Add(defaultLinger)
		}
		return words
	}
	check := func(r *rig, want ...string) {
		r.t.Helper()
		if got := words(r); fmt.Sprint(got) != fmt.Sprint(want) {
			r.t.Errorf("%v, want %v", got, want)
		}
	}
	t.Run("a log is missing", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, "a\n"+trailer)
		r.put(log3, "c\n")
		r.point(3)
		check(r, "a", "logs-missing", "c")
		check(r)
	})
	t.Run("and nothing has come since", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, "a\n"+trailer)
		r.put(log3, "")
		r.point(3)
		check(r, "a", "logs-missing")
		r.append(log3, "c\n")
		check(r, "c")
	})
	t.Run("found at the start", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, "a\n"+trailer)
		check(r, "a")
		r.remove(log1)
		r.put(log2, "b\n")
		r.point(2)
		r.opt.linger = 1 // believed at once: by NewFollower
		at := r.clock
		r.opt.now = func() time.Time { at = at.Add(time.Second); return at }
		r.restart()
		check(r, "log-gone", "b")
	})
	t.Run("cut behind lines that are left", func(t *testing.T) {
		r := newRunningRig(t)
		line := strings.Repeat("l", batchBytes/2) + "\n"
		r.append(log1, "a\n"+strings.Repeat(line, 6))
		var b Batch
		r.f.look(&b) // a, and one line
		if len(b.Records) != 2 {
			t.Fatal(len(b.Records))
		}
		r.truncate(log1, int64(2+4*len(line)+10))
		r.f.look(&b) // sees it, and one line more
		r.append(log1, "rest\nz\n")
		check(r, "l", "l", "truncated", "l", "z")
		if s := r.f.Stats(); s.Truncations != 0 || s.GapBytes != uint64(2*len(line)-10) {
			t.Errorf("%+v", s)
		}
	})
	t.Run("cut at the end of lines that are left", func(t *testing.T) {
		r := newRunningRig(t)
		line := strings.Repeat("l", batchBytes/2) + "\n"
		r.append(log1, "a\n"+strings.Repeat(line, 6))
		var b Batch
		r.f.look(&b)
		r.truncate(log1, int64(2+3*len(line)))
		check(r, "l", "l", "truncated")
		r.append(log1, "z\n")
		check(r, "z")
		if s := r.f.Stats(); s.GapBytes != uint64(3*len(line)) || s.Gaps != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestClockSteps checks that wrong times of files do not matter while numbers tell the order, and
// that records that they make the follower miss are reported as a gap.
func TestClockSteps(t *testing.T) {
	for name, step := range map[string]time.Duration{"back": -time.Hour, "forward": 24 * time.Hour} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s at each rotation, restart %v", name, restart), func(t *testing.T) {
				r := newRunningRig(t)
				at, n := time.Now(), 1
				for i := range 14 {
					line := fmt.Sprintf("%d in %d", i, n)
					r.append(fmt.Sprintf(logN, n), line+"\n"+trailer)
					r.must(os.Chtimes(r.path(fmt.Sprintf(logN, n)), at, at))
					at = at.Add(step)
					if n = n%4 + 1; n == 2 {
						retire(r, 3, 4)
					} else if n == 4 {
						retire(r, 1, 2)
					}
					r.put(fmt.Sprintf(logN, n), "")
					r.must(os.Chtimes(r.path(fmt.Sprintf(logN, n)), at, at))
					r.want(line)
					r.point(n)
					if restart {
						r.restart()
					}
					r.want()
				}
				r.wantGaps(0, "")
			})
		}
	}
	t.Run("back, and the log of the position is gone", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, "a\n"+trailer)
		r.want("a")
		r.f.Close()
		r.remove(log1)
		r.put(log2, "by its time it may be an old one\n"+trailer)
		r.age(log2, time.Hour)
		r.put(log3, "c\n")
		r.age(log3, time.Hour)
		r.point(3)
		r.restart()
		r.waitWant("c")
		r.wantGaps(1, GapLogGone)
	})
	t.Run("of the follower's process", func(t *testing.T) { // patience is by the monotonic clock
		r := newRunningRig(t)
		r.opt.now = nil
		r.restart()
		if now := r.f.opt.now(); now == now.Round(0) {
			t.Error("the wall clock")
		}
	})
}

// child is a follower in a process of its own, which prints its log and the records that it reads.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string

	watching bool // inotify is used
}

const childEnv = "DATALOG_FAULTS_CHILD" // directory, then the Interval

// TestChild is that process.
func TestChild(t *testing.T) {
	dir, interval, ok := strings.Cut(os.Getenv(childEnv), "|")
	if !ok {
		t.Skip("only in a process of its own")
	}
	if os.Getuid() == 0 { // root reads everything
		for _, err := range []error{syscall.Setgroups(nil), syscall.Setresgid(65534, 65534, 65534),
			syscall.Setresuid(65534, 65534, 65534)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := os.Stat(dir + "/" + activeLog); err != nil {
		fmt.Println("out of reach:", err)
		return
	}
	every, err := time.ParseDuration(interval)
	if err != nil {
		t.Fatal(err)
	}
	var f *Follower
	idle := func(step string) { // everything is read, and nothing causes another look
		if step == "advance" && f != nil && len(f.watch.wake) == 0 {
			fmt.Println("idle")
		}
	}
	f = startLive(t, Options{Dir: dir, Stream: Receipt, Interval: every,
		Log: slog.New(slog.NewTextHandler(os.Stdout, nil)), seam: idle})
	fmt.Println("watching:", f.Stats().Watching)
	for {
		var b Batch
		if err := f.Next(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
		for _, g := range b.Gaps {
			fmt.Println("gap:", g.Reason)
		}
		for _, rec := range b.Records {
			fmt.Printf("record: %s\n", rec.Line)
		}
	}
}

func startChild(r *rig, interval time.Duration) *child {
	r.t.Helper()
	for _, dir := range []string{r.dir, filepath.Dir(r.dir), filepath.Dir(filepath.Dir(r.dir))} {
		r.must(os.Chmod(dir, 0o755)) // it may be another user's
	}
	c := &child{t: r.t, lines: make(chan string, 100),
		cmd: exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.timeout=5m")}
	c.cmd.Env = append(os.Environ(), childEnv+"="+r.dir+"|"+interval.String())
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	r.must(err)
	r.must(c.cmd.Start())
	go func() {
		defer close(c.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			c.lines <- in.Text()
		}
	}()
	r.t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		for range c.lines {
		}
		_ = c.cmd.Wait()
	})
	for line := range c.lines {
		if strings.HasPrefix(line, "out of reach: ") {
			r.t.Skip("not every user may read temporary files: ", line)
		}
		if watching, ok := strings.CutPrefix(line, "watching: "); ok {
			c.watching = watching == "true"
			return c
		}
	}
	r.t.Fatal("the child has ended")
	return nil
}

// wait reads up to a line that contains text, and returns that line. No record and no gap may come
// before it.
func (c *child) wait(text string) string {
	c.t.Helper()
	for deadline := time.After(60 * time.Second); ; {
		select {
		case line, ok := <-c.lines:
			switch {
			case !ok:
				c.t.Fatalf("it has ended without %q", text)
			case strings.Contains(line, text):
				return line
			case strings.HasPrefix(line, "record: "), strings.HasPrefix(line, "gap: "):
				c.t.Fatalf("%q instead of %q", line, text)
			}
		case <-deadline:
			c.t.Fatalf("no %q within a minute", text)
		}
	}
}

// TestPermissions makes a log, the pointer or the directory unreadable for a while. This must be
// logged once, and nothing may be lost.
func TestPermissions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mkdir()
	r.put(log1, "")
	r.point(1)
	c := startChild(r, 5*time.Millisecond)
	chmod := func(name string, mode os.FileMode) { t.Helper(); r.must(os.Chmod(r.path(name), mode)) }

	r.append(log1, "a\n"+trailer)
	c.wait("record: a")
	r.put(log2, "b\n")
	chmod(log2, 0)
	r.point(2)
	c.wait("open log failed")
	chmod(log2, 0o644)
	c.wait("record: b")

	chmod(activeLog, 0)
	c.wait("read active file failed")
	r.append(log2, "c\n"+trailer)
	c.wait("record: c") // the log is open
	r.put(log3, "d\n"+trailer)
	r.point(3) // we are root, or the owner with a descriptor of before
	chmod(activeLog, 0o644)
	c.wait("record: d")

	chmod(".", 0)
	c.wait("read active file failed")
	chmod(".", 0o755)
	r.put(log4, "e\n")
	r.point(4)
	c.wait("record: e")
}

// TestInotifyOverflow lets the kernel drop notifications, so that only the overflow event tells of
// a record. The record must be found.
func TestInotifyOverflow(t *testing.T) {
	t.Parallel()
	limit := 16384
	if b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events"); err == nil {
		_, _ = fmt.Sscan(string(b), &limit)
	}
	if limit > 1<<18 {
		t.Skipf("%d events would have to be made", limit)
	}
	r := newRig(t)
	r.mkdir()
	r.put(log1, "")
	r.put("cycle-log1.txt", "")
	r.put("cycle-log2.txt", "")
	r.point(1)
	c := startChild(r, time.Hour)
	if !c.watching {
		t.Skip("this user's inotify instances are used up")
	}
	// By the third look, the second look for the file has ended.
	for _, line := range []string{"a", "b", "c"} {
		r.append(log1, line+"\n")
		c.wait("record: " + line)
		c.wait("idle")
	}
	pid := c.cmd.Process.Pid
	r.must(unix.Kill(pid, unix.SIGSTOP))
	stopped := func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		r.must(err)
		_, state, _ := strings.Cut(string(b), ") ")
		return strings.HasPrefix(state, "T")
	}
	for deadline := time.Now().Add(60 * time.Second); !stopped(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not stop")
		}
	}
	// Events of another stream's files fill the queue. The kernel merges equal consecutive events.
	var others [2]*os.File
	for i := range others {
		var err error
		others[i], err = os.OpenFile(r.path(fmt.Sprintf("cycle-log%d.txt", i+1)), os.O_APPEND|os.O_WRONLY,
			0)
		r.must(err)
		defer others[i].Close()
	}
	for i := range limit + 1000 {
		_, err := others[i%2].Write([]byte{'\n'})
		r.must(err)
	}
	r.append(log1, "d\n")
	r.must(unix.Kill(pid, unix.SIGCONT))
	c.wait("record: d")
}
