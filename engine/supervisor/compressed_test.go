package supervisor

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
)

// Wake wakes the workers with clients, WakeCompressed those with clients that negotiated
// compression.
func (f *fixture) Wake()           { f.readers.Ring() }
func (f *fixture) WakeCompressed() { f.compressedReaders.Ring() }

// A worker is a reader of the compressed log while it has a client that negotiated compression, and
// WakeCompressed wakes only such workers.
func TestCompressedReaders(t *testing.T) {
	f := start(t, "", 2, 2, 1)
	f.wantLayout("1:0 2:0")
	f.mustConnect("plain")
	if f.compressedReaders.Filled() {
		t.Error("a plain client has made its worker a reader of the compressed log")
	}
	deflated := handoff.Negotiated{Deflate: true}
	c, err := f.connect(t.Context(), Client{Key: "a", Negotiated: deflated})
	if err != nil {
		t.Fatal(err)
	}
	<-c.greeted
	f.SetCompressed("/logs/1")
	eventually(t, "the workers know the compressed log, one of them a client for it", func() bool {
		ws := f.Snapshot().Workers
		return ws[0].Stats.CompressedBytes == 7 && ws[1].Stats.CompressedBytes == 7 &&
			ws[0].Stats.Deflate == 0 && ws[1].Stats.Deflate == 1
	})
	f.WakeCompressed()
	eventually(t, "a wake-up", func() bool { return f.Snapshot().Workers[1].Stats.Pings == 1 })
	if f.Snapshot().Workers[0].Stats.Pings != 0 {
		t.Error("a worker of plain clients was woken")
	}
	if _, err := f.connect(t.Context(), Client{Key: "b", Negotiated: deflated}); !errors.Is(err,
		ErrFull) {
		t.Fatalf("got %v", err)
	}
	if n := f.Snapshot().Deflate; n != 1 || !f.compressedReaders.Filled() {
		t.Errorf("%d clients negotiated compression; the compressed log has readers: %v", n, f.compressedReaders.Filled())
	}
	f.signal(2, unix.SIGKILL)
	eventually(t, "nobody wishes", func() bool { return f.Snapshot().Deflate == 0 })
	if f.compressedReaders.Filled() {
		t.Error("a worker that was killed is still a reader of the compressed log")
	}
	f.WakeCompressed() // there is no reader
	f.SetCompressed("")
	f.wantLayout("1:1 2:0")
	eventually(t, "the compressed log has gone",
		func() bool { return f.Snapshot().Workers[0].Stats.CompressedBytes == 0 })
}
