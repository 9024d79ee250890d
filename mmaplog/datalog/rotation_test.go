package datalog

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	logN = "receipt-log%d.txt"
	// incompleteWait is how long the follower waits for the trailer of a log.
	incompleteWait = incompleteLingers * defaultLinger

	trailer   = "End: Number of entries: 1\n"
	log1      = "receipt-log1.txt"
	log2      = "receipt-log2.txt"
	log3      = "receipt-log3.txt"
	log4      = "receipt-log4.txt"
	activeLog = "active-receipt-log.txt"
)

// long returns a line that fills a fingerprint, as records do.
func long(word string) string { return word + strings.Repeat("-", 400) }

func TestPointerStates(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "torn": "receipt-log2.tx", "torn in the number": "receipt-log",
		"garbage":           "nothing here",
		"of another stream": "cycle-log2.txt", "an old log": "old-receipt-log2.txt",
		"zero": "receipt-log0.txt",
		"NULs": "\x00\x00\x00\x00", "huge": strings.Repeat("receipt-log2.txt", 1000),
		"leading zero": "receipt-log02.txt",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunningRig(t)
			r.append(log1, "a\n")
			r.put(activeLog, text)
			r.want("a")
			r.append(log1, "b\n"+trailer)
			r.put(log2, "c\n")
			r.waitWant("b")
			r.put(activeLog, log2+"\n")
			r.want("c")
			r.wantGaps(0, "")
		})
	}
	t.Run("deleted and back", func(t *testing.T) {
		r := newRunningRig(t)
		r.remove(activeLog)
		r.append(log1, "a\n"+trailer)
		r.waitWant("a")
		if s := r.f.Stats(); s.Errors == 0 {
			t.Error("no error counted")
		}
		r.put(log2, "b\n")
		r.point(2)
		r.want("b")
	})
	t.Run("replaced by rename", func(t *testing.T) {
		r := newRunningRig(t)
		for n := 1; n < 5; n++ {
			r.append(fmt.Sprintf(logN, n), fmt.Sprintf("in %d\n", n)+trailer)
			r.append(fmt.Sprintf(logN, n+1), "")
			r.put("tmp", fmt.Sprintf(logN, n+1))
			r.rename("tmp", activeLog)
			r.want(fmt.Sprintf("in %d", n))
		}
	})
	t.Run("a directory, then a FIFO", func(t *testing.T) {
		r := newRunningRig(t)
		r.remove(activeLog)
		r.must(os.Mkdir(r.path(activeLog), 0o755))
		r.append(log1, "a\n")
		r.want("a")
		r.remove(activeLog)
		mkfifo(t, r.path(activeLog))
		r.append(log1, "b\n"+trailer)
		r.want("b")
		r.remove(activeLog)
		r.put(log2, "c\n")
		r.point(2)
		r.want("c")
	})
	t.Run("ahead of its file", func(t *testing.T) {
		r := newRunningRig(t)
		r.append(log1, "a\n"+trailer)
		r.point(2)
		r.waitWant("a")
		r.put(log2, "b\n")
		r.want("b")
		r.point(3) // the same without a trailer
		r.waitWant()
		r.append(log2, "c\n")
		r.waitWant("c")
		r.put(log3, "d\n")
		r.waitWant("d")
		r.wantGaps(0, "")
	})
}

func TestSeveralRotationsBetweenTwoLooks(t *testing.T) {
	r := newRunningRig(t)
	var want []string
	for n := 1; n <= 6; n++ {
		r.append(fmt.Sprintf(logN, n), fmt.Sprintf("a%d\nb%d\n", n, n)+trailer)
		want = append(want, fmt.Sprintf("a%d", n), fmt.Sprintf("b%d", n))
	}
	r.put("receipt-log7.txt", "")
	r.point(7)
	r.want(want...)
	if s := r.f.Stats(); s.Rotations != 6 || s.Gaps != 0 || s.Number != 7 || s.BytesBehind != 0 ||
		s.File != "receipt-log7.txt" {
		t.Errorf("%+v", s)
	}
}

func TestBytesBehindCountsLaterLogs(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, trailer)
	r.put(log2, strings.Repeat("x", 2*batchBytes)+"\n"+trailer)
	r.put(log3, "12345\n")
	r.point(3)
	var b Batch
	r.f.look(&b)
	if s := r.f.Stats(); s.Number != 2 || s.BytesBehind != int64(len(trailer))+6 {
		t.Errorf("%+v", s)
	}
	r.start(Position{Number: 1, Inode: r.inode(log1), Check: slowCheck(nil)})
	if s := r.f.Stats(); s.BytesBehind != int64(len(trailer)+2*batchBytes+1+len(trailer)+6) {
		t.Errorf("after a restart: %+v", s)
	}
}

