package worker

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// manualLoop is a loop whose events the test makes one by one, so that the order of its actions can
// be checked.
type manualLoop struct {
	*loop
	t       testing.TB
	frames  *framelog.Writer
	primary int // the primary's end of the control channel
	nextID  uint64
}

func newManualLoop(t testing.TB) *manualLoop {
	t.Helper()
	dir := t.TempDir()
	w, _, err := framelog.OpenWriter(framelog.Options{
		Dir: dir, SegmentBytes: 16 << 20, RetainBytes: 256 << 20, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	control, err := unix.Socketpair(unix.AF_UNIX,
		unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLoop(Options{Control: control[0], Wake: wake, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = l.configure(handoff.Settings{FrameLog: dir, PingIntervalMS: 25_000, PingTimeoutMS: 60_000,
			InputBytes: 64 << 10, InputRate: 16 << 10})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.close()
		unix.Close(control[1])
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &manualLoop{loop: l, t: t, frames: w, primary: control[1]}
}

// sentToPrimary returns the first message to the primary that is wanted.
func (h *manualLoop) sentToPrimary(want func(handoff.Message) bool) handoff.Message {
	h.t.Helper()
	for b := make([]byte, handoff.MaxMessage); ; {
		m, _, err := handoff.Receive(h.primary, b)
		if errors.Is(err, handoff.ErrAgain) && len(h.outbox) > 0 {
			h.flushOutbox() // some messages may be queued
			continue
		}
		if err != nil {
			h.t.Fatalf("the message is not sent to the primary: %v", err)
		}
		if want(m) {
			return m
		}
	}
}

// append commits frames with these payloads.
func (h *manualLoop) append(payloads ...[]byte) {
	h.t.Helper()
	for _, p := range payloads {
		if err := h.frames.Append(wsproto.AppendTextFrame(nil, p),
			framelog.Meta{Stream: 1, Cycle: -1, Time: 1}); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := h.frames.Commit(); err != nil {
		h.t.Fatal(err)
	}
}

// join adds a client whose socket is theirs.
func (h *manualLoop) join(theirs *net.TCPConn, from uint64) *client {
	h.t.Helper()
	raw, err := theirs.SyscallConn()
	if err != nil {
		h.t.Fatal(err)
	}
	fd := -1
	raw.Control(func(ours uintptr) { fd, err = unix.Dup(int(ours)) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.nextID++
	h.add(handoff.Client{ID: h.nextID, Key: "key", From: from, Response: []byte(response)}, fd)
	return h.byID[h.nextID]
}

// wire is a connection whose other end is read continuously.
type wire struct {
	theirs *net.TCPConn
	ours   *net.TCPConn

	mu  sync.Mutex
	got []byte
}

func newWire(t testing.TB) *wire {
	w := &wire{}
	w.ours, w.theirs = dial(t, false)
	t.Cleanup(func() { w.theirs.Close() })
	go func() {
		b := make([]byte, 1<<20)
		for {
			n, err := w.ours.Read(b)
			w.mu.Lock()
			w.got = append(w.got, b[:n]...)
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

// after calls sent, then waits for n bytes after mark, which it writes first. So everything that
// was sent earlier is before the mark.
func (w *wire) after(t testing.TB, mark string, sent func(), n int) []byte {
	t.Helper()
	if _, err := w.theirs.Write([]byte(mark)); err != nil {
		t.Fatal(err)
	}
	sent()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		if at := bytes.Index(w.got, []byte(mark)) + len(mark); at >= len(mark) && len(w.got) >= at+n {
			defer w.mu.Unlock()
			return bytes.Clone(w.got[at : at+n])
		}
		w.mu.Unlock()
		if time.Now().After(end) {
			t.Fatal("the bytes have not arrived")
		}
	}
}

// waitWritable waits until c's socket takes more.
func (h *manualLoop) waitWritable(c *client) {
	h.t.Helper()
	ready := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
	for end := time.Now().Add(2 * time.Minute); ; {
		switch n, err := unix.Poll(ready, 1000); {
		case n == 1:
			return
		case err != nil && err != unix.EINTR, time.Now().After(end):
			h.t.Fatalf("a socket that is read does not become writable: %v", err)
		}
	}
}

// replayBound is the bound of the package doc: how many bytes clients that are behind get at most
// between two reads of the head.
const replayBound = 2<<20 + 256<<10

// The bound holds for any number of clients that replay history, and for all requests of them and
// of new clients. After a new frame the live clients are served first, and between two reads of the
// head the others get at most replayBound. Here the live clients and one that replays write to one
// connection, so its bytes show the order of sends.
func TestReplayIsBounded(t *testing.T) {
	const replaying, livePeers = 40, 3
	h := newManualLoop(t)
	old := bytes.Repeat([]byte("h"), 50_000)
	for range 600 { // 30 MB for each replaying client
		h.append(old)
	}
	w := newWire(t)
	var lives, others []*client
	for range livePeers {
		lives = append(lives, h.join(w.theirs, h.frames.Head()))
	}
	if err := h.turn(); err != nil {
		t.Fatal(err)
	}
	fresh := wsproto.AppendTextFrame(nil, []byte("fresh"))
	for _, round := range []struct {
		name string
		ask  func()
	}{
		{"they join, all at once", func() {
			others = append(others, h.join(w.theirs, 0))
			for range replaying {
				others = append(others, h.join(newWire(t).theirs, 0))
			}
		}},
		{"they are due for a ping", func() {
			for _, c := range others {
				c.pingAt = h.now.Add(-time.Hour)
			}
			h.tick()
		}},
		{"they send pings", func() {
			for _, c := range others {
				h.parse(c, masked(ws.OpPing, []byte("p")))
			}
		}},
		{"their sockets have room again", func() {}},
	} {
		for _, c := range others { // as the poller does
			h.waitWritable(c)
			h.clientEvent(c, unix.EPOLLOUT)
		}
		before := h.stats.SentBytes
		round.ask()
		if n := h.stats.SentBytes - before; n > replayBound {
			t.Fatalf("when %s: %d bytes before the next read of the head, the bound is %d",
				round.name, n, replayBound)
		}
		for _, c := range lives {
			if c.state != live {
				t.Fatalf("when %s: a client that has everything is in state %d", round.name, c.state)
			}
		}
		before = h.stats.SentBytes
		got := w.after(t, "mark: "+round.name, func() {
			h.append([]byte("fresh"))
			if err := h.turn(); err != nil {
				t.Fatal(err)
			}
		}, livePeers*len(fresh))
		if !bytes.Equal(got, bytes.Repeat(fresh, livePeers)) {
			t.Fatalf("when %s: others were served before the live clients: %.60q", round.name, got)
		}
		rest := h.stats.SentBytes - before - livePeers*uint64(len(fresh))
		if rest > replayBound || rest == 0 {
			t.Fatalf("when %s: %d bytes to others in one turn, the bound is %d", round.name, rest,
				replayBound)
		}
	}
}
