package supervisor

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever keeps the twin is told of each client that can have it, of those that
// were refused and those whose worker dies as well, and WakeTwin reaches the
// workers with such clients alone.
func TestTwin(t *testing.T) {
	f := start(t, "", 2, 2, 1)
	f.wantLayout("1:0 2:0")
	f.mustConnect("plain")
	c, err := f.connect(t.Context(), Client{Key: "a", Deflate: true})
	if err != nil {
		t.Fatal(err)
	}
	<-c.greeted
	f.SetTwin("/twin/1")
	eventually(t, "the workers know the twin, one of them a client for it", func() bool {
		ws := f.Snapshot().Workers
		return ws[0].Stats.TwinBytes == 7 && ws[1].Stats.TwinBytes == 7 && ws[0].Stats.Deflate == 0 && ws[1].Stats.Deflate == 1
	})
	f.WakeTwin()
	eventually(t, "a wake-up", func() bool { return f.Snapshot().Workers[1].Stats.Pings == 1 })
	if f.Snapshot().Workers[0].Stats.Pings != 0 {
		t.Error("a worker of plain clients was woken")
	}
	if _, err := f.connect(t.Context(), Client{Key: "b", Deflate: true}); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	if n := f.Snapshot().Deflate; n != 1 {
		t.Errorf("%d wish", n)
	}
	f.signal(2, unix.SIGKILL)
	eventually(t, "nobody wishes", func() bool { return f.Snapshot().Deflate == 0 })
	f.mu.Lock()
	wishes := fmt.Sprint(f.wishes)
	f.mu.Unlock()
	if wishes != "[1 2 1 0]" {
		t.Errorf("OnWish was told %s", wishes)
	}
	f.WakeTwin() // of nobody
	f.SetTwin("")
	f.wantLayout("1:1 2:0")
	eventually(t, "the twin has gone", func() bool { return f.Snapshot().Workers[0].Stats.TwinBytes == 0 })
}
