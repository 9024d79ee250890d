package framelog

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// broken makes operations fail while an error is set for them.
type broken struct {
	mu   sync.Mutex
	errs map[op]error
}

func (b *broken) set(o op, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.errs == nil {
		b.errs = map[op]error{}
	}
	b.errs[o] = err
}

func (b *broken) fault(o op, _ string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.errs[o]
}

// TestNoSpaceWhileRunning checks that appending fails on a full disk without any loss or change,
// and works again when there is room.
func TestNoSpaceWhileRunning(t *testing.T) {
	for _, failing := range []op{opAllocate, opRename, opCreate} {
		t.Run(string(failing), func(t *testing.T) {
			var b broken
			o := testOptions(t.TempDir())
			o.fault = b.fault
			w, _ := mustOpen(t, o)
			r := mustRead(t, o.Dir)
			appendNumbered(t, w, 1, 3)
			b.set(failing, syscall.ENOSPC)
			n := uint64(3)
			for ; ; n++ {
				frame, m := numbered(n)
				if err := w.Append(frame, m); err != nil {
					if !errors.Is(err, ErrBlocked) || !errors.Is(err, ErrNoSpace) ||
						!errors.Is(err, syscall.ENOSPC) {
						t.Fatal(err)
					}
					break
				}
			}
			for range 3 { // again and again
				frame, m := numbered(n)
				if err := w.Append(frame, m); !errors.Is(err, ErrNoSpace) {
					t.Fatal(err)
				}
				if err := w.Commit(); err != nil { // frames that were appended before can still be committed
					t.Fatal(err)
				}
			}
			if w.Stats().NoSpace != 4 {
				t.Errorf("%d refusals counted", w.Stats().NoSpace)
			}
			if _, last, err := readNumbered(r, 0, 9999); err != nil || last != n-1 {
				t.Fatal(last, err)
			}
			b.set(failing, nil)
			appendNumbered(t, w, n, n+50)
			if _, last, err := readNumbered(r, r.Floor(), 9999); err != nil || last != n+49 {
				t.Fatal(last, err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			mustHoldOnlySegments(t, o.Dir)
		})
	}
}

// TestTransient checks that a transient log is synced neither when segments are sealed nor when it
// is closed.
func TestTransient(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.fault, o.Transient = b.fault, true
	w, _ := mustOpen(t, o)
	b.set(opSync, syscall.EIO)
	appendNumbered(t, w, 1, 200)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if s := &w.counted; s.rolls.Load() == 0 || s.failures.Load() != 0 {
		t.Errorf("%d segments were begun, %d syncs failed", s.rolls.Load(), s.failures.Load())
	}
	b.set(opSync, nil)
	w, _ = mustOpen(t, o) // opens like any log that was not synced
	if w.Head() == 0 || w.Stats().Frames != 199 {
		t.Errorf("%+v", w.Stats())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOtherFailuresWhileRunning checks that other failures of the disk stop appending as a full
// disk does, until the disk works again.
func TestOtherFailuresWhileRunning(t *testing.T) {
	for _, failing := range []op{opCreate, opAllocate, opMap, opRename} {
		for _, why := range []syscall.Errno{syscall.EIO, syscall.EROFS, syscall.EMFILE} {
			t.Run(fmt.Sprint(failing, why), func(t *testing.T) {
				var b broken
				o := testOptions(t.TempDir())
				o.fault = b.fault
				w, _ := mustOpen(t, o)
				b.set(failing, why)
				n := uint64(1)
				var err error
				for ; err == nil; n++ {
					frame, m := numbered(n)
					err = w.Append(frame, m)
				}
				n--
				if !errors.Is(err, ErrBlocked) || !errors.Is(err, why) || errors.Is(err, ErrNoSpace) ||
					w.Stats().NoSpace != 0 {
					t.Fatal(err)
				}
				frame, m := numbered(n)
				if err := w.Append(frame, m); !errors.Is(err, ErrBlocked) {
					t.Fatal(err)
				}
				b.set(failing, nil)
				appendNumbered(t, w, n, n+50)
				r := mustRead(t, o.Dir)
				if _, last, err := readNumbered(r, r.Floor(), 9999); err != nil || last != n+49 {
					t.Fatal(last, err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				mustHoldOnlySegments(t, o.Dir)
			})
		}
	}
}

// TestTruncatedUnderTheWriter checks that a truncated active segment causes an error and does not
// end the process, and that the next opening gives up the lost frames.
func TestTruncatedUnderTheWriter(t *testing.T) {
	for _, ext := range []string{framesExt, indexExt} {
		t.Run(ext, func(t *testing.T) {
			o := testOptions(t.TempDir())
			w, _ := mustOpen(t, o)
			appendNumbered(t, w, 1, 4)
			id := w.ID()
			if err := os.Truncate(segmentPath(o.Dir, 0, ext), 0); err != nil {
				t.Fatal(err)
			}
			frame, m := numbered(4)
			err := w.Append(frame, m)
			if err == nil {
				err = w.Commit()
			}
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			if err := w.Append(frame, m); !errors.Is(err, ErrDamaged) {
				t.Fatalf("then: %v", err)
			}
			if err := w.Commit(); !errors.Is(err, ErrDamaged) {
				t.Fatalf("then: %v", err)
			}
			_ = w.Close() // may fail because a segment cannot be synced
			w, rec := mustOpen(t, o)
			if w.ID() == id || w.Head() != 0 || lastNumber(w) != 0 || len(rec.GivenUp) == 0 {
				t.Fatalf("%+v", rec)
			}
			appendNumbered(t, w, 1, 50)
			r := mustRead(t, o.Dir)
			if first, last, err := readNumbered(r, 0, 9999); err != nil || first != 1 || last != 49 {
				t.Fatal(first, last, err)
			}
		})
	}
}

// TestOldFailureToPrepareIsForgotten checks that an earlier failure to prepare the next segment
// does not refuse a frame now.
func TestOldFailureToPrepareIsForgotten(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.fault = b.fault
	w, _ := mustOpen(t, o)
	eventually(t, func() bool { return len(w.spare) == 1 })
	b.set(opAllocate, syscall.ENOSPC)
	// This takes the present spare, and the next one cannot be prepared.
	for n := uint64(1); w.Stats().Rolls == 0; n++ {
		appendNumbered(t, w, n, n+1)
	}
	eventually(t, func() bool { return len(w.spare) == 1 })
	b.set(opAllocate, nil)
	appendNumbered(t, w, 1000, 1100)
}

func TestNoSpaceForALongFrame(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.fault = b.fault
	w, _ := mustOpen(t, o)
	long := []byte(strings.Repeat("long", minSegmentBytes))
	appendNumbered(t, w, 1, 3)
	head := w.Head()
	eventually(t, func() bool { return len(w.spare) == 1 }) // the spare is made; only growing it fails
	b.set(opAllocate, syscall.EDQUOT)
	for range 2 {
		if err := w.Append(long, Meta{}); !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
	}
	b.set(opAllocate, nil)
	if err := w.Append(long, Meta{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	r := mustRead(t, o.Dir)
	if got, err := r.Frames(head, len(long)); err != nil || string(got) != string(long) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestNoSpaceAtOpen(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.fault = b.fault
	b.set(opAllocate, syscall.ENOSPC)
	if _, _, err := OpenWriter(o); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	b.set(opAllocate, nil)
	mustOpen(t, o) // the lock is free again
}

// TestSyncFailure checks that after a failed sync Synced no longer moves, and that the log gets a
// new ID after the next restart of the machine.
func TestSyncFailure(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.RetainBytes = 1 << 30
	o.fault = b.fault
	w, _ := mustOpen(t, o)
	b.set(opSync, syscall.EIO)
	appendNumbered(t, w, 1, 100)
	eventually(t, func() bool { return w.Stats().Failures > 0 })
	b.set(opSync, nil)
	appendNumbered(t, w, 100, 200)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := mustRead(t, o.Dir)
	if r.head.Synced.Load() != 0 || r.head.State.Load() != stateOpen {
		t.Errorf("synced %d, state %d", r.head.Synced.Load(), r.head.State.Load())
	}
	closeReader(t, r)
	o.boot = bootID{1}
	if _, rec := mustOpen(t, o); rec.NewID == "" || len(rec.GivenUp) != 0 {
		t.Errorf("%+v", rec)
	}
}

// TestUnlinkFailure checks that segments that cannot be unlinked are below the floor, and are
// removed when the log is opened the next time.
func TestUnlinkFailure(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.fault = b.fault
	w, _ := mustOpen(t, o)
	b.set(opUnlink, syscall.EPERM)
	appendNumbered(t, w, 1, 300)
	if err := w.Close(); err == nil {
		t.Log("closed") // depends on whether the spare was ready
	}
	b.set(opUnlink, nil)
	if _, err := os.Stat(segmentPath(o.Dir, 0, framesExt)); err != nil {
		t.Fatalf("unlinked after all: %v", err)
	}
	_, rec := mustOpen(t, o)
	if len(rec.Damaged) != 0 || rec.Floor == 0 {
		t.Fatalf("%+v", rec)
	}
	if pairs, _ := listSegments(o.Dir); pairs[0].base < rec.Floor {
		t.Errorf("segment %x is still there", pairs[0].base)
	}
}

func TestTrimFailureIsHarmless(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.fault = b.fault
	w, _ := mustOpen(t, o)
	b.set(opTrim, syscall.EIO)
	appendNumbered(t, w, 1, 150)
	w.Close()
	b.set(opTrim, nil)
	w, rec := mustOpen(t, o)
	r := mustRead(t, o.Dir)
	if _, last, err := readNumbered(r, r.Floor(), 9999); err != nil || last != 149 || rec.NewID != "" {
		t.Fatal(last, err, rec)
	}
	w.Close() // trims them
	pairs, _ := listSegments(o.Dir)
	if info, err := os.Stat(segmentPath(o.Dir, pairs[0].base, framesExt)); err != nil ||
		uint64(info.Size()) != pairs[1].base-pairs[0].base {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}

func eventually(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in 10 s")
		}
	}
}
