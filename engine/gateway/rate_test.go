package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestOriginOf(t *testing.T) {
	for remote, want := range map[string]string{
		"1.2.3.4:5": "1.2.3.4", "[::ffff:1.2.3.4]:5": "1.2.3.4",
		"[2001:db8:1:2:3:4:5:6]:7": "2001:db8:1:2::", "[2001:db8:1:2::]:7": "2001:db8:1:2::",
		"[fe80::1%eth0]:7": "fe80::", "127.0.0.1:1": "127.0.0.1", "[::ffff:127.0.0.1]:1": "127.0.0.1",
		"[::1]:1": "::1",
		"":        "invalid IP", "@": "invalid IP", "1.2.3.4": "invalid IP",
	} {
		got := originOf(remote)
		if got.String() != want || got.IsLoopback() != (strings.Contains(remote, "127.") ||
			strings.Contains(remote, "[::1]")) {
			t.Errorf("%s: %v", remote, got)
		}
	}
}

// FuzzOriginOf checks that all addresses of a /64, and all spellings of an IPv4 address, are one
// origin, and that others are not.
func FuzzOriginOf(f *testing.F) {
	f.Add("[2001:db8::1]:80", uint64(1))
	f.Add("[::ffff:10.0.0.1%x]:80", uint64(1<<63))
	f.Add("10.0.0.1:0", uint64(0))
	f.Fuzz(func(t *testing.T, remote string, host uint64) {
		from := originOf(remote)
		at, err := netip.ParseAddrPort(remote)
		if err != nil {
			if from != (origin{}) {
				t.Fatalf("%q: %v", remote, from)
			}
			return
		}
		if again := originOf(netip.AddrPortFrom(from.Addr, 1).String()); again != from {
			t.Fatalf("%q: %v, then %v", remote, from, again)
		}
		addr := at.Addr().WithZone("")
		if addr.Unmap().Is4() {
			if from.Addr != addr.Unmap() {
				t.Fatalf("%q: %v", remote, from)
			}
			return
		}
		b := addr.As16()
		binary.BigEndian.PutUint64(b[8:], host)
		if other := netip.AddrFrom16(b); !other.Is4In6() && !other.IsLoopback() && !addr.IsLoopback() {
			if got := originOf(netip.AddrPortFrom(other, 2).String()); got != from {
				t.Fatalf("%q: %v, its neighbour %v: %v", remote, from, other, got)
			}
		}
		b[7]++
		if got := originOf(netip.AddrPortFrom(netip.AddrFrom16(b), 2).String()); got == from {
			t.Fatalf("%q: %v, also of another network", remote, from)
		}
	})
}

func numbered(n int) origin {
	return origin{netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})}
}

func present() bool { return true }

// take takes a token, without waiting if r.hold is 0.
func take(r *rates, from origin) (grant, bool) {
	return r.take(context.Background(), from,
		present)
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rates
		if _, ok := take(&r, numbered(1)); ok {
			t.Error("a limit without one")
		}
		r.set(10, 10)
		for i := range 25 {
			got, ok := take(&r, numbered(1))
			if !ok || got.allowed != (i < 10) || got.limit != 10 || got.left != max(9-i, 0) {
				t.Fatalf("%d: %+v", i, got)
			}
			if i >= 10 && (got.wait != 100*time.Millisecond || got.reset != time.Second) {
				t.Fatalf("%d: %+v", i, got) // being refused takes no token
			}
		}
		if got, _ := take(&r, numbered(2)); !got.allowed || got.reset != 100*time.Millisecond {
			t.Errorf("another: %+v", got)
		}
		r.set(10, 10) // a reload without a change forgets nothing
		time.Sleep(99 * time.Millisecond)
		if got, _ := take(&r, numbered(1)); got.allowed {
			t.Errorf("too early: %+v", got)
		}
		time.Sleep(time.Millisecond + 1)
		if got, _ := take(&r, numbered(1)); !got.allowed || got.left != 0 {
			t.Errorf("in time: %+v", got)
		}
		r.set(20, 20)
		if got, _ := take(&r, numbered(1)); got.left != 19 {
			t.Errorf("after a reload: %+v", got)
		}
		r.set(0, 0)
		if _, ok := take(&r, numbered(1)); ok {
			t.Error("still limited")
		}
	})
}

