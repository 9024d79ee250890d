package framelog

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// crashed returns a log as after a crash of the machine: open, synced up to the middle, with one
// later frame missing and the others present.
func crashed(t *testing.T) (l *madeLog, missing uint64) {
	t.Helper()
	l = makeLog(t)
	n, _ := l.inSegment(l.mid)
	missing = n + 3
	l.words(t, func(h *headPage) {
		h.State.Store(stateOpen)
		h.Synced.Store(l.pairs[l.mid].base)
	})
	change(t, l.path(l.mid, framesExt), flip(int64(l.startOf(missing)-l.pairs[l.mid].base)+20))
	return l, missing
}

// words changes the head file.
func (l *madeLog) words(t *testing.T, f func(h *headPage)) {
	t.Helper()
	change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte { f(asHead(b)); return b })
}

// withoutLastEntry removes the last entry, so that no frame ends at the head.
func withoutLastEntry(t *testing.T, l *madeLog) {
	t.Helper()
	change(t, l.path(len(l.pairs)-1, indexExt), func(b []byte) []byte {
		entries := asEntries(b)
		i := frameAfter(entries, l.head-1)
		entries[i] = entry{}
		return b
	})
}

// mustEndBefore checks that a log ends before a frame, and that the records from there on are read
// again.
func mustEndBefore(t *testing.T, l *madeLog, w *Writer, rec Recovery, n uint64) {
	t.Helper()
	if rec.Head != l.startOf(n) || rec.NewID == "" {
		t.Errorf("frame %d is missing: the log should end at %d: %+v", n, l.startOf(n), rec)
	}
	if len(rec.Damaged) != 0 {
		t.Errorf("lost for good: %v", rec.Damaged)
	}
	if newest := lastNumber(w); newest != n-1 {
		t.Errorf("reading goes on after record %d, and %d is missing", newest, n)
	}
	if all := mustRead(t, l.o.Dir).Ancestors(); len(all) == 0 ||
		all[len(all)-1] != (Ancestor{l.id, rec.Head}) {
		t.Errorf("the chain of IDs is %v, of %v up to %d", all, l.id, rec.Head)
	}
}

// TestHoleAboveSynced checks that the log ends before the first frame that was not on disk at a
// crash of the machine, whatever the head says, and that the later records are read again.
func TestHoleAboveSynced(t *testing.T) {
	for name, more := range map[string]func(*testing.T, *madeLog){
		"nothing else":           func(*testing.T, *madeLog) {},
		"the last entry missing": withoutLastEntry,
		"an interrupted recovery": func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.State.Store(stateGone) })
		},
		"an interrupted recovery of this boot": func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) {
				h.State.Store(stateGone)
				h.Floor.Store(goneFloor)
				h.Boot = l.o.boot
			})
		},
		"the file system went down, not the machine": func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.Boot = l.o.boot })
		},
		"a head that is too high": func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.Head.Store(l.head + 7777) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, missing := crashed(t)
			more(t, l)
			w, rec := mustOpen(t, l.o)
			mustEndBefore(t, l, w, rec, missing)
		})
	}
}

// TestInterruptedRecovery checks that the recovery after an interrupted one has the same result, in
// the same boot or another.
func TestInterruptedRecovery(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 3
	}
	for _, boot := range []bootID{{1}, {2}} {
		for at := 0; ; at += step {
			l, missing := crashed(t)
			if at%2 == 1 {
				withoutLastEntry(t, l)
			}
			n := 0
			l.o.fault = func(op, string) error {
				if n++; n > at {
					return syscall.EIO
				}
				return nil
			}
			w, _, err := OpenWriter(l.o)
			if err == nil { // n was beyond the last operation
				w.Close()
				if at < 8 {
					t.Errorf("only %d operations", at)
				}
				break
			}
			l.o.fault, l.o.boot = nil, boot
			w, rec := mustOpen(t, l.o)
			if rec.NewID == "" && boot == (bootID{1}) { // the new head was already renamed
				rec.NewID = "before"
			}
			mustEndBefore(t, l, w, rec, missing)
			if t.Failed() {
				t.Fatalf("interrupted at operation %d, boot %v", at, boot)
			}
			w.Close()
		}
	}
}

