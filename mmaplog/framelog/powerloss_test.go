package framelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// cutsPerImage is how many power losses a file system has before the next one is made, with other
	// mount options.
	cutsPerImage = 50
	// A child of this test opens the log in powerLossDir and cuts the power before its n-th file
	// operation, as powerLossCut says: "<n> <boot> <seed>".
	powerLossDir = "FRAMELOG_POWER_LOSS_DIR"
	powerLossCut = "FRAMELOG_POWER_LOSS_CUT"
)

// TestPowerLoss causes real losses of power for a file system: an ext4 on a loop device is shut
// down without flushing its journal, after random parts of the files were written back. Then it is
// mounted again, and the log is recovered under another boot ID. Some recoveries are cut too, or
// the power is cut again before anything else is written. After each loss:
//
//   - the log has exactly what it had, up to its new end: no hole, no frame of another life;
//   - all that was synced is there; after a close, everything, under the old ID;
//   - LastSource is that of the newest frame, so that all later records are read again;
//   - an offset that is served under an earlier ID has the same bytes as before, as far as there
//     are any.
func TestPowerLoss(t *testing.T) {
	cuts, _ := strconv.Atoi(os.Getenv("CUTS"))
	if cuts == 0 {
		t.Skip("CUTS is not set: `make powerloss`")
	}
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if os.Geteuid() != 0 {
		t.Skip("file systems are mounted by root alone")
	}
	var total outage
	for done := 0; done < cuts; {
		p := newPower(t, seed, uint64(done/cutsPerImage))
		for range min(cutsPerImage, cuts-done) {
			p.life()
			done++
		}
		p.finish()
		total.add(p.outage)
		fmt.Printf("power loss: %d of %d cuts, seed %d, %s: %v\n", done, cuts, seed, p.options, &total)
		if t.Failed() {
			return
		}
	}
}

// outage counts events.
type outage struct{ cut, gone, closed, interrupted, killed, renamed int }

func (o *outage) add(p outage) {
	o.cut, o.gone, o.closed = o.cut+p.cut, o.gone+p.gone, o.closed+p.closed
	o.interrupted, o.killed, o.renamed = o.interrupted+p.interrupted, o.killed+p.killed,
		o.renamed+p.renamed
}

func (o *outage) String() string {
	return fmt.Sprintf("%d ends were cut off, %d frames with them; %d closed, %d recoveries cut, %d writers killed, %d IDs followed",
		o.cut, o.gone, o.closed, o.interrupted, o.killed, o.renamed)
}

// made is an appended frame.
type made struct {
	end, number uint64
	life        int64 // in Meta.Cycle: the same record has other bytes in another life
}

// power is a file system that loses its power, with a log in it.
type power struct {
	t          *testing.T
	rng        *rand.Rand
	image, mnt string
	options    string // of the mount
	outage
	boot  uint64
	lives int64

	frames        []made        // all frames that the log may have
	same          map[ID]uint64 // offsets up to here mean the same under this ID as in frames
	order         []ID          // the IDs in same, newest last
	closed        bool
	reopened      bool   // and cut again since
	synced, floor uint64 // before the cut
}

