package framelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func testOptions(dir string) Options {
	return Options{Dir: dir, SegmentBytes: minSegmentBytes, RetainBytes: 4 * minSegmentBytes,
		Log: quiet}
}

// memoryDir returns a directory in memory, where fsync costs nothing, if the machine has one.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "framelog")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func mustOpen(t testing.TB, o Options) (*Writer, Recovery) {
	t.Helper()
	w, r, err := OpenWriter(o)
	if err != nil {
		t.Fatalf("OpenWriter: %v", err)
	}
	t.Cleanup(func() { w.Close() })
	return w, r
}

func mustRead(t testing.TB, dir string) *Reader {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatalf("OpenReader: %v", err)
	}
	t.Cleanup(func() {
		if r.head != nil {
			closeReader(t, r)
		}
	})
	return r
}

func closeReader(t testing.TB, r *Reader) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.head = nil
}

// numbered returns frame n of a test. Its length and content follow from n, and n can be read from
// it.
func numbered(n uint64) ([]byte, Meta) {
	rng := rand.New(rand.NewPCG(n, 7))
	size := 24 + rng.IntN(5000)
	if rng.IntN(200) == 0 {
		size = minSegmentBytes + rng.IntN(minSegmentBytes) // longer than a segment
	}
	frame := make([]byte, size)
	for i := 16; i+8 <= size; i += 8 {
		binary.LittleEndian.PutUint64(frame[i:], rng.Uint64())
	}
	binary.LittleEndian.PutUint64(frame, n)
	binary.LittleEndian.PutUint64(frame[8:], uint64(size))
	m := Meta{Stream: uint8(n % 3), Cycle: int64(n), Time: int64(n) * 1000}
	binary.LittleEndian.PutUint64(m.Source[:], n)
	return frame, m
}

