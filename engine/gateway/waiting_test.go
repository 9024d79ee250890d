package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/supervisor"
)

// Far more clients than there is room for connect from one address at once, and all are let in. The
// waiting connections are those without a worker, and no more than allowed are open meanwhile.
func TestFleetFromOneAddress(t *testing.T) {
	var inside, most atomic.Int64
	g := newGateway(t, "open", nil)
	g.conns.limit(8, 1000)
	g.limitLoopback = true
	workers := g.workers
	g.workers = connectFunc(func(ctx context.Context, c supervisor.Client, fd int) error {
		now := inside.Add(1)
		defer inside.Add(-1)
		for {
			if seen := most.Load(); now <= seen || most.CompareAndSwap(seen, now) {
				break
			}
		}
		return workers.Connect(ctx, c, fd)
	})
	t.Cleanup(workers.(*echo).clients.Wait)
	addr := serve(t, g)
	upgrade := upgradeRequest(target(signedData("known", time.Now(), ""), ""))
	var clients sync.WaitGroup
	for range 100 {
		conn := from(t, "127.0.0.1", addr)
		clients.Go(func() {
			if got := answerTo(t, conn, "GET"); got.status != 101 {
				t.Errorf("%+v", got)
			}
		})
		_, _ = io.WriteString(conn, upgrade)
	}
	clients.Wait()
	eventually(t, "all are handed over, nothing is left", func() bool {
		s := g.Snapshot() // counts a client after a worker has answered it
		return s.HandedOver == 100 && s.Connections == 0 && s.Waiting == 0
	})
	if most.Load() > 4 {
		t.Errorf("%d at a time", most.Load())
	}
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	if len(g.conns.held) != 0 || len(g.conns.waiting.queues) != 0 || len(g.conns.waiting.order) != 0 {
		t.Errorf("%v %v %v", g.conns.held, g.conns.waiting.queues, g.conns.waiting.order)
	}
}

// Clients that keep their connections must give them up when others wait: all get their answers.
func TestKeepAliveMakesRoom(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.conns.limit(8, 1000)
	g.limitLoopback = true
	addr := serve(t, g)
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			client := http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer client.CloseIdleConnections()
			for range 10 {
				r, err := client.Get("http://" + addr + "/is-alive")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != 200 {
					t.Errorf("%d %v", r.StatusCode, err)
				}
				r.Body.Close()
			}
		})
	}
	clients.Wait()
}

// The waiting connections of one address block no others, and are refused when their time is over.
func TestWaitingIsShared(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.conns.limit(16, 8)
	g.limitLoopback = true
	addr := serve(t, g)
	for range 12 { // 8 are open, 4 wait: half of each
		from(t, "127.0.0.1", addr)
	}
	eventually(t, "they are open, and wait",
		func() bool { s := g.Snapshot(); return s.Connections == 8 && s.Waiting == 4 })
	if got := request(t, "127.0.0.1", addr, ""); got.status != 429 ||
		refusalOf(t, got).Reason != "connections_of_address" {
		t.Errorf("one more: %+v", got)
	}
	if got := request(t, "127.0.0.2", addr, "GET /is-alive"+closing); got.status != 200 {
		t.Errorf("another: %+v", got)
	}
}

func TestWaitingEnds(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.conns.limit(2, 100)
	g.conns.waiting.most = 20 * time.Millisecond
	addr := serve(t, g)
	for range 2 {
		from(t, "127.0.0.1", addr)
	}
	eventually(t, "two are open", func() bool { return g.Snapshot().Connections == 2 })
	for range 3 {
		if got := request(t, "127.0.0.1", addr, "GET /is-alive"+closing); got.status != 503 ||
			refusalOf(t, got).Reason != "too_many_connections" {
			t.Errorf("%+v", got)
		}
	}
	eventually(t, "none waits", func() bool {
		return g.Snapshot().Waiting == 0 &&
			g.leaving.Load() == 0
	})
}

// exhaust makes requests from 127.0.0.1 be held for at least this long, and returns how many are.
func exhaust(r *rates, least time.Duration) (queued func() int) {
	from := originOf("127.0.0.1:1")
	take(r, from)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = patience
	bucket := r.buckets[from]
	bucket.tokens = -bucket.limit * least.Seconds()
	return func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return bucket.queue.Len()
	}
}

// keepAlive is a connection that serves several requests.
type keepAlive struct {
	*net.TCPConn
	in *bufio.Reader
}

func dialKeepAlive(t *testing.T, addr string) keepAlive {
	conn := from(t, "127.0.0.1", addr).(*net.TCPConn)
	return keepAlive{conn, bufio.NewReader(conn)}
}