// A client that sends its next request after the answer to the last one is never refused, at any
// limit. The same holds for as many clients as the limit lets through while a request is held.
func TestSequentialClientsAreNeverRefused(t *testing.T) {
	for _, c := range []struct{ limit, clients int }{{1, 1}, {3, 3}, {100, 100}, {5000, 300}} {
		synctest.Test(t, func(t *testing.T) {
			r := rates{hold: holdMost}
			r.set(c.limit, c.limit)
			begun := time.Now()
			var clients sync.WaitGroup
			const each = 20
			for range c.clients {
				clients.Go(func() {
					for n := range each {
						if got, _ := take(&r, numbered(1)); !got.allowed {
							t.Errorf("limit %d, %d clients, request %d after %v: %+v", c.limit, c.clients, n,
								time.Since(begun), got)
							return
						}
					}
				})
			}
			clients.Wait()
			// The limit holds.
			least := time.Duration(c.clients*each-c.limit) * time.Second / time.Duration(c.limit)
			if took := time.Since(begun); took < least || took > max(least, 0)+2*time.Millisecond {
				t.Errorf("limit %d: %d requests took %v, not %v", c.limit, c.clients*each, took, least)
			}
		})
	}
}

// Waiting requests get their tokens in the order of arrival. A request that leaves frees its place,
// and a request whose client has gone gets no token.
func TestHeldRequestsAreInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rates{hold: holdMost}
		r.set(10, 1)
		begun := time.Now()
		if got, _ := take(&r, numbered(1)); !got.allowed {
			t.Fatal("the first")
		}
		allowedAt := make([]time.Duration, 6) // 0: refused
		gone := func() bool { return false }
		var clients sync.WaitGroup
		for i := range allowedAt {
			ctx, cancel := context.WithCancel(t.Context())
			alive := present
			switch i {
			case 1:
				time.AfterFunc(50*time.Millisecond, cancel)
			case 3:
				alive = gone
			}
			clients.Go(func() {
				defer cancel()
				if got, _ := r.take(ctx, numbered(1), alive); got.allowed {
					allowedAt[i] = time.Since(begun)
				}
			})
			synctest.Wait()
		}
		if got, _ := take(&r, numbered(2)); !got.allowed || time.Since(begun) != 0 {
			t.Errorf("another address has to wait: %+v", got)
		}
		clients.Wait()
		for i, want := range []int{1, 0, 2, 0, 3, 4} { // tenths of a second
			if got := int(allowedAt[i] / (100 * time.Millisecond)); got != want {
				t.Errorf("%d: after %v", i, allowedAt[i])
			}
		}
	})
}

// A request is held for holdMost, then refused and told when to try again. The queue of requests
// that still wait counts.
func TestHoldingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rates{hold: holdMost}
		r.set(10, 10)
		begun := time.Now()
		var refused, allowed atomic.Int64
		var clients sync.WaitGroup
		for range 50 {
			clients.Go(func() {
				got, _ := take(&r, numbered(1))
				if got.allowed {
					allowed.Add(1)
					return
				}
				refused.Add(1)
				if got.wait <= 0 || got.wait > 4*time.Second || time.Since(begun) != holdMost {
					t.Errorf("%+v after %v", got, time.Since(begun))
				}
			})
		}
		clients.Wait()
		if allowed.Load() < 19 || allowed.Load() > 20 || refused.Load() != 50-allowed.Load() {
			t.Errorf("%d allowed, %d not", allowed.Load(), refused.Load())
		}
		time.Sleep(time.Minute)
		if got, _ := take(&r, numbered(1)); got.left != 9 {
			t.Errorf("something is left of them: %+v", got)
		}
	})
}

// A client with ever new addresses fills the table. But nobody who keeps to the limit is refused by
// that, and origins that stay away are forgotten first.
func TestRatesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rates
		r.set(5, 5)
		for n := range 3 * maxOrigins {
			if got, _ := take(&r, numbered(n)); !got.allowed || len(r.buckets) > maxOrigins {
				t.Fatalf("%d: %+v, %d in the table", n, got, len(r.buckets))
			}
			if n%1000 == 0 { // five of these a second
				time.Sleep(200*time.Millisecond + 1)
				if !takes(&r, origin{}) {
					t.Fatalf("%d: who keeps to the limit is refused", n)
				}
			}
		}
		// A client that floods meanwhile is still refused, nearly always.
		refused := 0
		for n := range maxOrigins {
			take(&r, numbered(1<<22+n))
			if !takes(&r, origin{}) {
				refused++
			}
		}
		if refused < maxOrigins*9/10 {
			t.Errorf("%d of %d refused", refused, maxOrigins)
		}
	})
}