func newPower(t *testing.T, seed, n uint64) *power {
	t.Helper()
	p := &power{t: t, rng: rand.New(rand.NewPCG(seed, n)), same: map[ID]uint64{}}
	place := t.TempDir()
	p.image, p.mnt = filepath.Join(place, "image"), filepath.Join(place, "mnt")
	p.options = []string{"loop", "loop,noauto_da_alloc", "loop,data=writeback", "loop,commit=1",
		"loop,nodelalloc"}[n%5]
	if err := os.Mkdir(p.mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	p.run("truncate", "-s", "64M", p.image)
	p.run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", p.image)
	p.mount()
	t.Cleanup(func() { _ = exec.Command("umount", "-l", p.mnt).Run() })
	return p
}

func (p *power) run(name string, args ...string) {
	p.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func (p *power) mount() {
	p.t.Helper()
	p.run("mount", "-o", p.options, p.image, p.mnt)
}

func (p *power) remount() {
	p.t.Helper()
	p.run("umount", p.mnt)
	p.mount()
}

// finish unmounts the file system of the last life.
func (p *power) finish() {
	p.t.Helper()
	p.run("umount", p.mnt)
	if err := os.Remove(p.image); err != nil {
		p.t.Fatal(err)
	}
}

func (p *power) log() Options {
	o := testOptions(filepath.Join(p.mnt, "log"))
	o.RetainBytes = 16 * minSegmentBytes
	binary.LittleEndian.PutUint64(o.boot[:], p.boot)
	return o
}

// life is a life of the machine, from its start to the loss of its power.
func (p *power) life() {
	p.t.Helper()
	for p.rng.IntN(3) == 0 {
		p.cutRecovery()
	}
	p.boot++
	w, rec, err := OpenWriter(p.log())
	if err != nil {
		p.t.Fatal(err)
	}
	p.check(w, rec)
	p.reopened = false
	p.write(w, 120)
	for p.rng.IntN(4) == 0 { // the process is killed, with uncommitted frames
		p.killed++
		p.append(w, 1+p.rng.IntN(40), false)
		id := w.ID()
		abandon(w)
		if w, rec, err = OpenWriter(p.log()); err != nil {
			p.t.Fatal(err)
		}
		if w.ID() != id || len(rec.Damaged)+len(rec.GivenUp) > 0 {
			p.t.Errorf("boot %d: a kill was no crash of the machine: %+v", p.boot, rec)
		}
		p.frames = slices.DeleteFunc(p.frames, func(m made) bool { return m.end > rec.Head })
		p.write(w, 60)
	}
	p.synced, p.floor = w.Stats().Synced, w.Floor()
	if p.closed = p.rng.IntN(4) == 0; p.closed {
		p.outage.closed++
		p.synced = w.Head()
		if err := w.Close(); err != nil {
			p.t.Fatal(err)
		}
	}
	powerOff(p.mnt)
	if !p.closed {
		abandon(w)
	}
	p.remount()
}

// check compares the log after a loss with the frames before.
func (p *power) check(w *Writer, rec Recovery) {
	p.t.Helper()
	bad := func(format string, args ...any) {
		p.t.Helper()
		p.t.Errorf("boot %d (closed %v, synced %d, floor %d, new ID %q, head %d, floor %d): %s", p.boot, p.closed, p.synced, p.floor, rec.NewID,
			rec.Head, rec.Floor, fmt.Sprintf(format, args...))
	}
	if len(rec.Damaged) > 0 {
		bad("lost for good: %v", rec.Damaged)
	}
	if rec.Head < p.synced && p.floor < p.synced {
		bad("it ends below what was on disk")
	}
	if p.closed && (rec.NewID != "" && !p.reopened || rec.Head != p.synced) {
		bad("it was closed")
	}
	if !p.closed && len(p.order) > 0 && rec.NewID == "" {
		bad("no new ID")
	}
	r := mustRead(p.t, p.log().Dir)
	defer closeReader(p.t, r)
	_, last, err := readNumbered(r, r.Floor(), 1<<20)
	if err != nil {
		bad("%v", err)
	}
	if newest := lastNumber(w); last != 0 && newest != last {
		bad("the newest frame is %d, sources say %d", last, newest)
	}
	now := p.read(r)
	was := slices.DeleteFunc(slices.Clone(p.frames), func(m made) bool {
		return m.end <= rec.Floor || m.end > rec.Head
	})
	if !slices.Equal(now, was) {
		bad("%d frames, not the %d of before: %v, %v", len(now), len(was), difference(now, was),
			difference(was, now))
	}
	kept := len(p.frames)
	p.frames = slices.DeleteFunc(p.frames, func(m made) bool { return m.end > rec.Head })
	if kept -= len(p.frames); kept > 0 {
		p.cut, p.gone = p.cut+1, p.gone+kept
	}
	for id, end := range p.same {
		p.same[id] = min(end, rec.Head)
	}
	known := map[ID]bool{w.ID(): true}
	for _, a := range r.Ancestors() {
		end, told := p.same[a.ID]
		known[a.ID] = true
		if told && a.End != end {
			bad("offsets of ID %v are served up to %d, they are the same up to %d", a.ID, a.End, end)
		} else if told {
			p.renamed++
		}
	}
	for i, id := range p.order {
		if !known[id] && i >= len(p.order)-8 {
			bad("ID %v is not followed", id)
		}
	}
	if p.same[w.ID()] = unknown; !slices.Contains(p.order, w.ID()) {
		p.order = append(p.order, w.ID())
	}
}

// read returns the frames that a log serves.
func (p *power) read(r *Reader) (all []made) {
	p.t.Helper()
	for at := r.Floor(); at < r.Head(); {
		end, err := r.FrameEnd(at + 1)
		if err != nil {
			p.t.Fatal(err)
		}
		m, err := r.Meta(end)
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, made{end, binary.LittleEndian.Uint64(m.Source[:]), m.Cycle})
		at = end
	}
	return all
}

// difference returns the first frame of a that is not in b.
func difference(a, b []made) string {
	for _, m := range a {
		if !slices.Contains(b, m) {
			return fmt.Sprintf("%+v", m)
		}
	}
	return "none"
}

// write appends about n frames, while random parts of the files are written back.
func (p *power) write(w *Writer, n int) {
	p.t.Helper()
	for p.lives++; p.rng.IntN(n) > 0; {
		p.append(w, 1, true)
		if p.rng.IntN(3) == 0 {
			writeBack(p.rng, p.mnt)
		}
	}
}

func (p *power) append(w *Writer, n int, commit bool) {
	p.t.Helper()
	for range n {
		number := uint64(1)
		if len(p.frames) > 0 {
			number = p.frames[len(p.frames)-1].number + 1
		} else if last := lastNumber(w); last > 0 {
			number = last + 1
		}
		frame, m := numbered(number)
		m.Cycle = p.lives
		if !commit {
			m.Cycle = -p.lives
		}
		if err := w.Append(frame, m); err != nil {
			p.t.Fatal(err)
		}
		p.frames = append(p.frames, made{w.tail, number, m.Cycle})
	}
	if commit {
		if err := w.Commit(); err != nil {
			p.t.Fatal(err)
		}
	}
}

// cutRecovery starts the machine, and cuts its power while the log is opened, or right after.
func (p *power) cutRecovery() {
	p.t.Helper()
	p.interrupted++
	p.boot++
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), powerLossDir+"="+p.mnt,
		fmt.Sprintf("%s=%d %d %d", powerLossCut, p.rng.IntN(25), p.boot, p.rng.Uint32()))
	out, err := child.CombinedOutput()
	var killed *exec.ExitError
	if !errors.As(err, &killed) || killed.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		p.t.Fatalf("the child was not killed: %v: %s", err, out)
	}
	p.remount()
	p.reopened = true // on the disk, a closed log may be an open one now
}

