package enginetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"distributor/mmaplog/disktest"
)

// fill uses up all bytes and inodes of a file system, and returns the files that hold them.
func fill(dir string) (fillers []string) {
	for size := 1 << 20; ; {
		name := filepath.Join(dir, fmt.Sprint("filler", len(fillers)))
		err := os.WriteFile(name, make([]byte, size), 0o600)
		if exists(name) {
			fillers = append(fillers, name) // it may be shorter
		}
		switch {
		case err == nil:
		case size == 0:
			return fillers
		default:
			size /= 16
		}
	}
}

// setImmutable sets or clears the immutable flag of a file, so that writes to it fail. It skips the
// test if the file system does not have that flag.
func setImmutable(t testing.TB, path string, on bool) {
	t.Helper()
	if err := disktest.Immutable(path, on); err != nil {
		t.Skipf("files cannot be made immutable here: %v", err)
	}
}

// disks returns the kinds of file systems that can be made here for STATE_DIR alone.
var disks = sync.OnceValue(func() map[string]bool {
	can := map[string]bool{"": true}
	dir, err := os.MkdirTemp("", "disks-")
	if err != nil {
		return can
	}
	defer os.RemoveAll(dir)
	if unix.Mount("enginetest", dir, "tmpfs", 0, "size=1m") != nil {
		return can
	}
	_ = unix.Unmount(dir, 0)
	can["tmpfs"] = true
	image := filepath.Join(dir, "image")
	if exec.Command("truncate", "-s", "16M", image).Run() == nil &&
		exec.Command("mkfs.ext4", "-q", image).Run() == nil &&
		exec.Command("mount", "-o", "loop", image, dir).Run() == nil {
		_ = unix.Unmount(dir, 0)
		can["ext4"] = true
	}
	return can
})

// mountState mounts the plan's file system at STATE_DIR. If it cannot be made here, STATE_DIR is a
// plain directory.
func (t *Trial) mountState() {
	if !disks()[t.plan.Disk] {
		t.plan.Disk = ""
	}
	if t.plan.Disk == "" {
		return
	}
	state := filepath.Join(t.d.Dir, "state")
	t.ok(os.Mkdir(state, 0o755))
	if t.plan.Disk == "tmpfs" {
		t.ok(unix.Mount("enginetest", state, "tmpfs", 0, "size=128m,nr_inodes=16384"))
	} else {
		t.runTool("truncate", "-s", "160M", t.image())
		t.runTool("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0",
			"-J", "size=4", t.image())
		t.mountImage()
	}
	t.t.Cleanup(func() {
		if t.d.Running() {
			t.d.killAll()
			<-t.d.ended
		}
		if err := unmount(state); err != nil {
			t.t.Errorf("unmount %s: %v", state, err)
			_ = unix.Unmount(state, unix.MNT_DETACH)
		}
	})
}

// unmount unmounts path. It retries while the mount is busy, because the kernel closes the files of
// a killed process a moment after its end is reported.
func unmount(path string) (err error) {
	reached(func() bool {
		err = unix.Unmount(path, 0)
		return !errors.Is(err, unix.EBUSY)
	})
	return err
}

func (t *Trial) image() string { return filepath.Join(t.d.Dir, "disk.img") }

func (t *Trial) mountImage() {
	variants := [...]string{"data=ordered", "noauto_da_alloc", "data=writeback", "nodelalloc"}
	options := "loop,errors=remount-ro," + variants[t.plan.Seed%4]
	t.runTool("mount", "-o", options, t.image(), filepath.Join(t.d.Dir, "state"))
}

func (t *Trial) runTool(name string, args ...string) {
	if text, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.t.Fatalf("%s %v: %v: %s", name, args, err, text)
	}
}

// writeDuringFault writes records while the disk has a fault, and does not wait for the chronicle.
func (t *Trial) writeDuringFault(rng *rand.Rand) {
	t.noWait = true
	t.write(10 + rng.IntN(t.plan.Most))
	t.noWait = false
}

