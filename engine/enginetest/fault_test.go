package enginetest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"distributor/engine/simulator"
)

// smallState puts d's STATE_DIR on a tmpfs, which options limit. It skips the test if it may not
// mount.
func smallState(t *testing.T, d *Distributor, options string) (state string) {
	t.Helper()
	state = filepath.Join(d.Dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	mount(t, d, "enginetest", state, "tmpfs", 0, options)
	return state
}

// mount mounts a file system until the end of the test. It kills d before it unmounts.
func mount(t *testing.T, d *Distributor, what, where, kind string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount(what, where, kind, flags, options); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if d.Running() {
			d.Kill()
		}
		if err := unmount(where); err != nil {
			t.Errorf("unmount %s: %v", where, err)
		}
	})
}

// mustNotStart checks that a start ends with exit status 1, and that the last line of the log has
// all words.
func mustNotStart(t *testing.T, d *Distributor, words ...string) {
	t.Helper()
	r := Run(t, d.Dir, "serve")
	if r.Status != 1 {
		t.Errorf("exit status %d, want 1: %s", r.Status, r.Stderr)
	}
	lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
	for _, w := range words {
		if last := lines[len(lines)-1]; !strings.Contains(last, w) {
			t.Errorf("%q is not in the last line: %s", w, last)
		}
	}
}

// TestStateCannotBeWritten checks that a start without room or permission in STATE_DIR fails with a
// message that names the remedy, and that the next start works after the remedy.
func TestStateCannotBeWritten(t *testing.T) {
	t.Run("full", func(t *testing.T) {
		t.Parallel()
		d := New(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20})
		state := smallState(t, d, "size=512k")
		mustNotStart(t, d, "STATE_DIR", state, "no space left on device", "make room")
		if err := unix.Mount("", state, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
			t.Fatal(err)
		}
		d.Start()
		d.Stop()
	})
	t.Run("read-only", func(t *testing.T) {
		t.Parallel()
		d := New(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20})
		state := smallState(t, d, "size=64m")
		for range 2 { // first without a frame log, then with one
			if err := unix.Mount("", state, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			mustNotStart(t, d, "STATE_DIR", state, "read-only file system", "for writing")
			if err := unix.Mount("", state, "tmpfs", unix.MS_REMOUNT, ""); err != nil {
				t.Fatal(err)
			}
			d.Start()
			d.Stop()
		}
	})
}

// TestReadOnlyWhileRunning makes STATE_DIR read-only while the distributor runs. Collectors must
// keep their connections and get all committed frames, and /is-healthy must name the problem.
// Everything must continue without a restart when STATE_DIR is writable again.
func TestReadOnlyWhileRunning(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 64 << 10})
	state := filepath.Join(d.Dir, "state")
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{200, 4000}, Log: simulator.LogOptions{MaxBytes: 1 << 20, MaxFiles: 1000}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 2, Book: book})
	if err := archiver.Write(20); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(20)
	readOnly(t, d, state, true)
	if err := archiver.Write(300); err != nil {
		t.Fatal(err)
	}
	mustReport(t, d, map[string]string{"frame log": "read-only file system",
		"progress": "read-only file system"})
	if fleet.Cut() != 0 {
		t.Errorf("collectors were cut: %v", fleet)
	}
	readOnly(t, d, state, false)
	well(t, d)
	fleet.WaitTotal(320)
	fleet.CheckSame()
	d.Stop()
}

// TestNoRoomForProgress leaves room for frames, but none for checkpoint.json and collectors.json.
// Records must still be distributed, and /is-healthy must name the problem.
func TestNoRoomForProgress(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 4 << 20})
	state := smallState(t, d, "size=16m,nr_inodes=64")
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{200}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 2, Book: book})
	Until(t, "the next segment is there", func() bool {
		return exists(filepath.Join(state, "frames", "spare.index"))
	}, nil)
	var fillers []string
	// Use up all inodes, so that no file can be made, but existing files can grow.
	for n := 0; ; n++ {
		name := filepath.Join(state, fmt.Sprint("filler", n))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			break
		}
		fillers = append(fillers, name)
	}
	if err := archiver.Write(100); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(100)
	mustReport(t, d, map[string]string{"progress": "no space left on device"})
	if err := archiver.Write(100); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(200)
	for _, name := range fillers {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	well(t, d)
	d.Kill()
	d.Start()
	if err := archiver.Write(10); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(210)
	fleet.CheckSame()
	d.Stop()
}

