package framelog

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestInspect(t *testing.T) {
	if _, err := Inspect(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	l := makeLog(t)
	l.o.boot = bootID{}      // the real one, which Inspect uses
	w, _ := mustOpen(t, l.o) // the writer stays open
	appendNumbered(t, w, 250, 260)
	got, err := Inspect(l.o.Dir)
	if err != nil || got.ID != l.id || got.Head != w.Head() || got.Floor != l.floor ||
		got.NewID != "" || len(got.Damaged)+len(got.GivenUp) > 0 ||
		got.Writer != strconv.Itoa(os.Getpid()) {
		t.Fatalf("%+v, %v", got, err)
	}
	frames := 0
	for i, s := range got.Segments {
		frames += s.Frames
		if s.Problem != nil || s.Sealed != (i+1 < len(got.Segments)) || i > 0 &&
			s.Base != got.Segments[i-1].End {
			t.Errorf("segment %d: %+v", i, s)
		}
	}
	if want := 259 - int(l.first) + 1; frames != want {
		t.Errorf("%d frames, want %d", frames, want)
	}
	w.Close()

	n, _ := l.inSegment(l.mid)
	change(t, l.path(l.mid, framesExt), flip(int64(l.startOf(n+3)-l.pairs[l.mid].base)+20))
	for range 2 { // twice, because Inspect must change nothing
		got, err = Inspect(l.o.Dir)
		if err != nil || len(got.Damaged) != 1 || got.Damaged[0].Start != l.startOf(n+3) ||
			got.Floor != l.startOf(n+4) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	os.Remove(filepath.Join(l.o.Dir, headName))
	if got, err = Inspect(l.o.Dir); err != nil || got.NewID == "" || got.ID != (ID{}) {
		t.Fatalf("%+v, %v", got, err)
	}
}
