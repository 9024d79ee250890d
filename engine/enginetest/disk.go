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

// fill takes all bytes and all inodes that a file system has, and returns the files that hold them.
func fill(dir string) (fillers []string) {
	for size := 1 << 20; ; {
		name := filepath.Join(dir, fmt.Sprint("filler", len(fillers)))
		err := os.WriteFile(name, make([]byte, size), 0o600)
		if exists(name) {
			fillers = append(fillers, name) // with what there was room for
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

// setImmutable keeps a file of STATE_DIR from being written, on any file system that can.
func setImmutable(t testing.TB, path string, on bool) {
	t.Helper()
	if err := disktest.Immutable(path, on); err != nil {
		t.Skipf("no file can be made immutable here: %v", err)
	}
}

// disks are the file systems that STATE_DIR may have for itself, as far as they can be made here.
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
	if exec.Command("truncate", "-s", "16M", image).Run() == nil && exec.Command("mkfs.ext4", "-q", image).Run() == nil &&
		exec.Command("mount", "-o", "loop", image, dir).Run() == nil {
		_ = unix.Unmount(dir, 0)
		can["ext4"] = true
	}
	return can
})

// mountState gives STATE_DIR the file system of the plan; where it cannot be made, a directory.
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
		t.run1("truncate", "-s", "160M", t.image())
		t.run1("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-J", "size=4", t.image())
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
	options := "loop,errors=remount-ro," + [...]string{"data=ordered", "noauto_da_alloc", "data=writeback", "nodelalloc"}[t.plan.Seed%4]
	t.run1("mount", "-o", options, t.image(), filepath.Join(t.d.Dir, "state"))
}

func (t *Trial) run1(name string, args ...string) {
	if text, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.t.Fatalf("%s %v: %v: %s", name, args, err, text)
	}
}

// ill writes records while something is wrong with the disk: nothing is waited for.
func (t *Trial) ill(rng *rand.Rand) {
	t.frozen = true
	t.write(10 + rng.IntN(t.plan.Most))
	t.frozen = false
}

// fillDisk has STATE_DIR full for a while. What is written meanwhile comes when there is room, and
// nobody is cut.
func fillDisk(t *Trial, rng *rand.Rand) {
	if t.plan.Disk == "" {
		readOnlyDisk(t, rng)
		return
	}
	t.sick = true
	var fillers []string
	for round := range 1 + rng.IntN(3) { // room that others give back is taken as well
		if round > 0 {
			t.ill(rng)
		}
		fillers = append(fillers, t.fill(round)...)
	}
	t.ill(rng)
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

// fill takes the room that there is on a disk of the trial's.
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

// readOnlyDisk has the path of STATE_DIR read-only for a while: files that are open stay as they
// are, and no other can be made.
func readOnlyDisk(t *Trial, rng *rand.Rand) {
	if !disks()["tmpfs"] {
		return
	}
	t.sick = true
	state := filepath.Join(t.d.Dir, "state")
	// It gets its place when it is read-only: a file that is open for writing below would keep it
	// from that.
	aside, err := os.MkdirTemp(t.d.Dir, "read-only-")
	t.ok(err)
	t.ok(unix.Mount(state, aside, "", unix.MS_BIND, ""))
	err = unix.Mount("", aside, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	if err == nil {
		err = unix.Mount(aside, state, "", unix.MS_BIND, "")
	}
	t.ok(errors.Join(err, unix.Unmount(aside, unix.MNT_DETACH)))
	t.ill(rng)
	t.ok(unix.Unmount(state, unix.MNT_DETACH))
	t.catchUp()
}

// failFile has one file of the frame log refuse what is written for a while.
func failFile(t *Trial, rng *rand.Rand) {
	if !disks()["ext4"] || t.plan.Disk == "tmpfs" || RaceEnabled {
		return
	}
	t.sick = true
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
	t.ill(rng)
	setImmutable(t.t, path, false)
	t.catchUp()
}

// failDisk has the file system fail, as after an error of the disk, and then the machine started
// again.
func failDisk(t *Trial, rng *rand.Rand) {
	if t.plan.Disk != "ext4" {
		losePower(t, rng)
		return
	}
	t.sick = true
	t.syncSpared()
	source, err := exec.Command("findmnt", "-n", "-o", "SOURCE", filepath.Join(t.d.Dir, "state")).Output()
	t.ok(err)
	device := filepath.Base(strings.TrimSpace(string(source)))
	t.ok(os.WriteFile("/sys/fs/ext4/"+device+"/trigger_fs_error", []byte("1"), 0))
	t.ill(rng)
	losePower(t, rng)
}
