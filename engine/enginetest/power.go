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

	"distributor/mmaplog/datalog"
	"distributor/wsproto"
)

// Offsets of words in the frame log's head file (mmaplog/framelog/doc.go).
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

// rebooted clears the boot ID in the head, so that the frame log assumes a restart of the machine.
func rebooted(t testing.TB, d *Distributor) {
	t.Helper()
	damage(t, d.headFile(), headBoot, make([]byte, 16))
}

// damage overwrites a part of a file with b.
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

// Sizes of the frame log's format in bytes (mmaplog/framelog/doc.go).
const (
	framePage  = 4096
	entryBytes = 64
)

// epoch is the time of the frame log under one ID: from one loss of power to the next.
type epoch struct {
	id     [16]byte
	first  int       // number of the first life of the distributor in it
	start  uint64    // end of the log when it got the ID
	floor  span      // its floor then: as the log said it, and the highest possible value
	tailAt uint64    // end of the chronicle's messages at the end of the epoch
	tail   []entryOf // frames after tailAt at the end of the epoch
	cut    uint64    // the next epoch has the same frames up to here; last epoch: MaxUint64
	order  []entryOf // all frames; set by the verdict
	index  map[item]int
}

// segmentFile is a segment of the frame log in its directory.
type segmentFile struct {
	base  uint64
	path  string   // without extension
	ends  []uint64 // of the frames
	place []int64  // offsets of their entries in the index file
}

// segmentFiles returns the segments with their frames up to head.
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

// framesFrom reads the frame log's files from an offset to the head: the frames that the chronicle
// had not received when the distributor was killed.
func (t *Trial) framesFrom(at, head uint64) (tail []entryOf) {
	segments, err := segmentFiles(filepath.Dir(t.d.headFile()), head)
	t.ok(err)
	var next datalog.PerStream[int]
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
			stream, ok := messageStream(text)
			if !ok {
				t.t.Fatalf("in the frame log before %d: a text of no stream: %.60q", at, text)
			}
			n := t.book.Find(stream, text, next[stream])
			if n < 0 {
				t.t.Fatalf("in the frame log before %d: not in the book: %.60q", at, text)
			}
			next[stream] = n + 1
			tail = append(tail, entryOf{item{stream, int32(n)}, at})
		}
		t.ok(f.Close())
	}
	return tail
}

