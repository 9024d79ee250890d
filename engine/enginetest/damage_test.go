package enginetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"distributor/engine/simulator"
	"distributor/mmaplog/datalog"
	"distributor/wsproto"
	"distributor/wsproto/collector"
)

// handOffTimeout is how long the gateway waits for a worker.
const handOffTimeout = 15 * time.Second

// timeOf returns when a line was logged.
func timeOf(t *testing.T, l Line) time.Time {
	t.Helper()
	text, _ := l.Attrs["time"].(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// refusal is the complete answer to a refused upgrade.
type refusal struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// refusedUpgrade requests an upgrade, which must be refused with a reason.
func refusedUpgrade(t *testing.T, d *Distributor, reason string) refusal {
	t.Helper()
	target, err := upgradeTarget(PeerOptions{Key: newKey(t)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return mustRefuse(t, d, "GET "+target+" HTTP/1.1\r\nHost: distributor\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", reason)
}

// mustRefuse sends a request, and reads the whole answer, which must be 503 with the reason.
func mustRefuse(t *testing.T, d *Distributor, request, reason string) refusal {
	t.Helper()
	began := time.Now()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(began.Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, request) // the answer may come before the end of the request
	text, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(text), "\r\n\r\n")
	r := refusal{body: body, header: http.Header{}, took: time.Since(began)}
	var answer struct{ Reason string }
	if _, err := fmt.Sscanf(head, "HTTP/1.1 %d", &r.status); err != nil ||
		json.Unmarshal([]byte(body), &answer) != nil {
		t.Fatalf("no complete answer: %q", text)
	}
	for line := range strings.Lines(head) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			r.header.Set(name, value)
		}
	}
	if r.status != http.StatusServiceUnavailable || answer.Reason != reason {
		t.Fatalf("got status %d: %s, want reason %s", r.status, body, reason)
	}
	return r
}

// mustServeRest checks that the distributor serves the end of the book, each stream without a gap.
// It returns the floor.
func mustServeRest(t *testing.T, d *Distributor, book *Book) (floor uint64) {
	t.Helper()
	p := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "earliest"})
	defer p.Terminate()
	reading, taken := Reading{book: book}, 0
	for _, s := range datalog.Streams { // as if it had had all, so that it may begin anywhere
		reading.hashes[s] = *book.hashes[s].Load()
		reading.most[s] = len(reading.hashes[s])
	}
	reading.Again()
	last := func() bool {
		for i := range reading.next {
			if reading.next[i] != len(reading.hashes[i]) {
				return false
			}
		}
		return true
	}
	Until(t, "the last message of each stream has come", func() bool {
		texts := p.Texts()
		for _, text := range texts[taken:] {
			if err := reading.Take(streamOf(t, text), []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		taken = len(texts)
		return last()
	}, func() string { return fmt.Sprint(reading.next, " of ", reading.most) })
	at, _ := Bounds(t, d.URL)
	return at.Offset
}

func streamOf(t *testing.T, text string) string {
	t.Helper()
	for _, stream := range simulator.Streams {
		if strings.HasPrefix(text, `{"`+stream+`"`) {
			return stream
		}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		t.Fatal(err)
	}
	for _, stream := range simulator.Streams {
		if members[stream] != nil {
			return stream
		}
	}
	t.Fatalf("a message of no stream: %.80q", text)
	return ""
}

// TestDamagedState damages the frame log while nothing runs. Damaged frames must not be served, the
// log must say what is lost, and a collector that asks for lost frames must be refused with the
// floor. Records of lost frames at the end must be read again from the data logs.
func TestDamagedState(t *testing.T) {
	type place struct {
		d        *Distributor
		segments []string
		head     uint64 // within the last of them
	}
	middle := func(p place) string { return p.segments[len(p.segments)/2] }
	last := func(p place) string { return p.segments[len(p.segments)-1] }
	index := func(frames string) string { return strings.TrimSuffix(frames, ".frames") + ".index" }
	remove := func(t *testing.T, paths ...string) {
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(t *testing.T, path string, to int64) {
		if err := os.Truncate(path, to); err != nil {
			t.Fatal(err)
		}
	}
	const lost, givenUp = "frame log: DAMAGE: committed frames are lost", "given up, to be made again"
	for name, c := range map[string]struct {
		// do runs before a simulated restart of the machine: within a boot, the frames of a closed
		// log are not verified.
		do      func(*testing.T, place)
		says    string
		refused int // a collector with the position of the log's beginning
	}{
		"bit flip": {func(t *testing.T, p place) {
			damage(t, middle(p), 1000, []byte{0})
		}, lost, http.StatusGone},
		"bit flip in an index": {func(t *testing.T, p place) {
			damage(t, index(middle(p)), 4096+64*3+30, []byte{0xff, 0xff})
		}, lost, http.StatusGone},
		"bit flip at the end": {func(t *testing.T, p place) {
			damage(t, last(p), int64(p.head)-3, []byte{0})
		}, givenUp, 0},
		"torn tail": {func(t *testing.T, p place) {
			truncate(t, last(p), int64(p.head)-3)
		}, givenUp, 0},
		"last index torn": {func(t *testing.T, p place) { truncate(t, index(last(p)), 4096+64) }, "", 0},
		"segment cut": {func(t *testing.T, p place) {
			truncate(t, middle(p), 5000)
		}, lost, http.StatusGone},
		"segment missing": {func(t *testing.T, p place) {
			remove(t, middle(p), index(middle(p)))
		}, lost, http.StatusGone},
		"first segment missing": {func(t *testing.T, p place) {
			remove(t, p.segments[0], index(p.segments[0]))
		}, lost, http.StatusGone},
		"last segment missing": {func(t *testing.T, p place) { remove(t, last(p), index(last(p))) }, "", 0},
		"index missing": {func(t *testing.T, p place) {
			remove(t, index(middle(p)))
		}, lost, http.StatusGone},
		"head missing": {func(t *testing.T, p place) { remove(t, filepath.Join(filepath.Dir(last(p)), "head")) }, "", http.StatusConflict},
		"head of garbage": {func(t *testing.T, p place) {
			damage(t, filepath.Join(filepath.Dir(last(p)), "head"), 0, []byte(strings.Repeat("?", 200)))
		}, "the head file is not usable", http.StatusConflict},
		"checkpoint of garbage": {func(t *testing.T, p place) {
			damage(t, filepath.Join(p.d.Dir, "state", "checkpoint.json"), 0, []byte("?"))
		}, "checkpoint not used", 0},
		"collectors of garbage": {func(t *testing.T, p place) {
			damage(t, filepath.Join(p.d.Dir, "state", "collectors.json"), 0, []byte("?"))
		}, "returning collectors start live", 0},
		"checkpoint is not there": {func(t *testing.T, p place) { remove(t, filepath.Join(p.d.Dir, "state", "checkpoint.json")) }, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, book := New(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 64 << 10}), NewBook()
			archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
				Sizes: []int{100, 3000}})
			d.Start()
			fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
			if err := archiver.Write(200); err != nil {
				t.Fatal(err)
			}
			fleet.WaitTotal(200)
			fleet.Stop()
			floor, head := Bounds(t, d.URL)
			d.Stop()
			p := place{d: d, segments: d.segments(t)}
			var base uint64
			if _, err := fmt.Sscanf(filepath.Base(last(p)), "%x.frames", &base); err != nil ||
				len(p.segments) < 4 {
				t.Fatalf("%v: %v", p.segments, err)
			}
			p.head = head.Offset - base
			rebooted(t, d)
			c.do(t, p)
			d.Start()
			if said := d.Log(func(l Line) bool {
				return strings.Contains(l.Msg, c.says)
			}); c.says != "" && len(said) == 0 {
				t.Errorf("the log does not say %q", c.says)
			}
			_, err := Connect(t, d.URL, PeerOptions{Key: newKey(t), From: floor.String()})
			var refused *collector.RefusedError
			if c.refused == 0 && err != nil || c.refused != 0 &&
				(!errors.As(err, &refused) || refused.Status != c.refused ||
					!strings.Contains(refused.Reason, `"floor"`)) {
				t.Errorf("a collector with a position of before: %v", err)
			}
			if err := archiver.Write(50); err != nil {
				t.Fatal(err)
			}
			if begins := mustServeRest(t, d, book); begins == 0 != (c.says != lost) {
				t.Errorf("what is kept begins at %d", begins)
			}
			d.Stop()
		})
	}
}

