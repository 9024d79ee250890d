package framelog

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestMain also is the writer that the crash tests kill, and the one whose machine loses its power: the test binary runs
// itself with the directory set.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FRAMELOG_CRASH_DIR"); dir != "" {
		crashWriter(dir, os.Getenv("FRAMELOG_CRASH_AT"))
		os.Exit(3)
	}
	if mnt := os.Getenv(powerLossDir); mnt != "" {
		cutWhileOpening(mnt, os.Getenv(powerLossCut))
	}
	os.Exit(m.Run())
}

// crashWriter appends numbered frames, in batches, after the newest that is in the log, until it is killed: from outside,
// or by itself at its at'th file operation.
func crashWriter(dir, at string) {
	o := testOptions(dir)
	if limit, err := strconv.ParseInt(at, 10, 64); err == nil {
		var done atomic.Int64
		o.fault = func(what op, _ string) error {
			if what != opWrite && done.Add(1) > limit { // TestCrashPoints kills at writes
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		}
	}
	w, _, err := OpenWriter(o)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(4)
	}
	n := lastNumber(w)
	fmt.Println(n) // the parent sees where it begins
	for {
		for range 1 + n%7 {
			n++
			frame, m := numbered(n)
			if err := w.Append(frame, m); err != nil {
				fmt.Println("error:", err)
				os.Exit(4)
			}
		}
		if err := w.Commit(); err != nil {
			fmt.Println("error:", err)
			os.Exit(4)
		}
	}
}

func lastNumber(w *Writer) (n uint64) {
	for stream := range uint8(3) {
		if src, _, ok := w.LastSource(stream); ok {
			n = max(n, binary.LittleEndian.Uint64(src[:]))
		}
	}
	return n
}

func startCrashWriter(t *testing.T, dir, at string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FRAMELOG_CRASH_DIR="+dir, "FRAMELOG_CRASH_AT="+at)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

func mustBeKilled(t *testing.T, cmd *exec.Cmd, said *bufio.Reader) {
	t.Helper()
	rest, _ := said.ReadString(0)
	err := cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the writer was not killed: %v, said %q", err, rest)
	}
}

// Writers are killed at random moments, one after the other. A reader that has been there all the time finds every
// committed frame, each once, and never anything else.
func TestCrashAtRandomMoments(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	var r *Reader
	var newest, committed uint64
	rounds := 25
	if testing.Short() {
		rounds = 8
	}
	for round := range rounds {
		cmd, said := startCrashWriter(t, dir, "")
		if r == nil {
			said.ReadString('\n')
			r = mustRead(t, dir)
		}
		// Some are killed while they open the log, most after some amount of work.
		enough := r.Head() + uint64(rng.IntN(20*minSegmentBytes))
		deadline := time.Now().Add(2 * time.Minute)
		if round%4 == 3 {
			deadline = time.Now().Add(time.Duration(rng.IntN(15)) * time.Millisecond)
		}
		for r.Head() < enough && time.Now().Before(deadline) {
			time.Sleep(50 * time.Microsecond)
		}
		committed = r.Head()
		cmd.Process.Kill()
		mustBeKilled(t, cmd, said)
		if r.Head() < committed {
			t.Fatalf("the head went back from %d to %d", committed, r.Head())
		}
		first, last, err := readNumbered(r, r.Floor(), 1+rng.IntN(100_000))
		if err != nil || last < newest {
			t.Fatalf("round %d: frames %d to %d, before that up to %d: %v", round, first, last, newest, err)
		}
		newest = last
	}
	w, rec := mustOpen(t, testOptions(dir))
	if rec.NewID != "" || len(rec.Damaged)+len(rec.GivenUp) != 0 || w.ID() != r.ID() || lastNumber(w) != newest {
		t.Fatalf("%+v, newest %d, want %d", rec, lastNumber(w), newest)
	}
	if newest < 1000 {
		t.Errorf("only %d frames were written", newest)
	}
}

// The writer is killed before each of its first file operations in turn: in the making of the log, of segments, in
// retention, and in the recovery from that.
func TestCrashAtEveryOperation(t *testing.T) {
	operations := 60
	if testing.Short() {
		operations = 20
	}
	shared := t.TempDir() // is never without the leftovers of the crash before
	newest := uint64(0)
	for at := range operations {
		for _, dir := range []string{shared, t.TempDir()} {
			cmd, said := startCrashWriter(t, dir, strconv.Itoa(at))
			mustBeKilled(t, cmd, said)
			had := uint64(0)
			if r, err := OpenReader(dir); err == nil {
				_, had, err = readNumbered(r, r.Floor(), 30_000)
				if err != nil {
					t.Fatalf("operation %d: %v", at, err)
				}
				r.Close()
			}
			if dir == shared {
				if had < newest {
					t.Fatalf("operation %d: frames end at %d, before at %d", at, had, newest)
				}
				newest = had
				continue // the next child recovers
			}
			w, rec := mustOpen(t, testOptions(dir))
			if len(rec.Damaged)+len(rec.GivenUp) != 0 || lastNumber(w) != had {
				t.Fatalf("operation %d: %+v, last %d, had %d", at, rec, lastNumber(w), had)
			}
			w.Close()
			mustHoldOnlySegments(t, dir)
		}
	}
}

func mustHoldOnlySegments(t *testing.T, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		if _, ok := parseBase(name[:min(16, len(name))]); !d.IsDir() && !ok && name != headName && name != lockName {
			t.Errorf("%s was left behind", name)
		}
		return nil
	})
	pairs, _ := listSegments(dir)
	for _, p := range pairs {
		if !p.frames || !p.index {
			t.Errorf("half of segment %x was left behind", p.base)
		}
	}
}