// TestWrapAround rotates over the wrap-around with the renames of both halves, while the follower
// is up to a whole half behind.
func TestWrapAround(t *testing.T) {
	for _, behind := range []int{1, 2, 3} { // rotations between two looks
		r := newRig(t)
		r.mkdir()
		r.put(log1, "")
		r.point(1)
		r.start(Position{})
		var want, got []string
		n := 1
		for i := range 23 {
			line := fmt.Sprintf("%d in %d", i, n)
			r.append(fmt.Sprintf(logN, n), line+"\n"+trailer)
			want = append(want, line)
			n++
			if n == 2 {
				retire(r, 3, 4)
			}
			if n == 4 {
				retire(r, 1, 2)
			}
			if n > 4 {
				n = 1
			}
			r.put(fmt.Sprintf(logN, n), "")
			r.point(n)
			if i%behind == 0 {
				got = append(got, r.got()...)
			}
		}
		got = append(got, r.got()...)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("behind %d: got %q", behind, got)
		}
		if len(r.f.known) > 4 {
			t.Errorf("%d logs remembered, of 4", len(r.f.known))
		}
		r.wantGaps(0, "")
	}
}

// retire deletes the old- logs and renames half of the logs, as a writer with at most 4 logs does.
func retire(r *rig, from, to int) {
	for n := 1; n <= 4; n++ {
		os.Remove(r.path("old-" + fmt.Sprintf(logN, n)))
	}
	for n := from; n <= to; n++ {
		os.Rename(r.path(fmt.Sprintf(logN, n)), r.path("old-"+fmt.Sprintf(logN, n)))
	}
}

func TestRenameWhileOpen(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\nb")
	r.want("a")
	r.rename(log1, "old-"+log1)
	r.append("old-"+log1, "c\n"+trailer)
	r.waitWant("bc")
	r.put(log2, "d\n")
	r.point(2)
	r.want("d")
	r.wantGaps(0, "")
}

func TestLogWithoutTrailer(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\nhalf")
	r.put(log2, "c\n")
	r.point(2)
	r.want("a")
	r.clock = r.clock.Add(incompleteWait - time.Millisecond)
	r.want()
	r.append(log1, " and half\nlate\n") // the log grows, so the wait starts again
	r.want("half and half", "late")
	r.clock = r.clock.Add(incompleteWait - time.Millisecond)
	r.want()
	r.append(log1, "no newline")
	r.want()
	r.clock = r.clock.Add(incompleteWait)
	r.want("no newline", "c")
	r.restart()
	r.append(log2, "d\n")
	r.want("d")
	r.append(log2, trailer+"after the trailer")
	r.put(log3, "e\n")
	r.point(3)
	r.want()
	r.waitWant("after the trailer", "e")
	r.wantGaps(0, "")
}

// TestLogWithoutTrailerAndFurtherRotations checks that further rotations do not make the wait for a
// trailer longer.
func TestLogWithoutTrailerAndFurtherRotations(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n")
	r.want("a")
	for n := 2; n < 8; n++ {
		r.put(fmt.Sprintf(logN, n), fmt.Sprintf("%d\n", n)+trailer)
		r.point(n)
		if got := r.got(); len(got) > 0 {
			if n != 4 || fmt.Sprint(got) != "[2 3 4]" {
				t.Fatalf("at log %d: %q", n, got)
			}
			return
		}
		r.clock = r.clock.Add(incompleteWait / 2)
	}
	t.Error("log 1 was never left")
}

// TestLogThatGrowsForever checks that a log that grows all the time is left after a bounded time.
func TestLogThatGrowsForever(t *testing.T) {
	r := newRunningRig(t)
	r.put(log2, "next\n")
	r.point(2)
	for i := range 3 * mirrorLingers / incompleteLingers {
		r.append(log1, fmt.Sprintf("%d\n", i))
		got := r.got()
		if len(got) == 2 && got[1] == "next" {
			return
		}
		r.clock = r.clock.Add(incompleteWait / 2)
	}
	t.Error("log 2 was never read")
}

// TestLateGrowthIsAGap checks that growth of a log that was left is reported as a gap, because it
// can no longer be delivered in order.
func TestLateGrowthIsAGap(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n"+trailer)
	r.put(log2, "b\n")
	r.point(2)
	r.want("a", "b")
	r.append(log1, "\n"+trailer) // no record
	r.append(log2, trailer)
	r.put(log3, "c\n")
	r.point(3)
	r.want("c")
	r.wantGaps(0, "")
	r.append(log2, "late\n")
	r.append(log3, trailer)
	r.put(log4, "d\n")
	r.point(4)
	r.want("d")
	r.wantGaps(1, GapLateGrowth)
	r.append(log4, trailer)
	r.put("receipt-log5.txt", "e\n")
	r.point(5)
	r.want("e")
	r.wantGaps(1, GapLateGrowth) // once
}