// TestTruncatedWhileServed truncates a segment while it is mapped. Collectors that need its bytes
// must be closed with 1011. The other collectors, the workers and the primary must continue.
func TestTruncatedWhileServed(t *testing.T) {
	t.Parallel()
	d, book := New(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 64 << 10}), NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{100, 3000}})
	d.Start()
	live := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
	if err := archiver.Write(200); err != nil {
		t.Fatal(err)
	}
	live.WaitTotal(200)
	worker := d.Workers()[0]
	if err := os.Truncate(d.segments(t)[1], 0); err != nil {
		t.Fatal(err)
	}
	MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "earliest"}).WaitClosed(t,
		wsproto.InternalError.Code)
	if err := archiver.Write(50); err != nil {
		t.Fatal(err)
	}
	live.WaitTotal(250)
	if live.Cut() != 0 || worker.Gone(0) {
		t.Errorf("the other collectors did not continue: %v", live)
	}
	live.CheckSame()
	d.Stop()
	d.Start() // raises the floor above the lost frames
	if floor := mustServeRest(t, d, book); floor == 0 {
		t.Error("no frame was lost")
	}
	d.Stop()
}

// TestTruncatedWhileWritten truncates the active segment. The primary must report it and stop. The
// next start must read the lost records again.
func TestTruncatedWhileWritten(t *testing.T) {
	t.Parallel()
	d, book := New(t, nil), NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{100, 3000}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
	if err := archiver.Write(20); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(20)
	fleet.Stop()
	if err := os.Truncate(d.segments(t)[0], 0); err != nil {
		t.Fatal(err)
	}
	if err := archiver.Write(20); err != nil {
		t.Fatal(err)
	}
	if how := d.WaitEnd(); how.ExitStatus() != 1 {
		t.Errorf("got %v, want exit status 1", d.cmd.ProcessState)
	}
	d.WaitLog("why", func(l Line) bool {
		return l.Msg == "stopped" && strings.Contains(l.Text, "files are damaged")
	})
	d.Start()
	late := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
	late.WaitTotal(40)
	late.CheckSame()
	d.Stop()
}