// fillDisk fills STATE_DIR for a while. Records that are written meanwhile must arrive when there
// is room again, and no collector may be cut.
func fillDisk(t *Trial, rng *rand.Rand) {
	if t.plan.Disk == "" {
		readOnlyDisk(t, rng)
		return
	}
	t.diskFailed = true
	var fillers []string
	for round := range 1 + rng.IntN(3) { // later rounds fill what the distributor freed
		if round > 0 {
			t.writeDuringFault(rng)
		}
		fillers = append(fillers, t.fill(round)...)
	}
	t.writeDuringFault(rng)
	killed := rng.IntN(3) == 0
	if killed {
		t.kill()
	}
	for _, name := range fillers {
		t.ok(os.Remove(name))
	}
	if killed {
		t.d.Start()
	}
	t.catchUp()
}

// fill allocates all free space of the trial's disk.
func (t *Trial) fill(round int) (fillers []string) {
	for size, n := int64(256<<20), 0; size >= 4096; n++ {
		name := filepath.Join(t.d.Dir, "state", fmt.Sprint("filler", round, "-", n))
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return fillers
		}
		fillers = append(fillers, name)
		if unix.Fallocate(int(f.Fd()), 0, 0, size) != nil {
			size /= 2
		}
		t.ok(f.Close())
	}
	return fillers
}

// readOnlyDisk mounts STATE_DIR read-only over itself for a while. Open files stay writable, but no
// new file can be made.
func readOnlyDisk(t *Trial, rng *rand.Rand) {
	if !disks()["tmpfs"] {
		return
	}
	t.diskFailed = true
	state := filepath.Join(t.d.Dir, "state")
	// The mount is made read-only elsewhere first: over STATE_DIR this would fail, because files
	// below are open for writing.
	aside, err := os.MkdirTemp(t.d.Dir, "read-only-")
	t.ok(err)
	t.ok(unix.Mount(state, aside, "", unix.MS_BIND, ""))
	err = unix.Mount("", aside, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	if err == nil {
		err = unix.Mount(aside, state, "", unix.MS_BIND, "")
	}
	t.ok(errors.Join(err, unix.Unmount(aside, unix.MNT_DETACH)))
	t.writeDuringFault(rng)
	t.ok(unix.Unmount(state, unix.MNT_DETACH))
	t.catchUp()
}

// failFile makes writes to one file of the frame log fail for a while.
func failFile(t *Trial, rng *rand.Rand) {
	if !disks()["ext4"] || t.plan.Disk == "tmpfs" || RaceEnabled {
		return
	}
	t.diskFailed = true
	path := t.d.headFile()
	if kind := [...]string{"", ".frames", ".index"}[rng.IntN(3)]; kind != "" {
		segments, err := filepath.Glob(filepath.Join(filepath.Dir(path), "????????????????"+kind))
		t.ok(err)
		if len(segments) == 0 {
			return
		}
		path = segments[len(segments)-1] // Glob sorts
	}
	setImmutable(t.t, path, true)
	t.t.Cleanup(func() {
		if exists(path) {
			setImmutable(t.t, path, false)
		}
	})
	t.writeDuringFault(rng)
	setImmutable(t.t, path, false)
	t.catchUp()
}

// failDisk makes the file system fail, as after an error of the disk, and then restarts the machine
// as losePower does.
func failDisk(t *Trial, rng *rand.Rand) {
	if t.plan.Disk != "ext4" {
		losePower(t, rng)
		return
	}
	t.diskFailed = true
	t.syncKept()
	state := filepath.Join(t.d.Dir, "state")
	source, err := exec.Command("findmnt", "-n", "-o", "SOURCE", state).Output()
	t.ok(err)
	device := filepath.Base(strings.TrimSpace(string(source)))
	t.ok(os.WriteFile("/sys/fs/ext4/"+device+"/trigger_fs_error", []byte("1"), 0))
	t.writeDuringFault(rng)
	losePower(t, rng)
}
