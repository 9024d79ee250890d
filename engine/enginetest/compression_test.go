package enginetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"distributor/engine/status"
	"distributor/wsproto/collector"
)

// TestCompression checks that collectors with and without compression get the same messages in the
// same order, while a worker and then the primary are killed. The compressed log that the killed
// primary left must be removed by the next one.
func TestCompression(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"COMPRESSION_LEVEL": 1, "NUMBER_OF_WORKERS": 2, "MAX_CLIENTS_PER_CHILD": 3,
		"ADMIN_ADDR": "127.0.0.1:0"})
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{300, 20_000}})
	d.Start()
	const size, compress = 6, 4
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: size, Compress: compress, Book: book})
	logs := filepath.Join(d.Dir, "state", "deflate")
	atWork := func(what string) (s status.Status) {
		t.Helper()
		Until(t, what, func() bool {
			if err := archiver.Write(20); err != nil {
				t.Fatal(err)
			}
			fleet.WaitTotal(book.Total())
			s = statusOf(t, d.admin())
			return s.Compression.Clients == compress && s.Compression.Alive && s.Compression.SentBytes > 0
		}, func() string { return fmt.Sprintf("%+v", s.Compression) })
		return s
	}
	s := atWork("compressed frames are sent")
	if c := s.Compression; c.OutBytes >= c.InBytes || c.Frames == 0 {
		t.Errorf("got %+v, want fewer bytes out than in, and frames", c)
	}
	d.Workers()[0].Kill(t)
	atWork("compressed frames are sent after the end of a worker")

	left := filepath.Join(logs, "old")
	d.Kill()
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	d.Start()
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the killed primary has left is still there: %v", err)
	}
	atWork("compressed frames are sent after the end of the primary")

	d.Configure(Settings{"COMPRESSION_LEVEL": 0})
	if l := d.Reload(syscall.SIGHUP); fmt.Sprint(l.Attrs["applied"], l.Attrs["refused"]) != "1 0" {
		t.Errorf("unexpected line in the log: %s", l.Text)
	}
	Until(t, "the compressed log has gone", func() bool { _, err := os.Stat(logs); return errors.Is(err, fs.ErrNotExist) }, func() string { return "" })
	if err := archiver.Write(50); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(book.Total())
	c, err := collector.Dial(t.Context(), collector.Options{URL: d.URL, Keys: newKey(t),
		HashKey: hashKey, Compress: true})
	if err != nil || c.Compressed() {
		t.Errorf("with level 0: compressed, or %v", err)
	}
	c.Close()
	fleet.CheckSame()
	Until(t, "nobody has compression", func() bool { return statusOf(t, d.admin()).Compression.Clients == 0 }, func() string { return "" })
	d.Stop()
}

// TestCompressionOverHandovers checks handovers with compression. A failed handover must leave
// collectors connected; during it they get uncompressed messages. After a successful one collectors
// must miss nothing, and the new process must have a compressed log when the old one has ended.
func TestCompressionOverHandovers(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"COMPRESSION_LEVEL": 1, "FRAME_LOG_SEGMENT_BYTES": 1 << 20,
		"NUMBER_OF_WORKERS": 2, "MAX_CLIENTS_PER_CHILD": 4, "ADMIN_ADDR": "127.0.0.1:0"})
	d.Env = []string{badSuccessor + "=opens"}
	linked(t, d)
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{300, 20_000}})
	d.Start()
	const size, compress = 6, 4
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: size, Compress: compress, Book: book,
		Forgetful: true})
	s := newStorm(archiver)
	sent := func() (s status.Compression) {
		t.Helper()
		before := statusOf(t, lastAdmin(d)).Compression.SentBytes
		Until(t, "compressed frames are sent", func() bool {
			s = statusOf(t, lastAdmin(d)).Compression
			return s.Clients == compress && s.Alive && s.SentBytes > before
		}, func() string { return fmt.Sprintf("%+v", s) })
		return s
	}
	sent()

	replaceByBad(t, d)
	mark := d.Mark()
	d.Signal(syscall.SIGUSR2)
	d.WaitLogAfter(mark, "handover failed", func(l Line) bool {
		return l.Msg == "handover failed; this process continues"
	})
	sent()
	if n := fleet.Cut(); n != 0 {
		t.Errorf("a failed handover cut %d collectors, want none", n)
	}

	replaceBinary(t, d, built)
	old := d.Pid()
	d.HandOver()
	for _, open := range descriptors(old) { // it still exists, because collectors leave a second later
		if strings.Contains(open, "/deflate/") {
			t.Errorf("the old process still has its compressed log open: %s", open)
		}
	}
	d.Alone()
	for of, n := range sent().Ends {
		if n != 0 {
			t.Errorf("%d compressed logs of the new process have ended: %s", n, of)
		}
	}
	if logs, err := os.ReadDir(filepath.Join(d.Dir, "state", "deflate")); err != nil ||
		len(logs) != 1 {
		t.Errorf("compressed logs: %v, %v", logs, err)
	}
	s.end(t)
	fleet.WaitTotal(book.Total())
	fleet.CheckSame()
	if n := fleet.Cut(); n != size {
		t.Errorf("%d collectors moved to the new process, want %d", n, size)
	}
	d.Stop()
}