// TestHeadOfZeroes checks that a head of zeros counts as missing: the log must not end at byte 0
// under its old ID.
func TestHeadOfZeroes(t *testing.T) {
	l := makeLog(t)
	change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte { clear(b[64:]); return b })
	w, rec := mustOpen(t, l.o)
	if rec.NewID == "" || rec.Head != l.head || lastNumber(w) != 249 {
		t.Errorf("%+v", rec)
	}
}

// TestHoleWithoutHead checks that without a head the log ends before the first bad place.
func TestHoleWithoutHead(t *testing.T) {
	l, missing := crashed(t)
	if err := os.Remove(filepath.Join(l.o.Dir, headName)); err != nil {
		t.Fatal(err)
	}
	if w, rec := mustOpen(t, l.o); rec.Head != l.startOf(missing) || len(rec.Damaged) > 0 ||
		lastNumber(w) != missing-1 {
		t.Errorf("%+v", rec)
	}
}

// TestLineage checks that each crash adds an ancestor, and that the end of an ancestor is at most
// the end of its successors.
func TestLineage(t *testing.T) {
	o := testOptions(memoryDir(t))
	o.RetainBytes = 1 << 30
	var want []Ancestor
	cut := 0
	var next uint64
	for life := range maxAncestors + 6 {
		o.boot = bootID{byte(life), byte(life >> 8), 1}
		w, rec := mustOpen(t, o)
		if life > 0 && rec.NewID == "" {
			t.Fatalf("life %d: %+v", life, rec)
		}
		for i := range want {
			want[i].End = min(want[i].End, rec.Head)
		}
		r := mustRead(t, o.Dir)
		if got := r.Ancestors(); !slices.Equal(got, want[:min(len(want), maxAncestors)]) {
			t.Fatalf("life %d: %v, want %v", life, got, want)
		}
		closeReader(t, r)
		next = lastNumber(w) + 1
		appendNumbered(t, w, next, next+5)
		want = slices.Insert(want, 0, Ancestor{w.ID(), w.Head()})
		abandon(w)
		pairs, _ := listSegments(o.Dir)
		base := pairs[len(pairs)-1].base
		if life%7 > 2 && want[2].End > base { // frames of three lives were not on disk
			cut++
			change(t, segmentPath(o.Dir, base, framesExt), func(b []byte) []byte {
				b[want[2].End-base-1] ^= 1
				return b
			})
		}
	}
	if cut < 5 {
		t.Errorf("frames were lost %d times", cut)
	}
}

// TestDamagedLineage checks that a damaged lineage counts as empty, and has no other effect.
func TestDamagedLineage(t *testing.T) {
	l, missing := crashed(t)
	w, _ := mustOpen(t, l.o)
	w.Close()
	l.words(t, func(h *headPage) { h.Lineage.Ancestors[0].End++ })
	l.o.boot = bootID{2}
	w, rec := mustOpen(t, l.o)
	if rec.NewID != "" || lastNumber(w) != missing-1 || len(mustRead(t, l.o.Dir).Ancestors()) != 0 {
		t.Errorf("%+v", rec)
	}
}

// TestGivenUpEntriesAreOffTheDisk checks that uncommitted frames of a killed writer do not come
// back in the place of others.
func TestGivenUpEntriesAreOffTheDisk(t *testing.T) {
	o := testOptions(t.TempDir())
	w, _ := mustOpen(t, o)
	appendNumbered(t, w, 1, 3)
	frame, m := numbered(3)
	if err := w.Append(frame, m); err != nil {
		t.Fatal(err)
	}
	index := segmentPath(o.Dir, 0, indexExt)
	abandon(w)
	var synced []string
	o.fault = func(o op, path string) error {
		if o == opSync {
			synced = append(synced, path)
		}
		return nil
	}
	mustOpen(t, o)
	if !slices.Contains(synced, index) {
		t.Errorf("synced were %v", synced)
	}
}