func (k keepAlive) get(t *testing.T) *http.Response {
	t.Helper()
	if _, err := io.WriteString(k, "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Error(err)
	}
	r, err := http.ReadResponse(k.in, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	return r
}

// During its grace, a gateway that shuts down answers once more on each of its connections. Only
// then are connections without a request closed, in order. Waiting and held requests finish.
func TestShutdownAnswersWhatIsOnItsWay(t *testing.T) {
	g := newGateway(t, "open", func(o *Options) { o.Settings.RateLimit = 10 })
	g.limitLoopback = true
	g.conns.limit(16, 100)
	addr := serve(t, g)
	used, fresh, silent := dialKeepAlive(t, addr), dialKeepAlive(t, addr), dialKeepAlive(t, addr)
	if r := used.get(t); r.Close {
		t.Error("the first answer says that it is the last")
	}
	var held sync.WaitGroup
	queued := exhaust(&g.requests, 2*time.Second)
	for range 4 {
		conn := from(t, "127.0.0.1", addr)
		held.Go(func() {
			if got := answerTo(t, conn, "GET"); got.status != 404 || !got.closed {
				t.Errorf("held: %+v", got)
			}
			conn.Close()
		})
		_, _ = io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	from(t, "127.0.0.1", addr) // the last of 8 that it may have
	waits := from(t, "127.0.0.1", addr)
	eventually(t, "one waits for room, four are held", func() bool {
		return g.Snapshot().Waiting == 1 && queued() == 4
	})

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	grace := 2 * time.Second
	begun, stopped := time.Now(), make(chan error, 1)
	go func() { stopped <- g.Shutdown(ctx, grace) }()
	eventually(t, "nobody is let in any more", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	for name, k := range map[string]keepAlive{"used": used, "fresh": fresh} {
		if r := k.get(t); r.StatusCode != 200 || !r.Close {
			t.Errorf("%s: %d, the last: %v", name, r.StatusCode, r.Close)
		}
		k.Close()
	}
	_, _ = io.WriteString(waits, "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := answerTo(t, waits, "GET"); got.status != 200 || !got.closed {
		t.Errorf("one that waits: %+v", got)
	}
	waits.Close()
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(begun) < grace {
		t.Errorf("without a request: %v after %v", err, time.Since(begun))
	}
	silent.Close()
	held.Wait()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A client that is refused and closed reads the whole answer and the end, without a reset, even if
// it continues to send.
func TestRefusalsAreNotReset(t *testing.T) {
	g := newGateway(t, "subs", nil)
	g.limitLoopback = true
	addr := serve(t, g)
	more := strings.Repeat("x", 1<<20)
	full := newGateway(t, "open", nil)
	full.conns.limit(0, 0)
	busy := newGateway(t, "open", func(o *Options) {
		o.Workers = connectFunc(func(context.Context, supervisor.Client, int) error {
			return supervisor.ErrFull
		})
	})
	limited := newGateway(t, "open", nil)
	limited.limitLoopback, limited.upgrades.hold = true, 0
	limited.upgrades.set(1, 1)
	take(&limited.upgrades, originOf("127.0.0.1:1"))
	limited.upgrades.buckets[originOf("127.0.0.1:1")].tokens = -1000
	upgrade := upgradeRequest(target(signedData("known", time.Now(), ""), ""))
	addrs := map[*Gateway]string{g: addr, full: serve(t, full), busy: serve(t, busy),
		limited: serve(t, limited)}
	for _, c := range []struct {
		name    string
		gateway *Gateway
		request string
		status  int
	}{
		{"a body that nobody reads", g,
			fmt.Sprintf("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 5<<20), 404},
		{"no HTTP", g, "hello\r\n\r\n", 400},
		{"a long header", g, "GET / HTTP/1.1\r\nHost: x\r\nX: " + more + more, 431},
		{"an upgrade without entitlement", g, upgradeRequest("/?data={}"), 401},
		{"an upgrade over the limit", limited, upgrade, 429},
		{"an upgrade that no worker takes", busy, upgrade, 503},
		{"no room", full, upgrade, 503},
	} {
		for tries := 10; ; tries-- {
			conn := from(t, "127.0.0.1", addrs[c.gateway])
			begun := time.Now()
			_, err := io.WriteString(conn, c.request+strings.Repeat(more, 4)) // and reads only then
			if took := time.Since(begun); took > lingerTimeout/2 && tries > 0 {
				conn.Close() // the machine is too busy to send in time
				continue
			}
			got := answerTo(t, conn, "POST")
			if err != nil || got.status != c.status || !got.complete || !got.closed {
				t.Errorf("%s: got %+v, sending: %v; want %d, complete", c.name, got, err, c.status)
			}
			conn.Close()
			break
		}
	}
}

// A request whose client has gone takes no place from others, even if its body is unread.
func TestHeldClientsThatLeave(t *testing.T) {
	g := newGateway(t, "open", func(o *Options) { o.Settings.RateLimit = 5 })
	g.limitLoopback = true
	addr := serve(t, g)
	queued := exhaust(&g.requests, 2*time.Second)
	begun := time.Now()
	var leaving []net.Conn
	for i := range 5 { // a second's
		conn := from(t, "127.0.0.1", addr)
		leaving = append(leaving, conn)
		_, _ = io.WriteString(conn, "POST /receipt HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		eventually(t, "it waits", func() bool { return queued() == i+1 })
	}
	for _, conn := range leaving {
		conn.Close()
	}
	if got := request(t, "127.0.0.1", addr, "GET /x"+closing); got.status != 404 {
		t.Errorf("%+v after %v", got, time.Since(begun))
	}
	eventually(t, "all are known to have left",
		func() bool { return g.Snapshot().Refused["client_gone"] == 5 })
}

// Clients that leave while they wait for room give up their place; clients that stay keep theirs.
func TestWaitingClientsThatLeave(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.conns.limit(2, 20)
	addr := serve(t, g)
	holder := from(t, "127.0.0.1", addr)
	from(t, "127.0.0.1", addr)
	eventually(t, "two are open", func() bool { return g.Snapshot().Connections == 2 })
	var leaving []net.Conn
	for range 10 {
		leaving = append(leaving, from(t, "127.0.0.1", addr))
	}
	stays := from(t, "127.0.0.1", addr)
	_, _ = io.WriteString(stays, "GET /is-alive"+closing)
	for range 9 {
		leaving = append(leaving, from(t, "127.0.0.2", addr))
	}
	eventually(t, "the line is full", func() bool { return g.Snapshot().Waiting == 20 })
	for _, conn := range leaving {
		_, _ = io.WriteString(conn, "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n") // nobody reads it
		conn.Close()
	}
	eventually(t, "one waits, 19 have left", func() bool {
		s := g.Snapshot()
		return s.Waiting == 1 && s.Refused["client_gone"] == 19
	})
	g.conns.mu.Lock()
	if len(g.conns.waiting.queues) != 1 || len(g.conns.waiting.order) != 1 {
		t.Errorf("%v, by turns %v", g.conns.waiting.queues, g.conns.waiting.order)
	}
	g.conns.mu.Unlock()
	holder.Close()
	if got := answerTo(t, stays, "GET"); got.status != 200 {
		t.Errorf("the one that stayed: %+v", got)
	}
	stays.Close()
}

// A refused client that then does nothing is closed long before the time limit of a request, even
// if the server's goroutine begins with the connection only after it was retired.
func TestNothingIsKeptForLong(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.conns.limit(1, 0)
	addr := serve(t, g)
	from(t, "127.0.0.1", addr)
	eventually(t, "one is open", func() bool { return g.Snapshot().Connections == 1 })
	begun := time.Now()
	for range 20 {
		from(t, "127.0.0.1", addr)
	}
	eventually(t, "20 are turned away",
		func() bool { return g.Snapshot().Refused["too_many_connections"] == 20 })
	eventually(t, "they are gone", func() bool { return g.leaving.Load() == 0 })

	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	silent := must(net.Dial("tcp", l.Addr().String()))
	defer silent.Close()
	w := newWatched(must(l.Accept()).(*net.TCPConn))
	w.retire(0)
	_ = w.SetReadDeadline(time.Now().Add(headerTimeout))
	if n, err := w.Read(make([]byte, 1)); n != 0 || !isTimeout(err) {
		t.Errorf("%d %v", n, err)
	}
	_ = w.Close()
	if took := time.Since(begun); took > headerTimeout {
		t.Errorf("%v", took)
	}
}

// Connections do not use the descriptors that the HTTP API may need.
func TestReservedDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ free, status int }{{free: 0, status: 503}, {free: 1000, status: 200}} {
		g := newGateway(t, "open", func(o *Options) {
			o.Reserved = int(limit.Cur) - c.free - spareDescriptors
		})
		got := request(t, "127.0.0.1", serve(t, g), "GET /is-alive"+closing)
		if got.status != c.status || got.status == 503 && refusalOf(t, got).Reason != "no_descriptors" {
			t.Errorf("%d free: %+v", c.free, got)
		}
	}
}