// TestDescriptorsOfThePrimary lets the primary run out of descriptors. It must refuse with a
// complete answer while it can accept, must not use CPU time when it cannot, and must recover
// without a restart.
func TestDescriptorsOfThePrimary(t *testing.T) {
	t.Parallel()
	d, book := New(t, nil), NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{100}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 2, Book: book})
	const free, others = 5, 64 + 266 // others are no connection's: spare ones, and the query process's
	restore := limitDescriptors(t, d.Pid(), freeDescriptor(d.Pid(), free)+others)
	var idle []net.Conn
	for range free + 20 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	if refused := mustRefuse(t, d, "", "no_descriptors"); refused.header.Get("Retry-After") == "" {
		t.Errorf("the refusal has no Retry-After: %+v", refused)
	}
	refusedUpgrade(t, d, "no_descriptors")
	if err := archiver.Write(10); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(10)

	limitDescriptors(t, d.Pid(), 3) // so that no connection can be accepted
	mark, before := d.Mark(), cpuTime(t, d.Pid())
	waiting, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	d.WaitLogAfter(mark, "accept fails", func(l Line) bool {
		return strings.Contains(l.Text, "too many open files")
	})
	d.WaitLogAfter(mark, "it is tried once a second", func(l Line) bool {
		return strings.Contains(l.Text, "retrying in 1s")
	})
	if said := d.Mark() - mark; said > 40 {
		t.Errorf("%d lines of log in about two seconds, want at most 40", said)
	}
	if used := cpuTime(t, d.Pid()) - before; used > time.Second {
		t.Errorf("used %v of CPU time, want at most 1s", used)
	}
	if err := archiver.Write(10); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(20)

	restore()
	for _, conn := range idle {
		_ = conn.Close()
	}
	Until(t, "a collector is let in", func() bool {
		_, err := Connect(t, d.URL, PeerOptions{Key: newKey(t)})
		return err == nil
	}, nil)
	if fleet.Cut() != 0 {
		t.Errorf("collectors were cut: %v", fleet)
	}
	fleet.CheckSame()
	d.Stop()
}

// TestDescriptorsOfAWorker lets a worker run out of descriptors. Only the collector whose socket
// was just sent to it may be lost; the next one must go to another worker.
func TestDescriptorsOfAWorker(t *testing.T) {
	t.Parallel()
	d, book := New(t, Settings{"MAX_WORKERS": 2}), NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{100}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 3, Book: book})
	if err := archiver.Write(10); err != nil { // so that the worker has the segment open
		t.Fatal(err)
	}
	fleet.WaitTotal(10)
	worker := d.Workers()[0]
	limitDescriptors(t, worker.Pid, 3)
	mark := d.Mark()
	p, err := Connect(t, d.URL, PeerOptions{Key: newKey(t)})
	for err == nil { // until the primary knows, at most a second later, sockets go to the first worker
		t.Cleanup(p.Terminate)
		if len(d.Workers()) > 1 {
			break
		}
		p, err = Connect(t, d.URL, PeerOptions{Key: newKey(t)})
	}
	if err != nil {
		d.WaitLogAfter(mark, "the socket is lost", func(l Line) bool {
			return l.Msg == "a socket is lost"
		})
	}
	Until(t, "another worker takes collectors", func() bool {
		p, err = Connect(t, d.URL, PeerOptions{Key: newKey(t)})
		return err == nil && len(d.Workers()) == 2
	}, nil)
	if err := archiver.Write(10); err != nil {
		t.Fatal(err)
	}
	Until(t, "it gets what there is", func() bool { return len(p.Texts()) == 10 }, nil)
	fleet.WaitTotal(20)
	if fleet.Cut() != 0 || worker.Gone(0) {
		t.Errorf("the worker's other collectors were cut: %v", fleet)
	}
	fleet.CheckSame()
	d.Stop()
}