func TestMissingLogIsAGap(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n"+trailer)
	r.put(log3, "c\n")
	r.point(3)
	r.want("a") // not believed at once
	r.put(log2, "b\n"+trailer)
	r.want("b", "c")
	r.wantGaps(0, "")
	r.append(log3, trailer)
	r.put("receipt-log5.txt", "e\n")
	r.point(5)
	r.waitWant("e")
	r.wantGaps(1, GapLogsMissing)
	if g := r.f.Stats().LastGap; g.After.Number != 3 || g.Next != 5 {
		t.Errorf("%+v", g)
	}
	// The highest log was 5, so a wrap-around after a lower one misses logs.
	r.append("receipt-log5.txt", trailer)
	r.rename(log1, "old-"+log1)
	r.rename(log2, "old-"+log2)
	r.put(log1, "f\n"+trailer)
	r.put(log2, "g\n"+trailer)
	r.point(2)
	r.want("f", "g")
	r.remove(log3)
	r.remove("receipt-log5.txt")
	r.rename(log1, "old-"+log1)
	r.put(log1, "h\n")
	r.point(1)
	r.waitWant("h")
	r.wantGaps(2, GapLogsMissing)
	// From then on 2 is the highest.
	r.append(log1, trailer)
	r.append(log2, "i\n"+trailer)
	r.point(2)
	r.want("i")
	r.rename(log1, "old-"+log1)
	r.put(log1, "j\n")
	r.point(1)
	r.want("j")
	r.wantGaps(2, GapLogsMissing)
}

// TestWholeRoundBehind has a follower with an open log that is a whole round behind the writer.
func TestWholeRoundBehind(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n"+trailer)
	// Log 2 was written and removed. The old- logs of this round were deleted, then 3 and 4 renamed.
	r.put("old-"+log3, "c\n"+trailer)
	r.put("old-"+log4, "d\n"+trailer)
	r.remove(log1)
	r.put(log1, "e\n"+trailer)
	r.put(log2, "f\n")
	r.point(2)
	r.waitWant("a", "c", "d", "e", "f")
	r.wantGaps(1, GapLogGone)
}

// TestWriterAppendsToLeftovers deletes the old- logs by hand. Then the writer does not rename the
// other half, and appends to the existing logs.
func TestWriterAppendsToLeftovers(t *testing.T) {
	r := newRig(t)
	r.mkdir()
	r.put(log3, "of the lap before\n"+trailer)
	r.put(log4, "of the lap before too\n"+trailer)
	r.put(log1, "before\n"+trailer)
	r.put(log2, "")
	r.point(2)
	r.start(Position{})
	// The cases: known from the start; read in this life; known at a restart.
	for i := range 3 {
		r.append(log2, "a\n"+trailer)
		r.append(log3, "b\n"+trailer)
		r.point(3)
		r.want("a", "b")
		r.append(log4, "c\n")
		r.point(4)
		r.want("c")
		r.append(log4, trailer)
		r.append(log1, "d\n"+trailer)
		r.append(log2, "")
		r.point(2)
		r.want("d")
		if i == 1 {
			r.age(log3, time.Minute) // a round has passed since
			r.restart()
			r.want()
		}
	}
	r.wantGaps(0, "")
}

// TestWriterAppendsToAYoungLeftover is the same with a next log that was changed after the active
// one.
func TestWriterAppendsToAYoungLeftover(t *testing.T) {
	r := newRig(t)
	r.mkdir()
	r.put(log1, "")
	r.age(log1, time.Hour)
	r.put(log2, "of the lap before\n"+trailer)
	r.point(1)
	r.start(Position{})
	r.append(log1, "a\n"+trailer)
	r.append(log2, "b\n")
	r.point(2)
	r.want("a", "b")
}

// TestLeftoversOfMoreFiles checks that old logs of a configuration with more files do not count as
// next logs.
func TestLeftoversOfMoreFiles(t *testing.T) {
	for _, down := range []bool{false, true} {
		r := newRig(t)
		r.mkdir()
		r.put(log3, "long ago\n"+trailer)
		r.put(log4, "long ago too\n"+trailer)
		r.age(log3, time.Hour)
		r.age(log4, time.Hour)
		r.put(log1, "before\n"+trailer)
		r.put(log2, "")
		r.point(2)
		r.start(Position{})
		r.append(log2, "a\n")
		r.want("a")
		if down { // at the wrap-around
			r.opt.From = r.f.Position()
			r.f.Close()
		}
		r.append(log2, "b\n"+trailer)
		r.rename(log1, "old-"+log1)
		r.put(log1, "c\n")
		r.point(1)
		if !down {
			r.want("b", "c")
			r.wantGaps(0, "")
			continue
		}
		// By their times they are leftovers, but they were not read.
		r.start(r.opt.From)
		r.waitWant("b", "c")
		r.wantGaps(1, GapLogsMissing)
	}
}