// TestRolledBack checks that a log that ends before Reached, because it was restored from a copy,
// gets a new ID and is verified.
func TestRolledBack(t *testing.T) {
	for _, boot := range []bootID{{}, {1}} {
		l := makeLog(t)
		l.o.boot = boot
		l.o.Reached = Place{l.id, l.head}
		w, rec := mustOpen(t, l.o)
		if rec.NewID != "" || rec.RolledBack {
			t.Fatalf("%+v", rec)
		}
		w.Close()
		l.o.Reached.Head++
		_, rec = mustOpen(t, l.o)
		if rec.NewID == "" || !rec.RolledBack || rec.Trusted || rec.Head != l.head {
			t.Fatalf("%+v", rec)
		}
		if all := mustRead(t, l.o.Dir).Ancestors(); len(all) != 1 || all[0] != (Ancestor{l.id, l.head}) {
			t.Errorf("the chain of IDs is %v", all)
		}
	}
	l, _ := crashed(t) // whose head on disk may be older
	l.o.Reached = Place{l.id, l.head + 1}
	if _, rec := mustOpen(t, l.o); rec.NewID == "" || rec.RolledBack {
		t.Errorf("%+v", rec)
	}
}

// TestTrust checks that a closed log is opened without reading its frames only in the same boot,
// and only if nothing has changed since.
func TestTrust(t *testing.T) {
	for name, c := range map[string]struct {
		do      func(t *testing.T, l *madeLog)
		trusted bool
	}{
		"closed": {func(*testing.T, *madeLog) {}, true},
		"left": {func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.State.Store(stateLeft) })
		}, true},
		"left, and another boot": {func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.State.Store(stateLeft) })
			l.o.boot = bootID{1}
		}, false},
		"another boot": {func(_ *testing.T, l *madeLog) { l.o.boot = bootID{1} }, false},
		"open": {func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.State.Store(stateOpen) })
		}, false},
		"a sync had failed": {func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.Lost.Store(1) })
		}, false},
		"segment missing": {func(t *testing.T, l *madeLog) {
			os.Remove(l.path(l.mid, framesExt))
			os.Remove(l.path(l.mid, indexExt))
		}, false},
		"first segment missing": {func(t *testing.T, l *madeLog) {
			os.Remove(l.path(0, framesExt))
			os.Remove(l.path(0, indexExt))
		}, false},
		"last segment missing": {func(t *testing.T, l *madeLog) {
			os.Remove(l.path(len(l.pairs)-1, framesExt))
			os.Remove(l.path(len(l.pairs)-1, indexExt))
		}, false},
		"index missing": {func(t *testing.T, l *madeLog) { os.Remove(l.path(l.mid, indexExt)) }, false},
		"frames cut": {func(t *testing.T, l *madeLog) {
			change(t, l.path(l.mid, framesExt), truncated(5000))
		}, false},
		"frames not trimmed": {func(t *testing.T, l *madeLog) {
			change(t, l.path(l.mid, framesExt), func(b []byte) []byte { return append(b, 0) })
		}, false},
		"last frames cut": {func(t *testing.T, l *madeLog) {
			change(t, l.path(len(l.pairs)-1, framesExt), truncated(20))
		}, false},
		"index header": {func(t *testing.T, l *madeLog) {
			change(t, l.path(l.mid, indexExt), flip(200))
		}, false},
		"sealed end": {func(t *testing.T, l *madeLog) {
			change(t, l.path(l.mid, indexExt), flip(64))
		}, false},
		"last entry": {withoutLastEntry, false},
		"head in a frame": {func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.Head.Store(l.head - 1) })
		}, false},
		"floor in a frame": {func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.Floor.Store(l.floor + 1) })
		}, false},
		"floor between frames": {func(t *testing.T, l *madeLog) {
			l.words(t, func(h *headPage) { h.Floor.Store(l.ends[0]) })
		}, true},
		"a spare and a half": {func(t *testing.T, l *madeLog) {
			os.WriteFile(filepath.Join(l.o.Dir, spareName+framesExt), []byte("?"), fileMode)
			os.WriteFile(segmentPath(l.o.Dir, l.head, indexExt), []byte("?"), fileMode)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := makeLog(t)
			l.o.boot = bootID{}
			c.do(t, l)
			w, rec := mustOpen(t, l.o)
			if rec.Trusted != c.trusted {
				t.Fatalf("%+v", rec)
			}
			// collectors may have frames that the disk does not have
			if name == "left, and another boot" && rec.NewID == "" {
				t.Error("the ID goes on")
			}
			if rec.NewID == "" && (rec.ID != l.id || rec.Head != l.head || lastNumber(w) != 249 ||
				w.Stats().Frames != 249) {
				t.Errorf("%+v, newest %d, %d frames", rec, lastNumber(w), w.Stats().Frames)
			}
			appendNumbered(t, w, lastNumber(w)+1, 300)
			r := mustRead(t, l.o.Dir)
			if _, last, err := readNumbered(r, r.Floor(), 9999); err != nil || last != 299 {
				t.Fatal(last, err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			mustHoldOnlySegments(t, l.o.Dir)
			if _, rec := mustOpen(t, l.o); rec.NewID != "" || !rec.Trusted {
				t.Errorf("opened again: %+v", rec)
			}
		})
	}
}