func appendNumbered(t testing.TB, w *Writer, from, to uint64) {
	t.Helper()
	for n := from; n < to; n++ {
		frame, m := numbered(n)
		if err := w.Append(frame, m); err != nil {
			t.Fatalf("Append %d: %v", n, err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

// readNumbered reads from an offset to the head, checks that there are whole numbered frames with
// consecutive numbers, and returns the first and the last number.
func readNumbered(r *Reader, from uint64, max int) (first, last uint64, err error) {
	var buf []byte
	at := from
	for {
		b, err := r.Frames(at, max)
		if err != nil {
			return first, last, fmt.Errorf("Frames(%d): %w", at, err)
		}
		if b == nil {
			break
		}
		buf = append(buf, b...)
		at += uint64(len(b))
		for len(buf) >= 16 {
			size := binary.LittleEndian.Uint64(buf[8:])
			if uint64(len(buf)) < size {
				break
			}
			n := binary.LittleEndian.Uint64(buf)
			if last != 0 && n != last+1 {
				return first, last, fmt.Errorf("frame %d comes after %d", n, last)
			}
			if want, _ := numbered(n); !bytes.Equal(want, buf[:size]) {
				return first, last, fmt.Errorf("frame %d has other bytes", n)
			}
			if first == 0 {
				first = n
			}
			last = n
			buf = buf[size:]
		}
	}
	if len(buf) != 0 {
		return first, last, fmt.Errorf("%d bytes of an incomplete frame after %d", len(buf), last)
	}
	return first, last, nil
}

func TestAppendCommitRead(t *testing.T) {
	dir := t.TempDir()
	w, rec := mustOpen(t, testOptions(dir))
	if rec.NewID == "" || rec.Head != 0 || w.Head() != 0 || w.Floor() != 0 {
		t.Fatalf("new log: %+v", rec)
	}
	r := mustRead(t, dir)
	if b, err := r.Frames(0, 10); b != nil || err != nil {
		t.Fatalf("empty log: %v, %v", b, err)
	}
	for _, text := range []string{"one", "two!", "three"} {
		if err := w.Append([]byte(text), Meta{Stream: 1, Cycle: -1, Time: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
	}
	if r.Head() != 0 {
		t.Fatal("visible before Commit")
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from uint64
		max  int
		want string
	}{
		{0, 100, "onetwo!three"}, {0, 12, "onetwo!three"}, {0, 11, "onetwo!"}, {0, 7, "onetwo!"},
		{0, 6, "one"}, {0, 3, "one"},
		{0, 2, "on"}, {0, 1, "o"}, {1, 2, "ne"}, {1, 6, "netwo!"}, {4, 3, "wo!"}, {4, 2, "wo"},
		{3, 4, "two!"}, {7, 4, "thre"}, {7, 5, "three"}, {12, 5, ""},
	} {
		for range 2 { // the second time from memory
			if b, err := r.Frames(c.from, c.max); err != nil || string(b) != c.want {
				t.Errorf("Frames(%d, %d) = %q, %v; want %q", c.from, c.max, b, err, c.want)
			}
		}
	}
	if b, err := r.Frames(7, 50); err != nil || string(b) != "three" {
		t.Fatalf("%q, %v", b, err)
	}
	if err := errors.Join(w.Append([]byte("4"), Meta{}), w.Commit()); err != nil {
		t.Fatal(err)
	}
	// The reader remembers an older head.
	if b, err := r.Frames(7, 50); err != nil || string(b) != "three4" {
		t.Errorf("after more was committed: %q, %v", b, err)
	}
	for offset, want := range []uint64{0, 3, 3, 3, 7, 7, 7, 7, 12, 12, 12, 12, 12} {
		if end, err := r.FrameEnd(uint64(offset)); err != nil || end != want {
			t.Errorf("FrameEnd(%d) = %d, %v; want %d", offset, end, err, want)
		}
		if offset > 0 {
			if m, err := r.Meta(uint64(offset)); err != nil ||
				m.Time != int64([]int{3, 4, 5}[map[uint64]int{3: 0, 7: 1, 12: 2}[want]]) {
				t.Errorf("Meta(%d) = %+v, %v", offset, m, err)
			}
		}
	}
	if _, err := r.Meta(0); !errors.Is(err, ErrBelowFloor) {
		t.Errorf("Meta at the floor: %v", err)
	}
	if _, err := r.Frames(14, 5); !errors.Is(err, ErrBeyondHead) {
		t.Errorf("beyond head: %v", err)
	}
	if _, err := r.FrameEnd(14); !errors.Is(err, ErrBeyondHead) {
		t.Errorf("beyond head: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	w, _ := mustOpen(t, testOptions(t.TempDir()))
	if err := w.Append(nil, Meta{}); !errors.Is(err, ErrFrame) {
		t.Errorf("empty frame: %v", err)
	}
	if err := w.Append([]byte("x"), Meta{Stream: MaxStreams}); !errors.Is(err, ErrFrame) {
		t.Errorf("stream: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]byte("x"), Meta{}); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := w.Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestReopenGivesUpUncommitted(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, testOptions(dir))
	appendNumbered(t, w, 1, 100)
	id, head := w.ID(), w.Head()
	for n := uint64(1000); n < 1050; n++ { // also over a segment's end
		frame, m := numbered(n)
		if err := w.Append(frame, m); err != nil {
			t.Fatal(err)
		}
	}
	if src, _, _ := w.LastSource(uint8(1049 % 3)); binary.LittleEndian.Uint64(src[:]) != 1049 {
		t.Errorf("LastSource of appended = %d", binary.LittleEndian.Uint64(src[:]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w, rec := mustOpen(t, testOptions(dir))
	if rec.NewID != "" || w.ID() != id || w.Head() != head || len(rec.Damaged)+len(rec.GivenUp) > 0 {
		t.Fatalf("reopened: %+v, want id %v head %d", rec, id, head)
	}
	for stream := uint8(0); stream < 4; stream++ {
		src, at, ok := w.LastSource(stream)
		n := binary.LittleEndian.Uint64(src[:])
		if want := []uint64{99, 97, 98, 0}[stream]; n != want || ok != (want != 0) || ok &&
			(at == 0 || at > head) {
			t.Errorf("LastSource(%d) = frame %d at %d, %v", stream, n, at, ok)
		}
	}
	appendNumbered(t, w, 100, 200)
	r := mustRead(t, dir)
	if _, last, err := readNumbered(r, r.Floor(), 20000); err != nil || last != 199 {
		t.Fatalf("last %d, %v", last, err)
	}
	if w.Stats().Frames != 199 {
		t.Errorf("Frames = %d", w.Stats().Frames)
	}
}

// TestGivenUpEntriesAndSealAreForgotten checks that entries and a seal of frames that were given up
// do not count for the frames that replace them.
func TestGivenUpEntriesAndSealAreForgotten(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, testOptions(dir))
	frame := make([]byte, 1000)
	// The other case: no frame of the segment is kept.
	if err := errors.Join(w.Append(frame, Meta{}), w.Commit()); err != nil {
		t.Fatal(err)
	}
	for range len(w.active.entries) + 6 { // fills the index, so the segment is sealed early
		if err := w.Append([]byte("ten bytes."), Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.sealed) != 1 {
		t.Fatal("not sealed")
	}
	w.Close()
	w, _ = mustOpen(t, testOptions(dir))
	r := mustRead(t, dir)
	for n := uint64(1); n < 10; n++ {
		if err := errors.Join(w.Append(frame, Meta{}), w.Commit()); err != nil {
			t.Fatal(err)
		}
		for k := range n + 1 {
			if b, err := r.Frames(k*1000, 3500); err != nil || uint64(len(b)) != min(3, n+1-k)*1000 {
				t.Fatalf("of %d frames, from %d: %d bytes, %v", n+1, k, len(b), err)
			}
			if end, err := r.FrameEnd(k*1000 + 1); err != nil || end != (k+1)*1000 {
				t.Fatalf("of %d frames, frame %d ends at %d, %v", n+1, k, end, err)
			}
		}
	}
}

// TestLastSourceOutlivesRetention checks that LastSource of a stream is known after its last frame
// was removed by retention.
func TestLastSourceOutlivesRetention(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, testOptions(dir))
	if err := w.Append([]byte("only one"), Meta{Stream: 9, Source: [32]byte{42}}); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		appendNumbered(t, w, 1, 500)
		if w.Floor() <= 8 {
			t.Fatal("nothing was retired")
		}
		if src, at, ok := w.LastSource(9); !ok || src[0] != 42 || at != 8 {
			t.Fatalf("round %d: LastSource = %v at %d, %v", round, src, at, ok)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w, _ = mustOpen(t, testOptions(dir))
	}
}

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	o := testOptions(dir)
	w, _ := mustOpen(t, o)
	r := mustRead(t, dir)
	appendNumbered(t, w, 1, 20)
	early, err := r.Frames(0, 40000)
	if err != nil {
		t.Fatal(err)
	}
	kept := bytes.Clone(early)
	for n := uint64(20); w.Floor() < 3*minSegmentBytes; n++ {
		appendNumbered(t, w, n, n+1)
		if kept := w.Head() - w.Floor(); w.Floor() > 0 && kept < uint64(o.RetainBytes) {
			t.Fatalf("only %d bytes are kept", kept)
		}
	}
	if !bytes.Equal(early, kept) {
		t.Fatal("bytes that were handed out changed") // their segment is unlinked but still mapped
	}
	if _, err := r.Frames(0, 40000); !errors.Is(err, ErrBelowFloor) {
		t.Fatalf("below the floor: %v", err)
	}
	if _, _, err := readNumbered(r, r.Floor(), 40000); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.segments {
		if s.end() <= r.Floor() {
			t.Errorf("segment %x is still mapped", s.base)
		}
	}
	if err := w.Close(); err != nil { // waits for the background work
		t.Fatal(err)
	}
	pairs, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	if pairs[0].base != r.Floor() {
		t.Errorf("oldest file is %x, floor %x", pairs[0].base, r.Floor())
	}
	for i, p := range pairs[:len(pairs)-1] {
		info, err := os.Stat(segmentPath(dir, p.base, framesExt))
		if err != nil || uint64(info.Size()) != pairs[i+1].base-p.base {
			t.Errorf("segment %x is not trimmed: %d bytes, %v", p.base, info.Size(), err)
		}
	}
}

func TestIndexFullSealsTheSegment(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, testOptions(dir))
	for range 1000 {
		if err := w.Append([]byte("tiny"), Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if w.Stats().Segments < 5 {
		t.Fatalf("%d segments", w.Stats().Segments)
	}
	r := mustRead(t, dir)
	total := 0
	for at := uint64(0); at < r.Head(); {
		b, err := r.Frames(at, 1<<20)
		if err != nil || strings.Trim(string(b), "tiny") != "" {
			t.Fatal(string(b), err)
		}
		at, total = at+uint64(len(b)), total+len(b)
	}
	if total != 4000 {
		t.Fatalf("%d bytes", total)
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, testOptions(dir))
	_, _, err := OpenWriter(testOptions(dir))
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Fatalf("second writer: %v", err)
	}
	w.Close()
	mustOpen(t, testOptions(dir))
}

// TestLockInAChild checks the case of a child that is being forked, which has a duplicate of the
// lock until it executes its program. Close must release the lock at once; after a kill, the next
// writer must wait for the child.
func TestLockInAChild(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, testOptions(dir))
	child, err := unix.Dup(int(w.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	w, _ = mustOpen(t, testOptions(dir))
	w.Close()
	unix.Close(child)

	killed := exec.Command("true")
	if err := killed.Run(); err != nil {
		t.Fatal(err)
	}
	f, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockName), []byte(strconv.Itoa(killed.Process.Pid)),
		fileMode); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(lockPatience/5, func() { f.Close() })
	w, _ = mustOpen(t, testOptions(dir))
	w.Close()
}

func TestReaderBeforeAndAfterWriter(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenReader(dir); !errors.Is(err, ErrNoLog) {
		t.Fatalf("no log: %v", err)
	}
	w, _ := mustOpen(t, testOptions(dir))
	appendNumbered(t, w, 1, 50)
	w.Close()
	r := mustRead(t, dir) // no writer
	if _, last, err := readNumbered(r, 0, 9999); err != nil || last != 49 {
		t.Fatal(last, err)
	}
	w, _ = mustOpen(t, testOptions(dir))
	appendNumbered(t, w, 50, 90)
	if _, last, err := readNumbered(r, r.Floor(), 9999); err != nil || last != 89 {
		t.Fatal(last, err)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "x", SegmentBytes: 1}, {Dir: "x", SegmentBytes: 1 << 40},
		{Dir: "x", RetainBytes: 1}, {Dir: "x", RetainBytes: 1 << 60}} {
		if _, err := o.withDefaults(); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	o, err := Options{Dir: "x", SegmentBytes: 2 << 30}.withDefaults()
	if err != nil || o.RetainBytes != 2<<30 || o.Log == nil {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = Options{Dir: "x", SegmentBytes: 100_000}.withDefaults()
	if err != nil || o.SegmentBytes != 102_400 {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestIDInJSONLog checks that an ID in a JSON log has the same text as in positions.
func TestIDInJSONLog(t *testing.T) {
	var text bytes.Buffer
	o := testOptions(memoryDir(t))
	o.Log = slog.New(slog.NewJSONHandler(&text, nil))
	w, _ := mustOpen(t, o)
	if want := `"id":"` + w.ID().String() + `"`; !strings.Contains(text.String(), want) {
		t.Errorf("%s is not in %s", want, text.String())
	}
}

// TestGrownSegmentIsUsedAfterRestart checks that a segment that has grown for one frame is used
// further after a restart, in the rest of its last page.
func TestGrownSegmentIsUsedAfterRestart(t *testing.T) {
	o := testOptions(memoryDir(t))
	w, _ := mustOpen(t, o)
	for n, size := range []int{8*minSegmentBytes + 24, 24, 24} {
		if err := w.Append(make([]byte, size), Meta{Cycle: int64(n)}); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		head := w.Head()
		if err := w.Close(); err != nil { // waits for the background work
			t.Fatal(err)
		}
		w, _ = mustOpen(t, o)
		if w.Head() != head {
			t.Fatalf("the head is at %d, it was at %d", w.Head(), head)
		}
	}
}

// TestGivenBelowTheFloor checks that Given works for the bytes of Frames after the floor has passed
// them.
func TestGivenBelowTheFloor(t *testing.T) {
	dir := memoryDir(t)
	w, _ := mustOpen(t, Options{Dir: dir, SegmentBytes: minSegmentBytes, RetainBytes: minSegmentBytes,
		Log: slog.New(slog.DiscardHandler)})
	write := func(n int) {
		t.Helper()
		for i := range n {
			frame := bytes.Repeat([]byte{byte(i)}, 1000)
			if err := w.Append(frame, Meta{Stream: 1, Time: int64(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	write(10)
	r := mustRead(t, dir)
	b, err := r.Frames(0, 5000)
	if err != nil || len(b) != 5000 {
		t.Fatal(len(b), err)
	}
	write(300)
	if _, err := r.Frames(0, 1); !errors.Is(err, ErrBelowFloor) {
		t.Fatalf("the floor is at %d: %v", r.Floor(), err)
	}
	for _, at := range []uint64{1, 1000, 1001, 4500, 5000} {
		i := (at - 1) / 1000
		m, end, err := r.Given(at)
		if err != nil || m.Time != int64(i) || end != (i+1)*1000 {
			t.Errorf("Given(%d) = %+v, %d, %v", at, m, end, err)
		}
		rest, err := r.AppendGiven([]byte("x"), at, int(end-at))
		if err != nil || len(rest) != 1+int(end-at) || len(rest) > 1 && rest[1] != byte(i) {
			t.Errorf("AppendGiven(%d): %d bytes, %v", at, len(rest), err)
		}
	}
	if _, _, err := r.Given(r.Head() + 1); !errors.Is(err, ErrDamaged) {
		t.Errorf("Given what was not given: %v", err)
	}
}

// TestFrameEndAtTheEndOfASegment checks that FrameEnd at the end of a segment does not need the
// next segment.
func TestFrameEndAtTheEndOfASegment(t *testing.T) {
	dir := memoryDir(t)
	w, _ := mustOpen(t, Options{Dir: dir, SegmentBytes: minSegmentBytes, RetainBytes: 1 << 30,
		Log: slog.New(slog.DiscardHandler)})
	for n := range uint64(100) {
		if err := w.Append(numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	r := mustRead(t, dir)
	pairs, err := listSegments(dir)
	if err != nil || len(pairs) < 2 {
		t.Fatal(pairs, err)
	}
	end := pairs[1].base
	if err := os.Remove(segmentPath(dir, end, indexExt)); err != nil {
		t.Fatal(err)
	}
	if got, err := r.FrameEnd(end); err != nil || got != end {
		t.Errorf("FrameEnd(%d) = %d, %v", end, got, err)
	}
}
