package framelog

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// mapsOf is how many mappings of files in dir this process has.
func mapsOf(t *testing.T, dir string) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), dir)
}

// A Reader that is asked for frames all over a log of many segments has few of them mapped, and what it gave last stays
// right.
func TestReaderMapsFew(t *testing.T) {
	o := testOptions(memoryDir(t))
	o.RetainBytes = 1 << 40
	w, _ := mustOpen(t, o)
	var all []byte
	for n := uint64(1); w.Stats().Segments < 100; n++ {
		frame, m := numbered(n)
		if err := w.Append(frame, m); err != nil {
			t.Fatal(err)
		}
		all = append(all, frame...)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	writers := mapsOf(t, o.Dir)
	r := mustRead(t, o.Dir)
	r.limit = 5
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		at := rng.Uint64N(w.Head())
		b, err := r.Frames(at, 1+rng.IntN(100_000))
		if err != nil || len(b) == 0 || !bytes.Equal(b, all[at:at+uint64(len(b))]) {
			t.Fatalf("%d bytes at %d: %v", len(b), at, err)
		}
		end := at + uint64(len(b))
		if m, to, err := r.Given(end); err != nil || to < end || m.Cycle < 1 {
			t.Fatalf("%+v, %d, %v", m, to, err)
		}
		if len(r.segments) > r.limit {
			t.Fatalf("%d segments are mapped", len(r.segments))
		}
	}
	if n := mapsOf(t, o.Dir) - writers; n > mapsPerSegment*r.limit+1 {
		t.Errorf("%d mappings", n)
	}
}