// TestNextNumberBeforeThePointer checks that a newer log with the next number is not read before
// the pointer names it.
func TestNextNumberBeforeThePointer(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n")
	r.put(log2, "not yet\n")
	r.waitWant("a")
	r.append(log1, "b\n"+trailer)
	r.waitWant("b")
	r.point(2)
	r.want("not yet")
}

// TestRotationBetweenLogAndPointer appends and rotates after the follower has read the log and
// before it reads the pointer.
func TestRotationBetweenLogAndPointer(t *testing.T) {
	r := newRunningRig(t)
	r.append(log1, "a\n"+trailer)
	done := false
	r.f.opt.seam = func(step string) {
		if step == "advance" && !done {
			done = true
			r.append(log1, "after a restart\n"+trailer)
			r.put(log2, "b\n")
			r.point(2)
		}
	}
	r.want("a", "after a restart", "b")
	r.wantGaps(0, "")
}

// TestRotationsBetweenPointerAndDirectory rotates three times after the follower has read the
// pointer and before it reads the directory. By the older pointer the new logs would look like
// those of the previous round.
func TestRotationsBetweenPointerAndDirectory(t *testing.T) {
	r := newRig(t)
	r.mkdir()
	r.put(log3, "")
	r.point(3)
	r.start(Position{})
	r.append(log3, "a\n"+trailer)
	r.want("a")
	r.rename(log3, "old-"+log3)
	r.put("old-"+log4, "b\n"+trailer)
	r.put(log1, "c\n"+trailer)
	r.put(log2, "d\n")
	r.point(2)
	done := false
	r.f.opt.seam = func(step string) {
		if step == "survey" && !done {
			done = true
			r.append(log2, trailer)
			r.put(log3, "e\n"+trailer)
			retire(r, 1, 2)
			r.put(log4, "f\n")
			r.point(4)
		}
	}
	r.waitWant("c", "d", "e", "f")
	r.wantGaps(1, GapLogGone)
}

// TestRenameWhileListing renames a log while the directory is read, so that the listing lacks it.
// The log after it must not count as the next one.
func TestRenameWhileListing(t *testing.T) {
	r := newRig(t)
	r.mkdir()
	r.put(log3, "")
	r.point(3)
	r.start(Position{})
	r.append(log3, "a\n"+trailer)
	r.put("elsewhere", "b\n"+trailer) // log 4 on its way to its old- name
	r.put(log1, "c\n")
	r.point(1)
	done := false
	r.f.opt.seam = func(step string) {
		if step == "listed" && !done {
			done = true
			r.rename("elsewhere", "old-"+log4)
		}
	}
	r.want("a", "b", "c")
	r.wantGaps(0, "")
}

// TestRememberedInodeUsedAgain gives a new log the number, inode number and size of a deleted log
// of the previous round.
func TestRememberedInodeUsedAgain(t *testing.T) {
	for range 20 {
		r := newRunningRig(t)
		r.append(log1, "a\n"+trailer)
		r.put(log2, "b\n")
		r.point(2)
		r.want("a", "b")
		inode := r.inode(log1)
		r.remove(log1)
		r.put(log1, "c\n"+trailer)
		if r.inode(log1) != inode {
			continue
		}
		r.append(log2, trailer)
		r.rename(log2, "old-"+log2)
		r.put(log2, "d\n")
		r.point(2)
		r.waitWant("c", "d")
		return
	}
	t.Skip("this file system does not give inode numbers again")
}

// TestEmptyLogIsNotDone has an empty log at the start that is older than the active one. It may get
// records after the pointer has passed it, because an empty log may not be complete.
func TestEmptyLogIsNotDone(t *testing.T) {
	r := newRig(t)
	r.mkdir()
	r.put(log2, "")
	r.age(log2, time.Hour)
	r.put(log1, "")
	r.point(1)
	r.start(Position{})
	r.append(log1, "a\n"+trailer)
	r.put(log3, "c\n")
	r.point(3)
	r.want("a")
	r.append(log2, "b\n"+trailer)
	r.want("b", "c")
	r.wantGaps(0, "")
}
