package framelog

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestHungSync checks that retention continues while an fsync hangs, and that the waiting segments
// use few descriptors and mappings. When the fsync returns, all remaining segments must be synced.
func TestHungSync(t *testing.T) {
	o := testOptions(t.TempDir())
	o.RetainBytes = 40 * minSegmentBytes // more segments than may wait with open files
	stalled, stall := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	o.fault = func(what op, path string) error {
		if what == opSync && strings.HasSuffix(path, framesExt) && once.CompareAndSwap(false, true) {
			close(stalled)
			<-stall
		}
		return nil
	}
	descriptors := func() (n int) {
		links, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, o.Dir) {
				n++
			}
		}
		return n
	}
	w, _ := mustOpen(t, o)
	frame := make([]byte, 8<<10)
	write := func(segments int) {
		t.Helper()
		for range segments * minSegmentBytes / len(frame) {
			if err := w.Append(frame, Meta{}); err != nil {
				t.Fatal(err)
			}
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(2)
	<-stalled
	write(200)
	segments := func() (n int) {
		pairs, err := listSegments(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(pairs)
	}
	eventually(t, func() bool { return segments() <= int(w.Stats().Segments)+1 })
	// Files of one segment in the sync, the active one and the spare; head; lock.
	eventually(t, func() bool { return descriptors() <= 2*(unfinishedMost+1+2)+2 })
	if n := mapsOf(t, o.Dir); n > unfinishedMost+1+2+1 {
		t.Errorf("%d mappings", n)
	}
	if s := w.Stats(); s.Synced != 0 || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
	close(stall)
	head := w.Head()
	drain(w)
	if s := w.Stats(); head-s.Synced > minSegmentBytes || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
	write(3)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	mustHoldOnlySegments(t, o.Dir)
	if report, err := Inspect(o.Dir); err != nil || report.NewID != "" ||
		len(report.Damaged)+len(report.GivenUp) != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestReliefIsQueuedOnce checks that at most one call of relieve is queued while syncs and unlinks
// hang.
func TestReliefIsQueuedOnce(t *testing.T) {
	o := testOptions(t.TempDir())
	o.RetainBytes = 4 * minSegmentBytes
	hung, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	o.fault = func(what op, path string) error {
		_, segment := parseBase(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
		if !segment || what != opSync && what != opUnlink {
			return nil
		}
		if what == opUnlink {
			once.Do(func() { close(hung) })
		}
		<-answer
		return nil
	}
	w, _ := mustOpen(t, o)
	frame := make([]byte, 8<<10)
	write := func(segments int) {
		t.Helper()
		for range segments * minSegmentBytes / len(frame) {
			if err := w.Append(frame, Meta{}); err != nil {
				t.Fatal(err)
			}
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(2 * unfinishedMost)
	<-hung
	write(2 * unfinishedMost)
	w.beside.mu.Lock()
	queued := len(w.beside.jobs)
	w.beside.mu.Unlock()
	if queued > 1 {
		t.Errorf("relieve is queued %d times", queued)
	}
	close(answer)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
