package enginetest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/engine/simulator"
	"distributor/wsproto"
)

// Where words stand in the frame log's head file (mmaplog/framelog/doc.go).
const (
	headID     = 16
	headBoot   = 40
	headHead   = 64
	headFloor  = 128
	headSynced = 136
	headState  = 144
)

// headFile is the path of the frame log's head.
func (d *Distributor) headFile() string { return filepath.Join(d.Dir, "state", "frames", "head") }

// rebooted has the frame log believe that the machine was started again.
func rebooted(t testing.TB, d *Distributor) {
	t.Helper()
	damage(t, d.headFile(), headBoot, make([]byte, 16))
}

// damage writes over a part of a file.
func damage(t testing.TB, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// What else of the frame log's format a loss of power has to know (mmaplog/framelog/doc.go).
const (
	framePage  = 4096
	entryBytes = 64
)

// epoch is the frame log under one ID: from one loss of power to the next.
type epoch struct {
	id     [16]byte
	first  int       // life of the distributor that is the first of it
	start  uint64    // where the log ended when it got the ID
	floor  span      // where its floor was then: as it said, and at most
	tail   []entryOf // what it held, at its end, behind what the chronicle had:
	tailAt uint64    // that
	cut    uint64    // up to where the next epoch has the same; of the last one: no end
	order  []entryOf // by the verdict: all of it
	index  map[item]int
}

// segmentFile is a segment of the frame log, as it lies in the directory.
type segmentFile struct {
	base  uint64
	path  string // without extension
	ends  []uint64
	place []int64 // of the entries, in the index
}

// segmentFiles lists the segments with their frames, up to head.
func segmentFiles(dir string, head uint64) ([]segmentFile, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "????????????????.frames"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var out []segmentFile
	for _, path := range paths {
		s := segmentFile{path: strings.TrimSuffix(path, ".frames")}
		if s.base, err = strconv.ParseUint(filepath.Base(s.path), 16, 64); err != nil {
			return nil, err
		}
		index, err := os.ReadFile(s.path + ".index")
		if err != nil {
			return nil, err
		}
		for at := framePage; at+entryBytes <= len(index); at += entryBytes {
			end := binary.LittleEndian.Uint64(index[at:])
			if end == 0 || end > head {
				break
			}
			s.ends, s.place = append(s.ends, end), append(s.place, int64(at))
		}
		out = append(out, s)
	}
	return out, nil
}

// framesFrom reads the frame log's files from an offset to its head: what the chronicle has not got
// before the distributor was killed.
func (t *Trial) framesFrom(at, head uint64) (tail []entryOf) {
	segments, err := segmentFiles(filepath.Dir(t.d.headFile()), head)
	t.ok(err)
	var next [len(simulator.Streams)]int
	for _, s := range segments {
		if len(s.ends) == 0 || s.ends[len(s.ends)-1] <= at {
			continue
		}
		f, err := os.Open(s.path + ".frames")
		t.ok(err)
		in := bufio.NewReader(f)
		if at > s.base {
			_, err = io.CopyN(io.Discard, in, int64(at-s.base))
			t.ok(err)
		}
		for at = max(at, s.base); at < s.ends[len(s.ends)-1]; {
			h, err := ws.ReadHeader(in)
			t.ok(err)
			text := make([]byte, h.Length)
			_, err = io.ReadFull(in, text)
			t.ok(err)
			at += uint64(len(wsproto.AppendTextHeader(nil, len(text))) + len(text))
			stream := messageStream(text)
			if stream < 0 {
				t.t.Fatalf("in the frame log before %d: %.60q", at, text)
			}
			n := t.book.Find(stream, text, next[stream])
			if n < 0 {
				t.t.Fatalf("in the frame log before %d: no message that is due: %.60q", at, text)
			}
			next[stream] = n + 1
			tail = append(tail, entryOf{item{uint8(stream), int32(n)}, at})
		}
		t.ok(f.Close())
	}
	return tail
}

// headOf reads the head's page; nil: there is none.
func (t *Trial) headOf() []byte {
	page, err := os.ReadFile(t.d.headFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	t.ok(err)
	if len(page) != framePage {
		t.t.Fatalf("the head has %d bytes", len(page))
	}
	return page
}

func word(page []byte, at int) uint64 { return binary.LittleEndian.Uint64(page[at:]) }

// note keeps what a loss of power may bring back: the files of STATE_DIR as they are, as far as
// the kernel may have them on disk like that.
func (t *Trial) note() {
	if !t.plan.Power || !t.d.Running() {
		return
	}
	t.noted = noted{head: t.headOf(), files: map[string][]byte{}}
	for _, name := range progressFiles {
		if text, err := os.ReadFile(filepath.Join(t.d.Dir, "state", name)); err == nil {
			t.noted.files[name] = text
		}
	}
}

type noted struct {
	head  []byte
	files map[string][]byte
}

// progressFiles are replaced whole.
var progressFiles = [...]string{"checkpoint.json", "collectors.json"}

// losePower kills the distributor and leaves what the machine would leave that lost its power with
// it; then starts it again. On a file system of its own that is shut down; else unsynced pages are
// taken out of the files.
func losePower(t *Trial, rng *rand.Rand) {
	t.mayCut()
	t.checkLog()
	t.lost.Store(true)
	t.d.Kill()
	within(t.t, t.chronicle.closedNow(), func() {})
	page := t.headOf()
	last := &t.epochs[len(t.epochs)-1]
	head, synced := word(page, headHead), word(page, headSynced)
	if id := [16]byte(page[headID:]); id != last.id {
		t.t.Fatalf("the frame log has the ID %x, and had %x", id, last.id)
	}
	last.tailAt = t.charted()
	last.tail = t.framesFrom(last.tailAt, head)
	floor := span{0, last.floor.hi}
	least, most := synced, head
	if keep := uint64(t.plan.Retain); keep > 0 {
		floor.hi = max(floor.hi, head-min(head, keep))
	}
	if t.plan.Disk == "ext4" {
		t.cutExt4(rng)
	} else {
		most = t.dropPages(rng, page)
		least = most
	}
	if t.headOf() != nil {
		rebooted(t.t, t.d)
	}
	t.chronicle.forget()
	t.mayCut()
	t.ended(true)
	t.lacking = false
	t.write(rng.IntN(t.plan.Most))
	t.ok(t.archiver.WriteEach()) // so that all of it comes before something new
	t.mayCut()
	t.d.Start()
	opened := t.d.WaitLog("the frame log is open", func(l Line) bool {
		dir, _ := l.Attrs["dir"].(string)
		return l.Msg == "frame log: open" && strings.HasSuffix(dir, "/state/frames")
	})
	at, _ := opened.Attrs["head"].(float64)
	foot, _ := opened.Attrs["floor"].(float64)
	_, now := Bounds(t.t, t.d.URL)
	cut := uint64(at)
	floor.lo = uint64(foot)
	if now.Log == last.id {
		t.t.Fatal("the power was lost, and the frame log has its old ID")
	}
	if least = max(least, t.origin.Offset); cut < least || cut > most {
		t.t.Fatalf("after a loss of power the frame log ends at %d; %d to %d were on disk, of %d; "+
			"%d were synced, its floor is %d", cut, least, most, head, synced, floor.lo)
	}
	if floor.lo < last.floor.lo || floor.lo > floor.hi {
		t.t.Fatalf("after a loss of power the frame log begins at %d: it was at %d before, and may be at %d",
			floor.lo, last.floor.lo, floor.hi)
	}
	t.epochsMu.Lock()
	last.cut = cut
	t.epochs = append(t.epochs, epoch{
		id: now.Log, first: int(t.life.Load()), start: cut, floor: floor, cut: math.MaxUint64,
	})
	t.epochsMu.Unlock()
	t.lost.Store(false)
	t.tally.unwritten.Add(int64(head - cut))
	t.unread += int64(head - cut) // it comes again
	t.mayCut()
}

// spared tells how much of the frame log a loss of power leaves although nothing has brought it to
// disk. Of a log that keeps little, half of that: the chronicle has to come back before what it
// needs next is given up, and the archiver goes on meanwhile.
func (t *Trial) spared(head uint64) uint64 {
	if t.plan.Retain == 0 {
		return 0
	}
	return head - min(head, uint64(t.plan.Retain)/2)
}

// dropPages takes pages out of the frame log's files that nothing has brought to disk, and tells
// where the log must end by that. The order of syncs that it holds to is the frame log's promise:
// what the head calls synced is there, and a head that says so.
func (t *Trial) dropPages(rng *rand.Rand, page []byte) (ends uint64) {
	head := word(page, headHead)
	synced := max(word(page, headSynced), t.spared(head))
	if old := t.noted.head; old != nil && bytes.Equal(old[headID:headID+16], page[headID:headID+16]) && bytes.Equal(old[headBoot:headBoot+16], page[headBoot:headBoot+16]) &&
		word(old, headHead) >= synced && word(old, headFloor) == word(page, headFloor) && word(old, headState) == word(page, headState) && rng.IntN(2) == 0 {
		head = word(old, headHead)
		t.ok(os.WriteFile(t.d.headFile(), old, 0o600))
	}
	for _, name := range progressFiles {
		if text, ok := t.noted.files[name]; ok && rng.IntN(3) == 0 {
			t.ok(os.WriteFile(filepath.Join(t.d.Dir, "state", name), text, 0o600))
		}
	}
	segments, err := segmentFiles(filepath.Dir(t.d.headFile()), head)
	t.ok(err)
	ends = head
	share := [...]float64{0, 0.02, 0.3, 1}[rng.IntN(4)]
	drops := func() bool { return rng.Float64() < share }
	for n, s := range segments {
		first := 0 // frame that may be missing
		for first < len(s.ends) && s.ends[first] <= synced {
			first++
		}
		if first == len(s.ends) {
			continue
		}
		if n == len(segments)-1 && n > 0 && s.base >= synced && rng.IntN(6) == 0 { // its name is not on disk
			t.ok(errors.Join(os.Remove(s.path+".frames"), os.Remove(s.path+".index")))
			ends = min(ends, s.base)
			continue
		}
		start := func(i int) uint64 {
			if i == 0 {
				return s.base
			}
			return s.ends[i-1]
		}
		zero := func(path string, from, to int64) {
			if to > from {
				damage(t.t, path, from, make([]byte, to-from))
			}
		}
		from, to := int64(max(synced, s.base)-s.base), int64(s.ends[len(s.ends)-1]-s.base)
		for at := from; at < to; at = (at/framePage + 1) * framePage {
			if drops() {
				zero(s.path+".frames", at, min((at/framePage+1)*framePage, to))
				bad, _ := slices.BinarySearch(s.ends, s.base+uint64(at)+1)
				ends = min(ends, start(bad))
			}
		}
		for i := first; i < len(s.ends); {
			next := i
			for next < len(s.ends) && s.place[next]/framePage == s.place[i]/framePage {
				next++
			}
			if drops() {
				zero(s.path+".index", s.place[i], s.place[next-1]+entryBytes)
				ends = min(ends, start(i))
			}
			i = next
		}
	}
	return ends
}

// syncSpared brings the frame log to disk if more than may be lost of it is not there.
func (t *Trial) syncSpared() {
	if page := t.headOf(); word(page, headSynced) >= t.spared(word(page, headHead)) {
		return
	}
	dir, err := os.Open(filepath.Dir(t.d.headFile()))
	t.ok(err)
	_ = unix.Syncfs(int(dir.Fd())) // a file system that has failed refuses
	t.ok(dir.Close())
}

// cutExt4 has the file system of STATE_DIR lose its power, after the kernel has written back what
// it liked.
func (t *Trial) cutExt4(rng *rand.Rand) {
	t.syncSpared()
	state := filepath.Join(t.d.Dir, "state")
	files, err := filepath.Glob(filepath.Join(state, "frames", "*"))
	t.ok(err)
	for _, path := range files {
		if rng.IntN(4) > 0 {
			continue
		}
		f, err := os.Open(path)
		t.ok(err)
		if rng.IntN(2) == 0 {
			_ = f.Sync() // a file system that has failed refuses
		} else if info, err := f.Stat(); err == nil && info.Size() > 0 {
			_ = unix.SyncFileRange(int(f.Fd()), rng.Int64N(info.Size()), 1+rng.Int64N(info.Size()), unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		}
		t.ok(f.Close())
	}
	dir, err := os.Open(state)
	t.ok(err)
	withoutJournal := uint32(2) // EXT4_GOING_FLAGS_NOLOGFLUSH
	_, _, e := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), 0x8004587d, uintptr(unsafe.Pointer(&withoutJournal)))
	t.ok(dir.Close())
	if e != 0 {
		t.t.Fatalf("shut down %s: %v", state, e)
	}
	t.ok(unmount(state))
	t.mountImage()
}