// TestOlderHead opens files of an older program, which have zeros for the lineage and lost writes.
func TestOlderHead(t *testing.T) {
	l := makeLog(t)
	l.o.boot = bootID{}
	l.words(t, func(h *headPage) { h.Lost.Store(0); h.Lineage = lineage{} })
	w, rec := mustOpen(t, l.o)
	if rec.NewID != "" || !rec.Trusted || w.head.Lost.Load() != 0 ||
		len(mustRead(t, l.o.Dir).Ancestors()) != 0 {
		t.Errorf("%+v", rec)
	}
}

// TestSyncFailureIsRemembered checks that a failed sync is remembered by later processes, because
// the kernel does not report it again. Synced must not move while the segments exist. They must be
// written again into other files, so that a power loss need not lose them.
func TestSyncFailureIsRemembered(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.RetainBytes = 1 << 30
	o.fault = b.fault
	w, _ := mustOpen(t, o)
	b.set(opSync, syscall.EIO)
	appendNumbered(t, w, 1, 100)
	eventually(t, func() bool { return w.Stats().Failures > 0 })
	b.set(opSync, nil) // the kernel reports it once
	r := mustRead(t, o.Dir)
	for next := uint64(100); next < 400; next += 100 { // one process after the other
		pairs, err := listSegments(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		before := inodes(t, o.Dir, pairs)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if r.head.Synced.Load() != 0 || r.head.State.Load() != stateOpen {
			t.Fatalf("synced %d, state %d", r.head.Synced.Load(), r.head.State.Load())
		}
		var rec Recovery
		if w, rec = mustOpen(t, o); rec.NewID != "" || rec.Trusted || w.Stats().Failures == 0 {
			t.Fatalf("%+v, %+v", rec, w.Stats())
		}
		drain(w)
		for i, inode := range inodes(t, o.Dir, pairs) {
			if inode == before[i] && pairs[i].base <= r.head.Lost.Load() {
				t.Errorf("segment %x was not written again", pairs[i].base)
			}
		}
		appendNumbered(t, w, next, next+100)
		// Readers that have mapped the old files can read too.
		if _, last, err := readNumbered(r, 0, 9999); err != nil || last != next+99 {
			t.Fatal(last, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	mustHoldOnlySegments(t, o.Dir)
	o.boot = bootID{1} // after a restart, reads return what is on disk
	w, rec := mustOpen(t, o)
	if rec.NewID == "" || len(rec.GivenUp)+len(rec.Damaged) > 0 || lastNumber(w) != 399 {
		t.Fatalf("%+v", rec)
	}
	head := w.Head()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if r := mustRead(t, o.Dir); r.head.Synced.Load() != head || r.head.State.Load() != stateClean {
		t.Errorf("in another boot: synced %d of %d, state %d", r.head.Synced.Load(), head,
			r.head.State.Load())
	}
}

func inodes(t *testing.T, dir string, pairs []pair) (all []uint64) {
	t.Helper()
	for _, p := range pairs {
		info, err := os.Stat(segmentPath(dir, p.base, framesExt))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Sys().(*syscall.Stat_t).Ino)
	}
	return all
}

// TestSyncFailureIsForgottenWithTheSegments checks that a failed sync is forgotten when the
// segments of that time are gone.
func TestSyncFailureIsForgottenWithTheSegments(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.fault = b.fault
	w, _ := mustOpen(t, o)
	b.set(opSync, syscall.EIO)
	appendNumbered(t, w, 1, 100)
	eventually(t, func() bool { return w.Stats().Failures > 0 })
	b.set(opSync, nil)
	lost := w.head.Lost.Load()
	for n := uint64(100); w.head.Lost.Load() != 0; n++ {
		if len(w.kept) > 0 && w.kept[0].base > lost+minSegmentBytes {
			t.Fatalf("it is remembered, though nothing before %d is kept", w.kept[0].base)
		}
		appendNumbered(t, w, n, n+1)
	}
	head := w.Head()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := mustRead(t, o.Dir)
	if r.head.Synced.Load() != head || r.head.State.Load() != stateClean {
		t.Errorf("synced %d of %d, state %d", r.head.Synced.Load(), head, r.head.State.Load())
	}
}

// TestSyncFailureWhileClosingAndOpening checks that after a failed sync of a close or a recovery,
// the next opening in this boot verifies the log.
func TestSyncFailureWhileClosingAndOpening(t *testing.T) {
	lost := func(l *madeLog) (is bool) {
		l.words(t, func(h *headPage) { is = h.State.Load() == stateOpen && h.Lost.Load() != 0 })
		return is
	}
	for n := 1; ; n++ { // the n-th sync fails
		l := makeLog(t)
		l.o.boot = bootID{}
		syncs, failing := 0, false
		l.o.fault = func(o op, _ string) error {
			if o == opSync {
				if syncs++; failing && syncs == n {
					return syscall.EIO
				}
			}
			return nil
		}
		w, _ := mustOpen(t, l.o)
		syncs, failing = 0, true
		err := w.Close()
		if syncs < n {
			if err != nil || n < 5 {
				t.Errorf("%d syncs: %v", syncs, err)
			}
			break
		}
		if !errors.Is(err, syscall.EIO) || !lost(l) {
			t.Errorf("sync %d of the close: %v, remembered %v", n, err, lost(l))
		}
	}
	l := makeLog(t)
	l.o.boot = bootID{}
	var b broken
	l.o.fault = b.fault
	b.set(opSync, syscall.EIO)
	if _, _, err := OpenWriter(l.o); !errors.Is(err, syscall.EIO) || !lost(l) {
		t.Errorf("opening: %v, remembered %v", err, lost(l))
	}
}

// TestOldSegmentsRetiredBeforeTheirTurn checks that it is no failure if unsynced segments of a
// killed writer are retired before they are synced.
func TestOldSegmentsRetiredBeforeTheirTurn(t *testing.T) {
	o := testOptions(t.TempDir())
	o.RetainBytes = 1 << 30
	w, _ := mustOpen(t, o)
	appendNumbered(t, w, 1, 100)
	abandon(w)
	change(t, filepath.Join(o.Dir, headName), func(b []byte) []byte {
		asHead(b).Synced.Store(0)
		return b
	})
	gate := make(chan struct{})
	o.fault = func(o op, _ string) error {
		if o == opTrim { // in the background
			<-gate
		}
		return nil
	}
	o.RetainBytes = 2 * minSegmentBytes
	w, rec := mustOpen(t, o)
	next := uint64(100)
	for ; w.Floor() < rec.Head; next++ {
		appendNumbered(t, w, next, next+1)
	}
	close(gate)
	drain(w)
	if w.Stats().Failures != 0 || w.head.Lost.Load() != 0 {
		t.Errorf("%+v, lost %d", w.Stats(), w.head.Lost.Load())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	mustHoldOnlySegments(t, o.Dir)
}

// TestSyncFailureOutlivesTheID checks that a failed sync of this boot is remembered under a new ID.
func TestSyncFailureOutlivesTheID(t *testing.T) {
	l := makeLog(t)
	l.o.boot = bootID{}
	l.words(t, func(h *headPage) { h.Lost.Store(h.Head.Load()) })
	last := len(l.pairs) - 1
	change(t, l.path(last, framesExt), flip(int64(l.head-l.pairs[last].base)-1))
	w, rec := mustOpen(t, l.o)
	if rec.NewID == "" {
		t.Fatalf("%+v", rec)
	}
	must(t, w.Close())
	if r := mustRead(t, l.o.Dir); r.head.Lost.Load() == 0 || r.head.State.Load() != stateOpen {
		t.Errorf("lost %d, state %d", r.head.Lost.Load(), r.head.State.Load())
	}
}

// TestRetiredBeforeLeaving checks that segments that were retired when the log was left are removed
// only after the floor is in the head on disk.
func TestRetiredBeforeLeaving(t *testing.T) {
	l := makeLog(t)
	l.o.boot = bootID{}
	l.words(t, func(h *headPage) { h.State.Store(stateLeft) })
	for _, ext := range []string{framesExt, indexExt} {
		must(t, os.WriteFile(segmentPath(l.o.Dir, 0, ext), nil, fileMode))
	}
	d := &diary{dir: l.o.Dir}
	l.o.fault = d.fault
	if _, rec := mustOpen(t, l.o); !rec.Trusted {
		t.Fatalf("%+v", rec)
	}
	said := d.said()
	synced, gone := slices.Index(said, "sync head"), slices.Index(said,
		"unlink 0000000000000000.frames")
	if gone < 0 || synced < 0 || synced > gone {
		t.Errorf("%q", said)
	}
}

// TestUnsyncedSegmentsOfAKilledWriter checks that the next writer syncs segments that a killed
// writer had trimmed and not synced, before it raises Synced.
func TestUnsyncedSegmentsOfAKilledWriter(t *testing.T) {
	l := makeLog(t)
	l.o.boot = bootID{}
	l.words(t, func(h *headPage) { h.State.Store(stateOpen); h.Synced.Store(0) })
	var mu sync.Mutex // guards synced
	synced := map[string]bool{}
	l.o.fault = func(o op, path string) error {
		mu.Lock()
		defer mu.Unlock()
		synced[path] = synced[path] || o == opSync
		return nil
	}
	w, rec := mustOpen(t, l.o)
	if rec.NewID != "" {
		t.Fatalf("%+v", rec)
	}
	drain(w)
	if w.Stats().Synced == 0 {
		t.Error("nothing is said to be on disk")
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range len(l.pairs) - 1 {
		for _, ext := range []string{framesExt, indexExt} {
			if path := l.path(i, ext); !synced[path] {
				t.Errorf("%s was not synced", filepath.Base(path))
			}
		}
	}
}

// TestEachSyncFailureCounts checks that the latest failed sync counts, and that a log with a failed
// sync is not left as a good one.
func TestEachSyncFailureCounts(t *testing.T) {
	var b broken
	o := testOptions(t.TempDir())
	o.RetainBytes = 1 << 30
	o.fault = b.fault
	w, _ := mustOpen(t, o)
	r := mustRead(t, o.Dir)
	b.set(opSync, syscall.EIO)
	for next := uint64(1); next < 300; next += 100 {
		before := w.Stats().Failures
		appendNumbered(t, w, next, next+100)
		eventually(t, func() bool { return w.Stats().Failures > before })
		drain(w)
		if lost := r.head.Lost.Load(); lost != w.Head() {
			t.Errorf("lost %d, the head is %d", lost, w.Head())
		}
	}
	b.set(opSync, nil)
	must(t, w.Leave())
	if state := r.head.State.Load(); state != stateOpen {
		t.Errorf("left with state %d", state)
	}
}