func takes(r *rates, from origin) bool {
	got, _ := take(r, from)
	return got.allowed
}

// from dials from its own address: all of 127.0.0.0/8 is this machine.
func from(t testing.TB, host, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func request(t testing.TB, host, addr, text string) reply {
	t.Helper()
	conn := from(t, host, addr)
	_, _ = conn.Write([]byte(text))
	method, _, _ := strings.Cut(text, " ")
	return leave(answerTo(t, conn, method))
}

const closing = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// call answers a request from an address in this goroutine.
func call(g *Gateway, host, method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = host + ":1234"
	w := httptest.NewRecorder()
	g.handle(w, r)
	return w
}

func TestRequestsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := settingsOf("open")
		settings.RateLimit = 3
		g := newGateway(t, "open", func(o *Options) {
			o.Settings = settings
			o.API = onAllRoutes(func(w http.ResponseWriter, r *http.Request) {
				writeText(w, 200, contentText, "here")
			})
		})
		defer g.stop(nil)
		get := func(host, path string) (int, http.Header, string) {
			w := call(g, host, "GET", path)
			return w.Code, w.Header(), w.Body.String()
		}
		for i := range 3 {
			code, h, _ := get("10.0.0.1", "/config")
			if code != 200 || h.Get("X-RateLimit-Limit") != "3" ||
				h.Get("X-RateLimit-Remaining") != fmt.Sprint(2-i) ||
				h.Get("X-RateLimit-Reset") != "1" || h.Get("Retry-After") != "" {
				t.Errorf("%d: %d %v", i, code, h)
			}
		}
		// The next request is held until it is within the limit.
		begun := time.Now()
		if code, h, _ := get("10.0.0.1", "/config"); code != 200 ||
			h.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("held: %d %v", code, h)
		}
		if held := time.Since(begun); held < 333*time.Millisecond || held > 334*time.Millisecond {
			t.Errorf("held for %v", held)
		}
		// Requests beyond those that can be held are refused in the end, in the replaced service's words.
		var limited atomic.Int64
		var clients sync.WaitGroup
		for range 7 {
			clients.Go(func() {
				code, h, body := get("10.0.0.1", "/nowhere")
				if code == 404 {
					return
				}
				limited.Add(1)
				if !strings.HasPrefix(body,
					`{"statusCode":429,"error":"Too Many Requests","message":"Rate limit exceeded, retry in `) ||
					h.Get("Content-Type") != contentJSON || h.Get("Retry-After") != "1" &&
					h.Get("Retry-After") != "2" ||
					h.Get("X-RateLimit-Remaining") != "0" || h.Get("Access-Control-Allow-Origin") != "*" {
					t.Errorf("%d %v %s", code, h, body)
				}
			})
		}
		synctest.Wait()
		for _, free := range []string{"/is-alive", "/is-healthy"} {
			for _, method := range []string{"GET", "HEAD"} {
				if w := call(g, "10.0.0.1", method, free); w.Code != 200 ||
					w.Header().Get("X-RateLimit-Limit") != fmt.Sprint(healthRate) {
					t.Errorf("%s %s: %d %v", method, free, w.Code, w.Header())
				}
			}
		}
		if code, _, _ := get("10.0.0.2", "/config"); code != 200 ||
			time.Since(begun) > 334*time.Millisecond {
			t.Errorf("another address: %d after %v", code, time.Since(begun))
		}
		clients.Wait()
		if n := g.Snapshot().Refused["rate_limited"]; n != 4 || limited.Load() != 4 {
			t.Errorf("%d counted, %d refused", n, limited.Load())
		}
		settings.RateLimit = 1
		g.Reload(settings)
		g.requests.hold = 0
		if code, h, _ := get("10.0.0.1", "/config"); code != 200 || h.Get("X-RateLimit-Limit") != "1" {
			t.Errorf("%d %v", code, h)
		}
		if code, _, body := get("10.0.0.1", "/config"); code != 429 ||
			!strings.Contains(body, "retry in 1 second") {
			t.Errorf("%d %s", code, body)
		}
	})
}

