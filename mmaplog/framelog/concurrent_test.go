package framelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Readers with mappings of their own follow a writer that does not wait for them. Whatever they get is right, and in
// order; the only excuse for a gap is ErrBelowFloor. (Readers in other processes: see the crash tests.)
func TestReadersFollowARunningWriter(t *testing.T) {
	dir := t.TempDir()
	w, _ := mustOpen(t, testOptions(dir))
	const frames = 6000
	var readers sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 4 {
		r := mustRead(t, dir)
		readers.Go(func() {
			if err := follow(r, []int{1 << 20, 10_000, 3000, 50_000}[i], frames); err != nil {
				errs <- fmt.Errorf("reader %d: %w", i, err)
			}
		})
	}
	for n := uint64(1); n <= frames; n++ {
		frame, m := numbered(n)
		if err := w.Append(frame, m); err != nil {
			t.Fatal(err)
		}
		if n%5 == 0 {
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	readers.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

// follow reads until it has seen the last frame.
func follow(r *Reader, max int, last uint64) error {
	var buf []byte
	var at, before uint64
	for deadline := time.Now().Add(2 * time.Minute); before < last; {
		b, err := r.Frames(at, max)
		if errors.Is(err, ErrBelowFloor) {
			at, buf, before = r.Floor(), nil, 0
			continue
		}
		if err != nil {
			return err
		}
		if b == nil {
			if time.Now().After(deadline) {
				return fmt.Errorf("only frame %d after 30 s", before)
			}
			runtime.Gosched()
			continue
		}
		at += uint64(len(b))
		buf = append(buf, b...)
		for len(buf) >= 16 && uint64(len(buf)) >= binary.LittleEndian.Uint64(buf[8:]) {
			n, size := binary.LittleEndian.Uint64(buf), binary.LittleEndian.Uint64(buf[8:])
			if before != 0 && n != before+1 {
				return fmt.Errorf("frame %d after %d", n, before)
			}
			if want, _ := numbered(n); !bytes.Equal(want, buf[:size]) {
				return fmt.Errorf("frame %d is not what was appended", n)
			}
			before, buf = n, buf[size:]
		}
	}
	return nil
}

// Nothing stays open or mapped after Close: of the writer, of readers, of recoveries, of failed opens.
func TestNothingIsLeaked(t *testing.T) {
	dir := t.TempDir()
	open := func() (n int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, dir) {
				n++
			}
		}
		return n
	}
	mapped := func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(maps), dir)
	}
	o := testOptions(dir)
	for range 3 {
		w, _ := mustOpen(t, o)
		r := mustRead(t, dir)
		appendNumbered(t, w, 1, 300)
		if _, _, err := readNumbered(r, r.Floor(), 9999); err != nil {
			t.Fatal(err)
		}
		if open() == 0 || mapped() == 0 {
			t.Fatal("nothing is open: the test sees nothing")
		}
		if _, _, err := OpenWriter(o); !errors.Is(err, ErrLocked) {
			t.Fatal(err)
		}
		frame, m := numbered(7)
		for range 100 { // leave sealed segments that are not committed
			if err := w.Append(frame, m); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r.head = nil
		if open() != 0 || mapped() != 0 {
			t.Fatalf("%d descriptors, %d mappings are left", open(), mapped())
		}
	}
	change(t, segmentPath(dir, func() uint64 { p, _ := listSegments(dir); return p[1].base }(), indexExt), otherVersion)
	if _, _, err := OpenWriter(o); !errors.Is(err, ErrVersion) {
		t.Fatal(err)
	}
	if open() != 0 || mapped() != 0 {
		t.Fatalf("after a failed open %d descriptors, %d mappings are left", open(), mapped())
	}
}

// The fallback for kernels without MADV_POPULATE_WRITE must not change what is there.
func TestTouchChangesNothing(t *testing.T) {
	b := make([]byte, 5*pageSize)
	for i := range b {
		b[i] = byte(i * 3)
	}
	want := bytes.Clone(b)
	touch(b)
	if !bytes.Equal(b, want) {
		t.Error("changed")
	}
}

// On file systems that cannot preallocate, zeros are written, and what is there stays.
func TestWriteZeros(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("content")
	if err := writeZeros(f, 3<<20+5); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil || len(got) != 3<<20+5 || string(got[:7]) != "content" || len(bytes.Trim(got[7:], "\x00")) > 0 {
		t.Errorf("%d bytes, %q, %v", len(got), got[:10], err)
	}
}
