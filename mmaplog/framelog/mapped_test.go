package framelog

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// mapsOf returns how many mappings of files in dir this process has.
func mapsOf(t *testing.T, dir string) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), dir)
}

// TestReaderMapsFew checks that a Reader of a log with many segments has few of them mapped, and
// that the bytes that Frames returned last stay valid.
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

// TestScanMapsFew checks that opening, inspecting and recovering a log of many segments maps few of
// them at once.
func TestScanMapsFew(t *testing.T) {
	o := testOptions(memoryDir(t))
	o.RetainBytes = 1 << 40
	w, _ := mustOpen(t, o)
	const segments = 3 * scanSegmentsAtOnce
	frame := make([]byte, minSegmentBytes)
	for range segments {
		if err := w.Append(frame, Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	drain(w)
	most, opened := 0, 0
	scanMapped = func() {
		opened++
		most = max(most, mapsOf(t, o.Dir))
	}
	defer func() { scanMapped = func() {} }()
	before := mapsOf(t, o.Dir)
	if report, err := Inspect(o.Dir); err != nil || len(report.Segments) != segments {
		t.Fatalf("%d segments, %v", len(report.Segments), err)
	}
	if limit := before + mapsPerSegment*(scanSegmentsAtOnce+1); opened != segments || most > limit {
		t.Errorf("%d segments were opened, up to %d mappings at once, limit %d", opened, most, limit)
	}
	abandon(w)
	o.boot = bootID{7} // as after a restart of the machine, so that everything is verified
	if _, rec := mustOpen(t, o); rec.Frames != segments || len(rec.GivenUp)+len(rec.Damaged) != 0 {
		t.Errorf("%+v", rec)
	}
	if limit := mapsPerSegment*(scanSegmentsAtOnce+1) + 8; most > limit {
		t.Errorf("up to %d mappings at once, limit %d", most, limit)
	}
}

// TestFramesStayMapped asks a Reader about other segments after Frames: about new ones, so that the
// floor drops the segment of the bytes, and about more segments than may be mapped at once. The
// bytes stay what they were.
func TestFramesStayMapped(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit int
		keeps int64
	}{
		{"the floor passes them", 16, minSegmentBytes},
		{"other segments need their room", 1, 1 << 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := memoryDir(t)
			w, _ := mustOpen(t, Options{
				Dir: dir, SegmentBytes: minSegmentBytes, RetainBytes: test.keeps,
				Log: slog.New(slog.DiscardHandler),
			})
			frame := bytes.Repeat([]byte("frame"), 200)
			if err := errors.Join(w.Append(frame, Meta{}), w.Commit()); err != nil {
				t.Fatal(err)
			}
			r := mustRead(t, dir)
			r.limit = test.limit
			given, err := r.Frames(0, len(frame))
			if err != nil {
				t.Fatal(err)
			}
			for range 300 {
				next := bytes.Repeat([]byte("other"), 200)
				if err := errors.Join(w.Append(next, Meta{}), w.Commit()); err != nil {
					t.Fatal(err)
				}
				if _, err := r.Meta(r.Head()); err != nil {
					t.Fatal(err)
				}
				if end, err := r.FrameEnd(r.Head() - 1); err != nil || end != r.Head() {
					t.Fatalf("FrameEnd(head - 1) = %d, %v; the head is %d", end, err, r.Head())
				}
			}
			if got := written(t, given); !bytes.Equal(got, frame) {
				t.Fatalf("the kernel got %.20q…, not %.20q…", got, frame)
			}
			// frames of another segment, so the first need not stay mapped
			if _, err := r.Frames(r.Head()-1, 1); err != nil {
				t.Fatal(err)
			}
			if n := len(r.segments); n > test.limit+1 {
				t.Errorf("%d segments are mapped, at most %d may be", n, test.limit+1)
			}
			if s, ok := r.mapped(0); test.keeps == minSegmentBytes && ok {
				t.Errorf("the segment %d is still mapped below the floor %d", s.base, r.Floor())
			}
		})
	}
}

// written writes b to a file and returns the bytes in it.
func written(t *testing.T, b []byte) []byte {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return got
}
