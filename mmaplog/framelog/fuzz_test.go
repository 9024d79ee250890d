package framelog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// fuzzLog is a small closed log, in which fuzz targets replace bytes.
func fuzzLog(f *testing.F) (dir string, base uint64) {
	dir = f.TempDir()
	w, _ := mustOpen(f, testOptions(dir))
	appendNumbered(f, w, 1, 60)
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	pairs, err := listSegments(dir)
	if err != nil || len(pairs) < 2 {
		f.Fatal(pairs, err)
	}
	return dir, pairs[0].base
}

// fuzzOpen opens a copy of the log with one file replaced. With any content there must be no panic
// and no wrong frame, and the recovered log must open again without a finding.
func fuzzOpen(t *testing.T, from, name string, content []byte, boot bootID) {
	dir := memoryDir(t)
	names, err := readNames(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(from, n))
		if err == nil && n == name {
			b = content
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, n), b, fileMode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// A reader may come first, and must not trust the file either.
	if r, err := OpenReader(dir); err == nil {
		for _, at := range []uint64{0, r.Floor(), r.Head() / 2, r.Head() - 1, r.Head()} {
			r.Frames(at, 5000)
			r.FrameEnd(at)
			r.Meta(at)
		}
		r.Close()
	}
	w, _, err := OpenWriter(Options{Dir: dir, SegmentBytes: minSegmentBytes,
		RetainBytes: minSegmentBytes, Log: quiet, boot: boot})
	if errors.Is(err, ErrVersion) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r := mustRead(t, dir)
	if _, last, err := readNumbered(r, r.Floor(), 7000); err != nil || last != 0 &&
		last != lastNumber(w) {
		t.Fatalf("last %d, source %d: %v", last, lastNumber(w), err)
	}
}

func FuzzHead(f *testing.F) {
	dir, _ := fuzzLog(f)
	head, err := os.ReadFile(filepath.Join(dir, headName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte{})
	f.Add(uint16(64), []byte{1, 2, 3})
	f.Add(uint16(128), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(uint16(64), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe})
	f.Add(uint16(144), []byte{9})
	f.Add(uint16(4090), []byte{1})
	f.Fuzz(func(t *testing.T, at uint16, with []byte) {
		for _, boot := range []bootID{{1}, {}} { // verified, and trusted
			fuzzOpen(t, dir, headName, overwritten(head, at, with), boot)
		}
	})
}

func FuzzIndex(f *testing.F) {
	dir, base := fuzzLog(f)
	name := filepath.Base(segmentPath(dir, base, indexExt))
	index, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte{})
	f.Add(uint16(16), []byte{1})
	f.Add(uint16(64), []byte{1, 2, 3})
	f.Add(uint16(pageSize), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(uint16(pageSize+entrySize), make([]byte, 200))
	f.Fuzz(func(t *testing.T, at uint16, with []byte) {
		fuzzOpen(t, dir, name, overwritten(index, at, with), bootID{1})
	})
}

// overwritten returns a copy of b with other bytes at one offset; without bytes, it cuts b there.
func overwritten(b []byte, at uint16, with []byte) []byte {
	b = append([]byte(nil), b...)
	n := min(int(at), len(b))
	if len(with) == 0 {
		return b[:n]
	}
	copy(b[n:], with)
	return b
}

// FuzzFrames checks that a changed byte of a segment is found, and that its frame is not served.
func FuzzFrames(f *testing.F) {
	dir, base := fuzzLog(f)
	name := filepath.Base(segmentPath(dir, base, framesExt))
	frames, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte{})
	f.Add(uint16(0), []byte{1})
	f.Add(uint16(1000), []byte{1, 2, 3})
	f.Add(uint16(65535), []byte{0})
	f.Fuzz(func(t *testing.T, at uint16, with []byte) {
		fuzzOpen(t, dir, name, overwritten(frames, at, with), bootID{1})
	})
}