// TestCheckpointCannotBeSaved makes checkpoint.json unwritable, but not collectors.json. As long as
// this lasts, /is-healthy must name the problem; the log must name it once.
func TestCheckpointCannotBeSaved(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, nil)
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{200}})
	d.Start()
	state := filepath.Join(d.Dir, "state")
	inTheWay := filepath.Join(state, "checkpoint.json.new")
	if err := os.Mkdir(inTheWay, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := archiver.Write(20); err != nil {
		t.Fatal(err)
	}
	mustReport(t, d, map[string]string{"progress": "is a directory"})
	for range 4 {
		key := newKey(t)
		MustConnect(t, d.URL, PeerOptions{Key: key})
		Until(t, "the new collector is known", func() bool {
			text, _ := os.ReadFile(filepath.Join(state, "collectors.json"))
			return strings.Contains(string(text), key.Public().String())
		}, nil)
		if status, body := d.Health(); status != http.StatusServiceUnavailable ||
			!strings.Contains(body, `"progress"`) {
			t.Errorf("/is-healthy: got %d: %s, want 503 with \"progress\"", status, body)
		}
	}
	if said := d.Log(func(l Line) bool {
		return strings.HasPrefix(l.Msg, "progress not saved")
	}); len(said) != 1 {
		t.Errorf("got %d lines \"progress not saved\", want 1", len(said))
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	well(t, d)
	d.Stop()
}

// TestSecondInstance checks that a second distributor cannot use a STATE_DIR in use, and that it
// can after the first was killed.
func TestSecondInstance(t *testing.T) {
	t.Parallel()
	first := New(t, nil)
	second := New(t, Settings{"STATE_DIR": filepath.Join(first.Dir, "state")})
	first.Start()
	mustNotStart(t, second, "STATE_DIR", filepath.Join(first.Dir, "state"),
		fmt.Sprintf("process %d", first.Pid()))
	if status, _ := first.Get("/is-alive"); status != http.StatusOK {
		t.Errorf("/is-healthy of the first distributor: got %d, want 200", status)
	}
	first.Kill()
	second.Start()
	mustNotStart(t, first, "STATE_DIR", fmt.Sprintf("process %d", second.Pid()))
	second.Stop()
}

// TestCrashLoopingWorker makes workers fail because they cannot open the frame log. Their restarts
// must back off, /is-healthy must name the reason, and new collectors must be refused at once. When
// the log can be opened again, collectors must be accepted and miss nothing.
func TestCrashLoopingWorker(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, nil)
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{100}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 2, Book: book})
	head := filepath.Join(d.Dir, "state", "frames", "head")
	if err := os.Rename(head, head+".away"); err != nil {
		t.Fatal(err)
	}
	mark := d.Mark()
	d.Workers()[0].Kill(t)
	lost := func() []Line { return d.Log(func(l Line) bool { return l.Msg == "worker lost" }) }
	Until(t, "six workers are lost", func() bool { return len(lost()) >= 6 }, nil)
	// The pauses are 100, 200, 400, 800 and 1600 ms, each with a jitter of a fifth.
	if n, took := len(lost()), timeOf(t, lost()[5]).Sub(timeOf(t,
		lost()[0])); took.Seconds() < 3.1*0.8-0.05 {
		t.Errorf("%d workers were lost in %v, want pauses of 2.4s or more between the first six", n, took)
	}
	ill(t, d, "workers", "no worker can start")
	d.WaitLogAfter(mark, "the worker's last line", func(l Line) bool {
		return strings.Contains(l.Text, "no log here")
	})
	refused := refusedUpgrade(t, d, "hand_off_failed")
	if refused.header.Get("Retry-After") == "" || refused.took > handOffTimeout/2 {
		t.Errorf("refused after %v with %v, want Retry-After, and less than half of the hand-off timeout", refused.took, refused.header)
	}
	if err := archiver.Write(10); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(head+".away", head); err != nil {
		t.Fatal(err)
	}
	well(t, d)
	fleet.WaitTotal(10)
	fleet.CheckSame()
	d.Stop()
}