// Programs on this machine may speak for many clients.
func TestLoopbackIsNotLimited(t *testing.T) {
	g := newGateway(t, "open", func(o *Options) { o.Settings.RateLimit = 1 })
	g.upgrades.set(1, 1)
	g.conns.limit(4, 0)
	addr := serve(t, g)
	for range 5 {
		if got := request(t, "127.0.0.1", addr, "GET /nowhere"+closing); got.status != 404 ||
			got.header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("%+v", got)
		}
		if got := request(t, "127.0.0.1", addr,
			upgradeRequest(target(signedData("known", time.Now(), ""), ""))); got.status != 101 {
			t.Errorf("%+v", got)
		}
	}
	for i := range 4 {
		from(t, "127.0.0.1", addr)
		eventually(t, "all room may be taken", func() bool { return g.Snapshot().Connections == i+1 })
	}
}

func TestUpgradesAreLimited(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.limitLoopback = true
	g.upgrades.hold = 0
	g.upgrades.set(1, 2)
	addr := serve(t, g)
	upgrade := upgradeRequest(target(signedData("known", time.Now(), ""), ""))
	for range 2 {
		if got := request(t, "127.0.0.1", addr, upgrade); got.status != 101 {
			t.Errorf("%+v", got)
		}
	}
	got := request(t, "127.0.0.1", addr, upgrade)
	if got.status != 429 || refusalOf(t, got).Reason != "upgrades_of_address" {
		t.Errorf("%+v", got)
	}
	if got := request(t, "127.0.0.2", addr, upgrade); got.status != 101 {
		t.Errorf("%+v", got)
	}
}

// Neither one address nor a few can shut out others by opening connections.
func TestConnectionsAreShared(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.conns.limit(16, 0)
	g.limitLoopback = true
	addr := serve(t, g)
	open := 0
	var first []net.Conn
	for i, want := range []int{8, 4, 2, 1, 1} {
		host := fmt.Sprintf("127.0.0.%d", i+1)
		for range want {
			first = append(first, from(t, host, addr))
			open++
			eventually(t, "it is open", func() bool { return g.Snapshot().Connections == open })
		}
		if open == 16 {
			break
		}
		if got := request(t, host, addr, ""); got.status != 429 ||
			refusalOf(t, got).Reason != "connections_of_address" {
			t.Errorf("%s has %d, and then: %+v", host, want, got)
		}
	}
	if got := request(t, "127.0.0.6", addr, ""); got.status != 503 ||
		refusalOf(t, got).Reason != "too_many_connections" {
		t.Errorf("%+v", got)
	}
	for _, conn := range first {
		conn.Close()
	}
	eventually(t, "all are closed", func() bool { return g.Snapshot().Connections == 0 })
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	if len(g.conns.held) != 0 {
		t.Errorf("%v", g.conns.held)
	}
}

// Many connections at once, from several addresses (for -race): no count goes wrong.
func TestLimitsUnderLoad(t *testing.T) {
	g := newGateway(t, "open", func(o *Options) { o.Settings.RateLimit = 20 })
	g.requests.hold = 0
	g.limitLoopback = true
	addr := serve(t, g)
	var allowed, limited atomic.Int64
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for range 20 {
				switch got := request(t, fmt.Sprintf("127.0.0.%d", 1+i%4), addr, "GET /x"+closing); got.status {
				case 404:
					allowed.Add(1)
				case 429:
					limited.Add(1)
				default:
					t.Errorf("%+v", got)
				}
			}
		})
	}
	clients.Wait()
	if allowed.Load() < 80 || allowed.Load()+limited.Load() != 160 {
		t.Errorf("%d allowed, %d not", allowed.Load(), limited.Load())
	}
}

func BenchmarkTake(b *testing.B) {
	var r rates
	r.set(100, 100)
	b.ReportAllocs()
	for n := range b.N {
		take(&r, numbered(n%1000))
	}
}

// A full table, with a new address for every request.
func BenchmarkTakeUnderAttack(b *testing.B) {
	var r rates
	r.set(100, 100)
	for n := range maxOrigins {
		take(&r, numbered(n))
	}
	b.ResetTimer()
	b.ReportAllocs()
	for n := range b.N {
		take(&r, numbered(maxOrigins+n))
	}
}
