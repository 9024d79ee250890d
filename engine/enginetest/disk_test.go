package enginetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"distributor/engine/simulator"
	"distributor/mmaplog/disktest"
)

// loopMount mounts a new ext4 at d's STATE_DIR, and returns the name of its block device.
func loopMount(t *testing.T, d *Distributor, size int64, options string) (device string) {
	t.Helper()
	image, state := filepath.Join(d.Dir, "disk.img"), filepath.Join(d.Dir, "state")
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.MkdirAll(state, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-F", image},
		{"mount", "-o", "loop," + options, image, state}} {
		if text, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no file system can be made here: %v: %v: %s", command, err, text)
		}
	}
	t.Cleanup(func() {
		if d.Running() {
			d.Kill()
		}
		if err := unmount(state); err != nil {
			t.Errorf("unmount %s: %v", state, err)
		}
	})
	text, err := exec.Command("findmnt", "-n", "-o", "SOURCE", state).Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(strings.TrimSpace(string(text)))
}

// TestFileSystemFails makes the file system of STATE_DIR read-only, as ext4 does after an error of
// the disk. The distributor must wait: collectors stay connected, and /is-healthy names the reason.
// Records that could not be written must be sent after the file system was repaired.
func TestFileSystemFails(t *testing.T) {
	d := newHealthy(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20})
	device := loopMount(t, d, 64<<20, "errors=remount-ro")
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{200, 4000}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 2, Book: book})
	if err := archiver.Write(100); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(100)
	unix.Sync() // clean pages are what a store faults in
	if err := os.WriteFile("/sys/fs/ext4/"+device+"/trigger_fs_error", []byte("1"), 0); err != nil {
		t.Skipf("the file system cannot be made to fail: %v", err)
	}
	if err := archiver.Write(100); err != nil {
		t.Fatal(err)
	}
	mustReport(t, d, map[string]string{"frame log": "read-only file system",
		"progress": "read-only file system"})
	if fleet.Cut() != 0 {
		t.Errorf("collectors were cut: %v", fleet)
	}
	d.Kill() // only a new mount is writable
	state := filepath.Join(d.Dir, "state")
	if err := unmount(state); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("mount", "-o", "loop", filepath.Join(d.Dir, "disk.img"),
		state).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	d.Start()
	fleet.WaitTotal(200)
	fleet.CheckSame()
	d.Stop()
}

// TestFileCannotBeWritten makes one file of the frame log unwritable for a while. The distributor
// must wait or use the next segment, and lose nothing.
func TestFileCannotBeWritten(t *testing.T) {
	for _, ext := range []string{"head", ".frames", ".index"} {
		t.Run(ext, func(t *testing.T) {
			if RaceEnabled && ext != ".frames" {
				t.Skip("the race detector stores into mapped pages where Go cannot recover a fault")
			}
			t.Parallel()
			d := newHealthy(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20})
			book := NewBook()
			archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
				Sizes: []int{200, 4000},
				Log:   simulator.LogOptions{MaxBytes: 1 << 20, MaxFiles: 1000}})
			d.Start()
			fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 2, Book: book})
			write := func(total int) {
				t.Helper()
				if err := archiver.Write(50); err != nil {
					t.Fatal(err)
				}
				if total > 0 {
					fleet.WaitTotal(total)
				}
			}
			write(50)
			path := filepath.Join(d.Dir, "state", "frames", "head")
			if ext != "head" {
				path = strings.TrimSuffix(d.segments(t)[0], ".frames") + ext
			}
			disktest.SetImmutable(t, path, true)
			t.Cleanup(func() { disktest.SetImmutable(t, path, false) })
			if ext == ".frames" {
				write(100) // goes to another segment
				d.WaitLog("the frames move", func(l Line) bool {
					return strings.HasSuffix(l.Msg, "its last frames went to the next one")
				})
			} else {
				write(0)
				ill(t, d, "frame log", fmt.Sprintf("%s: %v", path, unix.EIO))
			}
			disktest.SetImmutable(t, path, false)
			well(t, d)
			fleet.WaitTotal(100)
			write(150)
			if fleet.Cut() != 0 {
				t.Errorf("collectors were cut: %v", fleet)
			}
			d.Stop()
			d.Start()
			write(200)
			fleet.CheckSame()
			d.Stop()
		})
	}
}

