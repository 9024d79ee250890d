package framelog

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// brief makes a mapped file of a segment unreadable until the scan has paused pauses times. It
// returns how often the scan has paused.
func brief(t *testing.T, path string, pauses int) (paused *int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gone, n := false, 0
	scanMapped = func() {
		if !gone {
			gone = true
			if err := os.Truncate(path, 0); err != nil {
				t.Error(err)
			}
		}
	}
	scanPaused = func() {
		if n++; n != pauses {
			return
		}
		if f, err := os.OpenFile(path, os.O_WRONLY, 0); err != nil {
			t.Error(err)
		} else if _, err := f.Write(content); err != nil {
			t.Error(err)
		} else if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { scanMapped, scanPaused = func() {}, func() {} })
	return &n
}

// TestBriefReadErrors checks that temporary read errors while a log is verified lose nothing.
func TestBriefReadErrors(t *testing.T) {
	for _, ext := range []string{framesExt, indexExt} {
		t.Run(ext, func(t *testing.T) {
			l := makeLog(t)
			paused := brief(t, l.path(0, ext), 2) // the first one that is mapped
			w, rec := mustOpen(t, l.o)
			if *paused != 2 || rec.NewID != "" || rec.Head != l.head || rec.Floor != l.floor ||
				len(rec.Damaged)+len(rec.GivenUp) > 0 {
				t.Errorf("after %d pauses: %+v", *paused, rec)
			}
			r := mustRead(t, l.o.Dir)
			if first, last, err := readNumbered(r, r.Floor(), 30_000); err != nil || first != l.first ||
				last != 249 || lastNumber(w) != 249 {
				t.Errorf("it serves %d to %d: %v", first, last, err)
			}
		})
	}
}

// TestLastingReadErrors checks that a permanent read error is retried for a bounded time and then
// counts as damage.
func TestLastingReadErrors(t *testing.T) {
	l := makeLog(t)
	paused := brief(t, l.path(0, framesExt), -1)
	_, rec := mustOpen(t, l.o)
	if len(rec.Damaged) != 1 || rec.Head != l.head || rec.Floor <= l.floor {
		t.Errorf("%+v", rec)
	}
	if *paused == 0 || *paused > retryMost {
		t.Errorf("%d pauses", *paused)
	}
}

// TestOpenErrorIsNoDamage checks that an error that prevents opening a segment, and says nothing
// about its bytes, fails the start and gives up nothing.
func TestOpenErrorIsNoDamage(t *testing.T) {
	l := makeLog(t)
	path := l.path(l.mid, framesExt)
	must(t, os.Rename(path, path+".away"))
	must(t, os.Symlink(path, path)) // a link to itself cannot be opened
	for range 2 {
		if _, rec, err := OpenWriter(l.o); !errors.Is(err, syscall.ELOOP) {
			t.Fatalf("%v: %+v", err, rec)
		}
	}
	must(t, os.Rename(path+".away", path))
	if _, rec := mustOpen(t, l.o); rec.ID != l.id || rec.Head != l.head || rec.Floor != l.floor ||
		len(rec.Damaged) > 0 {
		t.Errorf("%+v", rec)
	}
}
