package compressedlog

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"

	"distributor/mmaplog/framelog"
)

// rig is a compressed log whose original log is only a list of offsets.
type rig struct {
	t      *testing.T
	log    *framelog.Writer
	reader *Reader
	spans  []Span   // of every frame
	ends   []uint64 // of every frame, in the compressed log
}

func newRig(t *testing.T, o framelog.Options) *rig {
	o.Dir, o.Log, o.Transient = t.TempDir(), slog.New(slog.DiscardHandler), true
	log, _, err := framelog.OpenWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := Open(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(reader.Close(), log.Close()); err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, log: log, reader: reader}
}

// add appends a compressed frame of n bytes for an original frame of original bytes.
func (r *rig) add(start uint64, original, n int, k Kind) {
	r.t.Helper()
	at := uint64(0)
	if len(r.spans) > 0 {
		start, at = r.spans[len(r.spans)-1].End, r.ends[len(r.ends)-1]
	}
	s := Span{start, start + uint64(original)}
	if err := Append(r.log, bytes.Repeat([]byte{byte(len(r.spans))}, n), k, s); err != nil {
		r.t.Fatal(err)
	}
	if err := r.log.Commit(); err != nil {
		r.t.Fatal(err)
	}
	r.spans, r.ends = append(r.spans, s), append(r.ends, at+uint64(n))
}

func (r *rig) refresh(want bool) {
	r.t.Helper()
	if changed, err := r.reader.Refresh(); changed != want || err != nil {
		r.t.Fatalf("Refresh says %v, %v", changed, err)
	}
}

func (r *rig) at(original uint64, want uint64, wantOK bool) {
	r.t.Helper()
	if at, ok, err := r.reader.At(original); at != want || ok != wantOK || err != nil {
		r.t.Fatalf("At(%d) is %d, %v, %v; want %d, %v", original, at, ok, err, want, wantOK)
	}
}

func TestEmpty(t *testing.T) {
	r := newRig(t, framelog.Options{})
	r.refresh(false)
	if r.reader.Start() != r.reader.End() {
		t.Fatalf("%d, %d", r.reader.Start(), r.reader.End())
	}
	r.at(0, 0, false)
	r.at(1000, 0, false)
	r.add(1000, 70, 20, Other)
	r.at(1000, 0, false) // before the first Refresh
	r.refresh(true)
	r.refresh(false)
	r.at(1000, 0, true)
	r.at(1070, 20, true)
}

// TestEveryBoundary checks that exactly the frame boundaries of the original log are found, over
// segments and after the floor has moved.
func TestEveryBoundary(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, framelog.Options{SegmentBytes: 64 << 10, RetainBytes: 128 << 10})
	for range 600 {
		original, n, k := 2+random.IntN(5000), 0, Other
		if n = 1 + random.IntN(original); n == original || random.IntN(10) == 0 {
			n, k = original, Same
		}
		r.add(1<<40, original, n, k)
		if random.IntN(50) > 0 {
			continue
		}
		r.refresh(true)
		floor := r.log.Floor()
		if r.reader.End() != r.spans[len(r.spans)-1].End {
			t.Fatalf("End is %d", r.reader.End())
		}
		at := uint64(0)
		for i, s := range r.spans {
			if at == floor && r.reader.Start() != s.Start {
				t.Fatalf("Start is %d, not %d", r.reader.Start(), s.Start)
			}
			r.at(s.Start, at*one(at >= floor), at >= floor)
			r.at(s.Start+1, 0, false)
			if at = r.ends[i]; at > floor {
				inside := at - uint64(random.IntN(3))
				if i > 0 {
					inside = max(inside, r.ends[i-1]+1)
				}
				p, err := r.reader.Place(max(inside, floor+1))
				if err != nil || p.Span != s || p.At != at {
					t.Fatalf("the frame with the byte before %d is %+v (%v), not that of %+v up to %d", inside, p, err, s, at)
				}
			}
		}
	}
	if r.log.Floor() == 0 {
		t.Fatal("the floor has not moved")
	}
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// TestOvertakenBetweenHeadAndFloor has the writer pass the whole retention between the two reads of
// Refresh, so that the head that was read first is below the floor. Refresh must read both again.
func TestOvertakenBetweenHeadAndFloor(t *testing.T) {
	r := newRig(t, framelog.Options{SegmentBytes: 64 << 10, RetainBytes: 64 << 10})
	r.add(0, 2000, 1000, Other)
	head := r.log.Head()
	for r.log.Floor() <= head {
		r.add(0, 2000, 1000, Other)
	}
	err := r.reader.setBounds(head, r.log.Floor())
	if !errors.Is(err, framelog.ErrBelowFloor) {
		t.Errorf("a head below the floor: %v", err)
	}
	r.refresh(true)
	if end := r.spans[len(r.spans)-1].End; r.reader.End() != end {
		t.Errorf("End is %d, not %d", r.reader.End(), end)
	}
}