// TestHandoverOnAFullDisk starts a handover while STATE_DIR cannot be written. The handover must be
// refused with the reason and without another effect. When there is room, the next one must work.
func TestHandoverOnAFullDisk(t *testing.T) {
	for name, c := range map[string]struct{ options, says string }{
		"full":      {"size=16m,nr_inodes=256", "no space left on device"},
		"read-only": {"size=16m", "read-only file system"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newHealthy(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 4 << 20})
			state := smallState(t, d, c.options)
			book := NewBook()
			archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
				Sizes: []int{200}})
			d.Start()
			fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 2, Book: book, Forgetful: true})
			Until(t, "the next segment is there", func() bool {
				return exists(filepath.Join(state, "frames", "spare.index"))
			}, nil)
			var fillers []string
			if name == "full" {
				fillers = fill(state)
			} else {
				readOnly(t, d, state, true)
			}
			for round := range 2 {
				mark := d.Mark()
				d.Signal(unix.SIGUSR2)
				l := d.WaitLogAfter(mark, "the handover fails", func(l Line) bool {
					return l.Msg == "handover failed; this process continues"
				})
				if !strings.Contains(l.Text, c.says) || !strings.Contains(l.Text, "STATE_DIR") ||
					!strings.Contains(l.Text, state) {
					t.Errorf("the log line lacks the reason: %s", l.Text)
				}
				if err := archiver.Write(100); err != nil {
					t.Fatal(err)
				}
				if name == "full" {
					fleet.WaitTotal(100 * (round + 1))
				}
			}
			mustReport(t, d, map[string]string{"progress": c.says})
			if fleet.Cut() != 0 {
				t.Errorf("collectors were cut: %v", fleet)
			}
			for _, name := range fillers {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
			if name == "read-only" {
				readOnly(t, d, state, false)
			}
			well(t, d)
			d.HandOver()
			d.Alone()
			if err := archiver.Write(50); err != nil {
				t.Fatal(err)
			}
			fleet.WaitTotal(250)
			fleet.CheckSame()
			d.Stop()
		})
	}
}

// readOnly makes the path of a file system read-only. The file system itself cannot be made so
// while files are open for writing.
func readOnly(t *testing.T, d *Distributor, path string, on bool) {
	t.Helper()
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND)
	if on {
		mount(t, d, path, path, "", unix.MS_BIND, "")
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", path, "", flags, ""); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFillsDuringHandover fills the disk while a new process has the state, and lets that
// process end. The old process must take the state back on the full disk, and continue.
func TestDiskFillsDuringHandover(t *testing.T) {
	d := newHealthy(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20})
	d.Env = []string{badSuccessor + "=fills"}
	linked(t, d)
	state := smallState(t, d, "size=16m,nr_inodes=256")
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{200}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 2, Book: book})
	write := func() {
		t.Helper()
		if err := archiver.Write(100); err != nil {
			t.Fatal(err)
		}
		fleet.WaitTotal(book.Total())
	}
	write()
	replaceByBad(t, d)
	mark := d.Mark()
	d.Signal(unix.SIGUSR2)
	d.WaitLogAfter(mark, "the handover fails", func(l Line) bool {
		return l.Msg == "handover failed; this process continues"
	})
	write()
	mustReport(t, d, map[string]string{"progress": "no space left on device"})
	fillers, err := filepath.Glob(filepath.Join(state, "filler*"))
	if err != nil || len(fillers) == 0 {
		t.Fatalf("nothing was filled: %v", err)
	}
	for _, name := range fillers {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	well(t, d)
	write()
	if fleet.Cut() != 0 {
		t.Errorf("collectors were cut: %v", fleet)
	}
	fleet.CheckSame()
	d.Stop()
}

// TestStopWhileTheDiskHangs freezes the file system, so that writes to STATE_DIR do not return. A
// stop must close collectors as usual, wait for the disk for a bounded time, and log why it failed.
// The next start must continue.
func TestStopWhileTheDiskHangs(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20})
	loopMount(t, d, 128<<20, "errors=continue")
	state, err := os.Open(filepath.Join(d.Dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	const fifreeze, fithaw = 0xc0045877, 0xc0045878
	frozen := false
	freeze := func(request uint) {
		t.Helper()
		if err := unix.IoctlSetInt(int(state.Fd()), request, 0); err != nil {
			t.Skipf("no file system can be frozen here: %v", err)
		}
		frozen = request == fifreeze
	}
	defer func() {
		if frozen {
			freeze(fithaw)
		}
	}()
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{200}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 2, Book: book})
	write := func(n int) {
		t.Helper()
		if err := archiver.Write(n); err != nil {
			t.Fatal(err)
		}
	}
	write(20)
	fleet.WaitTotal(20)
	// no records now, because a store into a mapped page would block the whole process
	freeze(fifreeze)
	mark := d.Mark()
	d.Signal(syscall.SIGTERM)
	line := d.WaitLogAfter(mark, "the end", func(l Line) bool { return l.Msg == "stopped" })
	if !strings.Contains(line.Text, "the disk does not answer") ||
		!strings.Contains(line.Text, state.Name()) {
		t.Errorf("the log line lacks the reason: %s", line.Text)
	}
	if fleet.Cut() == 0 {
		t.Error("no collector was closed")
	}
	freeze(fithaw) // a process ends only after its system calls have returned
	if how := d.WaitEnd(); how.ExitStatus() != 1 {
		t.Errorf("exit status %d", how.ExitStatus())
	}
	d.Start()
	write(20)
	fleet.WaitTotal(40)
	fleet.CheckSame()
	d.Stop()
}
