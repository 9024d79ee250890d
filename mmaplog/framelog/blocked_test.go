package framelog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"distributor/mmaplog/disktest"
)

// batch returns numbered frames, each as a slice; if together, one after the other in memory.
func batch(from, to uint64, together bool) (frames [][]byte, metas []Meta) {
	var all []byte
	for n := from; n < to; n++ {
		frame, m := numbered(n)
		all = append(all, frame...)
		frames, metas = append(frames, frame), append(metas, m)
	}
	for i := 0; together && i < len(frames); i++ {
		frames[i], all = all[:len(frames[i]):cap(all)], all[len(frames[i]):]
	}
	return frames, metas
}

// TestWriteFails checks that a failed write is tried again at the same offset, and that readers see
// nothing of the commit until it works. If the file itself cannot be written, the frames must go to
// the next segment.
func TestWriteFails(t *testing.T) {
	for _, why := range []syscall.Errno{syscall.EIO, syscall.EROFS, syscall.ENOSPC, syscall.EPERM} {
		for _, times := range []int{1, movesAfter, 5} {
			for _, together := range []bool{true, false} {
				for _, committed := range []uint64{0, 3} {
					t.Run(fmt.Sprint(why, times, together, committed), func(t *testing.T) {
						writeFails(t, why, times, together, committed)
					})
				}
			}
		}
	}
}

func writeFails(t *testing.T, why syscall.Errno, times int, together bool, committed uint64) {
	o := testOptions(memoryDir(t))
	first := segmentPath(o.Dir, 0, framesExt)
	failing := false
	o.fault = func(what op, path string) error { // only this goroutine does opWrite
		if what != opWrite || path != first || !failing || times == 0 {
			return nil
		}
		times--
		return why
	}
	w, _ := mustOpen(t, o)
	eventually(t, func() bool { return len(w.spare) == 1 })
	r := mustRead(t, o.Dir)
	appendNumbered(t, w, 1, 1+committed)
	failing = true
	head, again := w.Head(), 0
	retry := func(step func() error) {
		for err := step(); err != nil; err = step() {
			if !errors.Is(err, ErrBlocked) || !errors.Is(err, why) || !strings.Contains(err.Error(), first) {
				t.Fatal(err)
			}
			if again++; r.Head() != head || again > 5 {
				t.Fatalf("after %d errors the head is %d, was %d", again, r.Head(), head)
			}
		}
	}
	frames, metas := batch(1+committed, 9+committed, together)
	for i, frame := range frames {
		retry(func() error { return w.Append(frame, metas[i]) })
	}
	retry(w.Commit)
	if committed > 0 && again != movesAfter-1 { // else the next segment is at the same path
		t.Errorf("%d errors, want %d", again, movesAfter-1)
	}
	newest := 8 + committed
	mustHave := func() {
		t.Helper()
		if first, last, err := readNumbered(r, r.Floor(), 9999); err != nil || first != 1 ||
			last != newest {
			t.Fatal(first, last, err)
		}
	}
	mustHave()
	id := w.ID()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	mustHoldOnlySegments(t, o.Dir)
	failing = false
	mustVerify(t, o.Dir, newest)
	w, rec := mustOpen(t, o)
	if w.ID() != id || lastNumber(w) != newest || len(rec.Damaged)+len(rec.GivenUp) != 0 {
		t.Fatalf("%+v, newest %d", rec, lastNumber(w))
	}
	appendNumbered(t, w, newest+1, newest+3)
	newest += 2
	mustHave()
}

// mustVerify reads a whole log, which must have n frames.
func mustVerify(t *testing.T, dir string, frames uint64) {
	t.Helper()
	report, err := Inspect(dir)
	got := 0
	for _, s := range report.Segments {
		got += s.Frames
	}
	if err != nil || uint64(got) != frames || report.NewID != "" ||
		len(report.Damaged)+len(report.GivenUp) != 0 {
		t.Fatalf("%d frames of %d, %v: %+v", got, frames, err, report)
	}
}

// TestRandomFailures makes random file operations fail. After every commit and every opening, all
// committed frames must be there, once and in order.
func TestRandomFailures(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rounds := uint64(5)
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		randomFailures(t, seed+round)
	}
}

func randomFailures(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex // guards what follows
	faults, chance := rand.New(rand.NewPCG(seed, 2)), 0.0
	o := testOptions(memoryDir(t))
	o.RetainBytes = 1 << 40 // the test reads all of it
	o.fault = func(what op, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if what != opSync && faults.Float64() < chance {
			return []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EROFS}[faults.IntN(3)]
		}
		return nil
	}
	set := func(to float64) {
		mu.Lock()
		defer mu.Unlock()
		chance = to
	}
	retry := func(step func() error) {
		t.Helper()
		for range 10_000 {
			err := step()
			if err == nil {
				return
			}
			if !errors.Is(err, ErrBlocked) {
				t.Fatal(err)
			}
		}
		t.Fatal("it does not go on")
	}
	n := uint64(0)
	for range 4 {
		w, rec := mustOpen(t, o)
		if len(rec.Damaged)+len(rec.GivenUp) != 0 || lastNumber(w) != n {
			t.Fatalf("%+v, newest %d, want %d", rec, lastNumber(w), n)
		}
		r := mustRead(t, o.Dir)
		set([]float64{0.05, 0.2, 0.4}[rng.IntN(3)])
		for range 20 {
			count := 1 + rng.Uint64N(12)
			frames, metas := batch(n+1, n+1+count, rng.IntN(2) == 0)
			for i, frame := range frames {
				retry(func() error { return w.Append(frame, metas[i]) })
			}
			retry(w.Commit)
			n += count
			if _, last, err := readNumbered(r, 0, 1+rng.IntN(100_000)); err != nil || last != n {
				t.Fatalf("up to %d: %v; want %d", last, err, n)
			}
		}
		set(0)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		closeReader(t, r)
		mustHoldOnlySegments(t, o.Dir)
		mustVerify(t, o.Dir, n)
	}
}

// TestPageCannotBeWritten makes the kernel refuse stores into a mapped file. The log must block as
// after a failed write, and continue afterwards.
func TestPageCannotBeWritten(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes the stores in a place where Go cannot recover")
	}
	for _, name := range []string{headName, "0000000000000000" + framesExt,
		"0000000000000000" + indexExt} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t.TempDir())
			o.RetainBytes = 1 << 30
			w, _ := mustOpen(t, o)
			r := mustRead(t, o.Dir)
			appendNumbered(t, w, 1, 3)
			path := filepath.Join(o.Dir, name)
			disktest.SetImmutable(t, path, true)
			defer disktest.SetImmutable(t, path, false)
			frame, m := numbered(3)
			err, appended := w.Append(frame, m), true
			if err != nil {
				appended = false
			} else {
				err = w.Commit()
			}
			if !errors.Is(err, ErrBlocked) || !strings.Contains(err.Error(), path) {
				t.Fatalf("with %s immutable: %v", name, err)
			}
			if _, last, err := readNumbered(r, 0, 9999); last != 2 || err != nil {
				t.Fatal(last, err)
			}
			if name == headName {
				if err := w.Mark(); !errors.Is(err, ErrBlocked) {
					t.Errorf("Mark: %v", err)
				}
			}
			disktest.SetImmutable(t, path, false)
			if !appended {
				if err := w.Append(frame, m); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
			appendNumbered(t, w, 4, 90)
			if _, last, err := readNumbered(r, r.Floor(), 9999); last != 89 || err != nil {
				t.Fatal(last, err)
			}
		})
	}
}