// cutWhileOpening runs in the child process.
func cutWhileOpening(mnt, cut string) {
	var n int
	var boot, seed uint64
	if _, err := fmt.Sscan(cut, &n, &boot, &seed); err != nil {
		panic(err)
	}
	p := &power{mnt: mnt, boot: boot, rng: rand.New(rand.NewPCG(seed, boot))}
	off := func() {
		powerOff(mnt)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	o, done := p.log(), make(chan int, 1)
	done <- 0
	o.fault = func(op, string) error {
		i := <-done
		if i == n {
			off()
		}
		done <- i + 1
		if p.rng.IntN(4) == 0 {
			writeBack(p.rng, mnt)
		}
		return nil
	}
	w, _, err := OpenWriter(o)
	if err != nil {
		panic(err)
	}
	w.Head()
	off()
}

// abandon releases a writer's resources as the end of its process would.
func abandon(w *Writer) {
	w.ahead.close()
	w.beside.close()
	w.behind.close()
	if w.asked {
		if got := <-w.spare; got.segment != nil {
			got.segment.close()
		}
	}
	for _, s := range append(w.sealed, w.active) {
		s.close()
	}
	w.closed = true
	w.letGo()
}

// powerOff makes ext4 lose all that is not on the device: EXT4_IOC_SHUTDOWN with NOLOGFLUSH.
func powerOff(mnt string) {
	dir, err := os.Open(mnt)
	if err != nil {
		panic(err)
	}
	defer dir.Close()
	flag := uint32(2)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), 0x8004587d,
		uintptr(unsafe.Pointer(&flag))); e != 0 {
		panic(e)
	}
}

// writeBack writes a random part of a file, or the journal, to the device.
func writeBack(rng *rand.Rand, mnt string) {
	names, err := readNames(filepath.Join(mnt, "log"))
	if err != nil || len(names) == 0 {
		return
	}
	slices.Sort(names)
	slices.Reverse(names) // the head, a spare and the newest segments come first
	name := names[min(rng.IntN(len(names)), rng.IntN(len(names)))]
	f, err := os.Open(filepath.Join(mnt, "log", name))
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < pageSize {
		return
	}
	if pages := info.Size() / pageSize; rng.IntN(16) > 0 {
		_ = unix.SyncFileRange(int(f.Fd()), rng.Int64N(pages)*pageSize, (1+rng.Int64N(pages))*pageSize,
			unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	} else {
		_ = unix.Fsync(int(f.Fd()))
	}
}
