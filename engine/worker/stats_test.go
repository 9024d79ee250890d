package worker

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// publishAged commits one frame that was appended age ago.
func (b *bench) publishAged(age time.Duration) {
	b.t.Helper()
	frame := wsproto.AppendTextFrame(nil, []byte("{}"))
	if err := b.frames.Append(frame, framelog.Meta{Stream: 1, Cycle: -1,
		Time: time.Now().Add(-age).UnixNano()}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.frames.Commit(); err != nil {
		b.t.Fatal(err)
	}
	b.all = append(b.all, frame)
	b.ring()
}

func (b *bench) stats(want func(*handoff.Stats) bool) *handoff.Stats {
	b.t.Helper()
	return b.next(func(m handoff.Message) bool { return m.Stats != nil && want(m.Stats) }).Stats
}

func sum(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// A turn that serves three live clients takes two samples, a turn that serves one takes one. Each
// sample counts in the bucket of its age.
func TestLatencySamples(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	head := b.frames.Head()
	peers := []*peer{b.connect(head, nil, false)}
	b.stats(func(s *handoff.Stats) bool { return s.Clients == 1 }) // it is live now
	b.publishAged(300 * time.Millisecond)
	peers[0].data()
	s := b.stats(func(s *handoff.Stats) bool { return s.Clients == 1 && s.Sends > 0 })
	i, _ := slices.BinarySearch(handoff.LatencyBounds[:], s.LatencyMax)
	if s.Latency.Counts[i] != 1 || sum(s.Latency.Counts[:]) != 1 || s.LatencyMax < 0.3 ||
		s.Latency.Sum != s.LatencyMax {
		t.Fatalf("%+v", s)
	}
	for range 2 {
		peers = append(peers, b.connect(b.frames.Head(), nil, false))
	}
	b.stats(func(s *handoff.Stats) bool { return s.Clients == 3 })
	b.publishAged(30 * time.Second)
	for _, p := range peers {
		p.data()
	}
	s = b.stats(func(s *handoff.Stats) bool { return s.Sends == 4 })
	if last := len(s.Latency.Counts) - 1; s.Latency.Counts[last] != 2 ||
		sum(s.Latency.Counts[:]) != 3 || s.LatencyMax < 30 {
		t.Fatalf("%+v", s)
	}
	// A client that reads history is not live, so it is not sampled.
	late := b.connect(head, nil, false)
	late.want(b, 0, 2)
	s = b.stats(func(s *handoff.Stats) bool { return s.Clients == 4 })
	if sum(s.Latency.Counts[:]) != 3 {
		t.Fatalf("a replay was sampled as latency: %+v", s)
	}
	if n := sum(s.Lag.Counts[:]); s.Lag.Counts[0] != n || n < 4 || s.Head != b.frames.Head() ||
		s.MinCursor != s.Head || len(s.Slowest) != 0 {
		t.Fatalf("nobody is behind: %+v", s)
	}
}

func TestSlowestClients(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	live := b.connect(0, nil, false)
	stalled := b.connect(0, nil, true)
	b.publishAged(time.Hour)
	const frame = 64 << 10
	for range 256 { // more than the buffers of a socket take
		b.publish(frame)
	}
	live.want(b, 0, len(b.all))
	s := b.stats(func(s *handoff.Stats) bool {
		return s.Blocked == 1 && s.MinCursor > 0 && s.Head == b.frames.Head()
	})
	if len(s.Slowest) != 1 {
		t.Fatalf("%+v", s.Slowest)
	}
	slow := s.Slowest[0]
	if slow.ID != stalled.id || slow.Key != fmt.Sprint("key-", stalled.id) || !slow.Blocked ||
		slow.Cursor != s.MinCursor || slow.Cursor >= s.Head {
		t.Fatalf("%+v, head %d", slow, s.Head)
	}
	if slow.Seconds < 365*24*3600 { // append's frames are from 1970
		t.Errorf("age %f s", slow.Seconds)
	}
	if n := sum(s.Lag.Counts[:]); n == s.Lag.Counts[0] {
		t.Errorf("a lag of %d bytes is not counted: %+v", s.Head-slow.Cursor, s.Lag)
	}
}

func TestInsertSlow(t *testing.T) {
	for range 200 {
		var worst []handoff.Slow
		var all []uint64
		for i := range rand.IntN(2 * handoff.MaxSlowest) {
			c := &client{id: uint64(i), cursor: uint64(rand.IntN(50))}
			all = append(all, c.cursor)
			worst = insertSlow(worst, c)
		}
		slices.Sort(all)
		if want := min(len(all), handoff.MaxSlowest); len(worst) != want {
			t.Fatalf("%d of %d", len(worst), want)
		}
		for i, w := range worst {
			if w.Cursor != all[i] {
				t.Fatalf("place %d: %d, want %d", i, w.Cursor, all[i])
			}
		}
	}
}

// A worker answers one request for a profile on a socket that it gets from the primary.
func TestProfile(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	for _, c := range []struct {
		path, want string
		status     int
	}{{"/debug/pprof/goroutine?debug=1", "distributor/engine/worker.Run", 200}, {"/", "404", 404}} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.primary.SendProfile(fds[1], time.Minute); err != nil {
			t.Fatal(err)
		}
		unix.Close(fds[1])
		file := os.NewFile(uintptr(fds[0]), "ours")
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(2 * time.Minute))
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", c.path)
		in := bufio.NewReader(conn)
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != c.status || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %s %v\n%.300s", c.path, answer.Status, err, body)
		}
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection stays open: %v", c.path, err)
		}
		conn.Close()
	}
}

