package notice

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func load(t *testing.T, dir string) List {
	t.Helper()
	list, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestBook(t *testing.T) {
	dir := t.TempDir()
	if list := load(t, dir); len(list.Notices) != 0 {
		t.Fatal(list)
	}
	b, err := Open(dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fileName+".new"), []byte("of one that was killed"),
		0o600); err != nil {
		t.Fatal(err)
	}
	add := func(offset, floor uint64) {
		t.Helper()
		if err := b.Add(Notice{offset, fmt.Sprintf(`{"at":"<%d>"}`, offset)}, floor); err != nil {
			t.Fatal(err)
		}
	}
	add(10, 0)
	add(20, 0)
	add(20, 15)
	if got, want := load(t, dir), (List{1,
		[]Notice{{20, `{"at":"<20>"}`}, {20, `{"at":"<20>"}`}}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	// A client that begins at the floor gets the notice at that offset.
	add(20, 20)
	if got := load(t, dir); got.First != 1 || len(got.Notices) != 3 {
		t.Errorf("%+v", got)
	}
	// After a restart the notices are still there; a notice beyond the end moves to the end.
	if b, err = Open(dir, 18); err != nil {
		t.Fatal(err)
	}
	add(30, 16)
	if got := load(t, dir); got.First != 1 || len(got.Notices) != 4 ||
		got.Notices[0].Offset != 18 || got.Notices[3].Offset != 30 {
		t.Errorf("%+v", got)
	}
	for i := range uint64(2 * maxKept) {
		add(40+i, 0)
	}
	if got := load(t, dir); got.First != 5+maxKept || len(got.Notices) != maxKept ||
		got.Notices[maxKept-1].Offset != 39+2*maxKept {
		t.Errorf("from %d, %d", got.First, len(got.Notices))
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte(`{"first":`), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir, 5)
	if err == nil {
		t.Error("not told")
	}
	if err := b.Add(Notice{1, "x"}, 0); err != nil {
		t.Error(err)
	}
	if got := load(t, dir); len(got.Notices) != 1 {
		t.Errorf("%+v", got)
	}
	// A notice that cannot be saved is not added.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(Notice{2, "y"}, 0); err == nil || len(b.list.Notices) != 1 {
		t.Errorf("%v, %+v", err, b.list)
	}
}