// headPage reads the head file; nil: it does not exist.
func (t *Trial) headPage() []byte {
	page, err := os.ReadFile(t.d.headFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	t.ok(err)
	if len(page) != framePage {
		t.t.Fatalf("the head file has %d bytes, want %d", len(page), framePage)
	}
	return page
}

func word(page []byte, at int) uint64 { return binary.LittleEndian.Uint64(page[at:]) }

// saveOldFiles saves the files of STATE_DIR that a loss of power may bring back, because the kernel
// may have written them to the disk in this state.
func (t *Trial) saveOldFiles() {
	if !t.plan.Power || !t.d.Running() {
		return
	}
	t.oldFiles = oldState{head: t.headPage(), files: map[string][]byte{}}
	for _, name := range progressFiles {
		if text, err := os.ReadFile(filepath.Join(t.d.Dir, "state", name)); err == nil {
			t.oldFiles.files[name] = text
		}
	}
}

// oldState has the contents of files at an earlier time.
type oldState struct {
	head  []byte
	files map[string][]byte
}

// progressFiles are files of STATE_DIR that the distributor replaces as a whole.
var progressFiles = [...]string{"checkpoint.json", "collectors.json"}

// losePower kills the distributor, leaves the files as a machine that lost its power would leave
// them, and starts the distributor again. An ext4 of the trial is shut down; elsewhere unsynced
// pages are removed from the files.
func losePower(t *Trial, rng *rand.Rand) {
	t.mayCut()
	t.checkLog()
	t.endUnknown.Store(true)
	t.d.Kill()
	within(t.t, t.chronicle.closedNow(), func() {})
	page := t.headPage()
	last := &t.epochs[len(t.epochs)-1]
	head, synced := word(page, headHead), word(page, headSynced)
	if id := [16]byte(page[headID:]); id != last.id {
		t.t.Fatalf("the frame log has the ID %x, want %x", id, last.id)
	}
	last.tailAt = t.chronicleEnd()
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
	if t.headPage() != nil {
		rebooted(t.t, t.d)
	}
	t.chronicle.expectRepeats()
	t.mayCut()
	t.ended(true)
	t.syncFailed = false
	t.write(rng.IntN(t.plan.Most))
	t.ok(t.archiver.WriteEach()) // these records come after all that was lost
	t.mayCut()
	t.d.Start()
	opened := t.d.WaitLog("the frame log is open", func(l Line) bool {
		dir, _ := l.Attrs["dir"].(string)
		return l.Msg == "frame log: open" && strings.HasSuffix(dir, "/state/frames")
	})
	at, _ := opened.Attrs["head"].(float64)
	floorNow, _ := opened.Attrs["floor"].(float64)
	_, now := Bounds(t.t, t.d.URL)
	cut := uint64(at)
	floor.lo = uint64(floorNow)
	if now.Log == last.id {
		t.t.Fatal("after a loss of power the frame log has its old ID, want a new one")
	}
	if least = max(least, t.origin.Offset); cut < least || cut > most {
		t.t.Fatalf("after a loss of power the frame log ends at %d, want %d to %d; "+
			"the head was %d, synced was %d, the floor is %d",
			cut, least, most, head, synced, floor.lo)
	}
	if floor.lo < last.floor.lo || floor.lo > floor.hi {
		t.t.Fatalf("after a loss of power the floor is %d, want %d to %d",
			floor.lo, last.floor.lo, floor.hi)
	}
	t.epochsMu.Lock()
	last.cut = cut
	t.epochs = append(t.epochs, epoch{
		id: now.Log, first: int(t.life.Load()), start: cut, floor: floor, cut: math.MaxUint64,
	})
	t.epochsMu.Unlock()
	t.endUnknown.Store(false)
	t.tally.unwritten.Add(int64(head - cut))
	t.unread += int64(head - cut) // these records are read again
	t.mayCut()
}

// keptUnsynced returns up to which offset a loss of power leaves the frame log even if it is not
// synced. A log with a small FRAME_LOG_BYTES loses at most half of that. Else the chronicle might
// reconnect too late for the frames that it needs, because the archiver continues meanwhile.
func (t *Trial) keptUnsynced(head uint64) uint64 {
	if t.plan.Retain == 0 {
		return 0
	}
	return head - min(head, uint64(t.plan.Retain)/2)
}

// dropPages removes random unsynced pages from the frame log's files, and returns where the log
// must end. It respects what the frame log promises about its syncs: all that the head calls synced
// is on the disk, and so is a head that says so.
func (t *Trial) dropPages(rng *rand.Rand, page []byte) (ends uint64) {
	head := word(page, headHead)
	synced := max(word(page, headSynced), t.keptUnsynced(head))
	same := func(old []byte, at, size int) bool {
		return bytes.Equal(old[at:at+size], page[at:at+size])
	}
	if old := t.oldFiles.head; old != nil &&
		same(old, headID, 16) && same(old, headBoot, 16) && word(old, headHead) >= synced &&
		same(old, headFloor, 8) && same(old, headState, 8) && rng.IntN(2) == 0 {
		head = word(old, headHead)
		t.ok(os.WriteFile(t.d.headFile(), old, 0o600))
	}
	for _, name := range progressFiles {
		if text, ok := t.oldFiles.files[name]; ok && rng.IntN(3) == 0 {
			t.ok(os.WriteFile(filepath.Join(t.d.Dir, "state", name), text, 0o600))
		}
	}
	segments, err := segmentFiles(filepath.Dir(t.d.headFile()), head)
	t.ok(err)
	ends = head
	share := [...]float64{0, 0.02, 0.3, 1}[rng.IntN(4)]
	drops := func() bool { return rng.Float64() < share }
	for n, s := range segments {
		first := 0 // the first frame that may be missing
		for first < len(s.ends) && s.ends[first] <= synced {
			first++
		}
		if first == len(s.ends) {
			continue
		}
		if n == len(segments)-1 && n > 0 && s.base >= synced && rng.IntN(6) == 0 {
			// Its name is not on the disk.
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

// syncKept syncs the frame log if its unsynced part is larger than keptUnsynced allows to lose.
func (t *Trial) syncKept() {
	if page := t.headPage(); word(page, headSynced) >= t.keptUnsynced(word(page, headHead)) {
		return
	}
	dir, err := os.Open(filepath.Dir(t.d.headFile()))
	t.ok(err)
	_ = unix.Syncfs(int(dir.Fd())) // fails after a fault of the file system
	t.ok(dir.Close())
}

// cutExt4 shuts the file system of STATE_DIR down without its journal, after random parts of the
// files were written back.
func (t *Trial) cutExt4(rng *rand.Rand) {
	t.syncKept()
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
			_ = f.Sync() // fails after a fault of the file system
		} else if info, err := f.Stat(); err == nil && info.Size() > 0 {
			const flags = unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
			from, n := rng.Int64N(info.Size()), 1+rng.Int64N(info.Size())
			_ = unix.SyncFileRange(int(f.Fd()), from, n, flags)
		}
		t.ok(f.Close())
	}
	dir, err := os.Open(state)
	t.ok(err)
	withoutJournal := uint32(2) // EXT4_GOING_FLAGS_NOLOGFLUSH
	const shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
	argument := unsafe.Pointer(&withoutJournal)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), shutdown, uintptr(argument))
	t.ok(dir.Close())
	if e != 0 {
		t.t.Fatalf("shut down %s: %v", state, e)
	}
	t.ok(unmount(state))
	t.mountImage()
}