// BenchmarkTurn measures a wake-up for one new frame of 1 KiB: giving it to a number of live
// clients, sampling included. The sockets are connected UDP sockets, whose send costs about the
// same as with TCP, and which are never full.
func BenchmarkTurn(b *testing.B) {
	for _, clients := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			dir := b.TempDir()
			w, _, err := framelog.OpenWriter(framelog.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			reader, err := framelog.OpenReader(dir)
			if err != nil {
				b.Fatal(err)
			}
			sink, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				b.Fatal(err)
			}
			defer sink.Close()
			l := &loop{frames: reader, log: slog.New(slog.DiscardHandler)}
			defer l.close()
			for range clients {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
				if err != nil {
					b.Fatal(err)
				}
				to := &unix.SockaddrInet4{Port: sink.LocalAddr().(*net.UDPAddr).Port,
					Addr: [4]byte{127, 0, 0, 1}}
				if err := unix.Connect(fd, to); err != nil {
					b.Fatal(err)
				}
				c := &client{fd: fd, state: behind}
				l.clients = append(l.clients, c)
				l.place(c, live)
			}
			frame := wsproto.AppendTextFrame(nil, make([]byte, 1<<10))
			b.ReportAllocs()
			for b.Loop() {
				l.now = time.Now()
				if err := w.Append(frame, framelog.Meta{Stream: 1, Time: l.now.UnixNano()}); err != nil {
					b.Fatal(err)
				}
				if err := w.Commit(); err != nil {
					b.Fatal(err)
				}
				if err := l.turn(); err != nil {
					b.Fatal(err)
				}
			}
			if len(l.live) != clients || sum(l.stats.Latency.Counts[:]) == 0 {
				b.Fatalf("%d live, %+v", len(l.live), l.stats)
			}
		})
	}
}

// BenchmarkMeasure measures the cost of a sample, with the frame's time read and cached.
func BenchmarkMeasure(b *testing.B) {
	dir := b.TempDir()
	w, _, err := framelog.OpenWriter(framelog.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	frame := wsproto.AppendTextFrame(nil, make([]byte, 200))
	for range 50_000 {
		if err := w.Append(frame, framelog.Meta{Stream: 1, Time: time.Now().UnixNano()}); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		b.Fatal(err)
	}
	reader, err := framelog.OpenReader(dir)
	if err != nil {
		b.Fatal(err)
	}
	l := &loop{frames: reader, head: reader.Head()}
	defer l.close()
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprint("known=", known), func(b *testing.B) {
			c := &client{cursor: l.head}
			b.ReportAllocs()
			for b.Loop() {
				if !known {
					l.sampled.offset = 0
				}
				l.measure(c, 0)
			}
		})
	}
}

// A client may get frames that were committed after the turn began. Then its lag is 0.
func TestLagBeyondTheHeadIsZero(t *testing.T) {
	h := newManualLoop(t)
	c := h.join(newWire(t).theirs, 0)
	h.append(record)
	h.serve(c) // by the frame log's own head
	if c.cursor <= h.head {
		t.Fatalf("the client is at %d, the head that was seen at %d", c.cursor, h.head)
	}
	h.report()
	if h.lag(c) != 0 || h.stats.MinCursor > h.stats.Head || h.stats.Lag.Sum != 0 {
		t.Errorf("%d behind; smallest cursor %d of %d, sum of lags %v", h.lag(c), h.stats.MinCursor,
			h.stats.Head, h.stats.Lag.Sum)
	}
}
