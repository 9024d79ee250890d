package framelog

import (
	"os"
	"testing"
)

func TestHolder(t *testing.T) {
	dir := t.TempDir()
	if pid, held := Holder(dir); held || pid != 0 {
		t.Errorf("no log: %d %v", pid, held)
	}
	w, _, err := OpenWriter(Options{Dir: dir, SegmentBytes: 64 << 10, RetainBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if pid, held := Holder(dir); !held || pid != os.Getpid() {
		t.Errorf("open: %d %v", pid, held)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if pid, held := Holder(dir); held || pid != os.Getpid() {
		t.Errorf("closed: %d %v", pid, held)
	}
}
