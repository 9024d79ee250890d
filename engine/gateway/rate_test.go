package gateway

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOriginOf(t *testing.T) {
	for remote, want := range map[string]string{
		"1.2.3.4:5": "1.2.3.4", "[::ffff:1.2.3.4]:5": "1.2.3.4", "[2001:db8:1:2:3:4:5:6]:7": "2001:db8:1:2::", "[2001:db8:1:2::]:7": "2001:db8:1:2::",
		"[fe80::1%eth0]:7": "fe80::", "127.0.0.1:1": "127.0.0.1", "[::ffff:127.0.0.1]:1": "127.0.0.1", "[::1]:1": "::1",
		"": "invalid IP", "@": "invalid IP", "1.2.3.4": "invalid IP",
	} {
		got := originOf(remote)
		if got.String() != want || got.IsLoopback() != (strings.Contains(remote, "127.") || strings.Contains(remote, "[::1]")) {
			t.Errorf("%s: %v", remote, got)
		}
	}
}

// FuzzOriginOf: all addresses of a /64, and the spellings of an IPv4 address,
// are one origin; others are not.
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

func TestRates(t *testing.T) {
	var r rates
	now := noon
	if _, ok := r.take(numbered(1), now); ok {
		t.Error("a limit without one")
	}
	r.set(10, 10)
	for i := range 25 {
		got, ok := r.take(numbered(1), now)
		if !ok || (got.wait == 0) != (i < 10) || got.limit != 10 || got.left != max(9-i, 0) {
			t.Fatalf("%d: %+v", i, got)
		}
		if i >= 10 && (got.wait != 100*time.Millisecond || got.reset != time.Second) {
			t.Fatalf("%d: %+v", i, got) // being refused takes no token
		}
	}
	if got, _ := r.take(numbered(2), now); got.wait != 0 || got.reset != 100*time.Millisecond {
		t.Errorf("another: %+v", got)
	}
	r.set(10, 10) // a reload without a change forgets nothing
	if got, _ := r.take(numbered(1), now.Add(99*time.Millisecond)); got.wait == 0 {
		t.Errorf("too early: %+v", got)
	}
	if got, _ := r.take(numbered(1), now.Add(100*time.Millisecond)); got.wait != 0 || got.left != 0 {
		t.Errorf("in time: %+v", got)
	}
	r.set(20, 20)
	if got, _ := r.take(numbered(1), now); got.left != 19 {
		t.Errorf("after a reload: %+v", got)
	}
	r.set(0, 0)
	if _, ok := r.take(numbered(1), now); ok {
		t.Error("still limited")
	}
}

// Whoever comes from ever new addresses fills the table, but has nobody refused
// who keeps to the limit, and those that stay away are forgotten first.
func TestRatesAreBounded(t *testing.T) {
	var r rates
	r.set(5, 5)
	now := noon
	for n := range 3 * maxOrigins {
		if got, _ := r.take(numbered(n), now); got.wait != 0 || len(r.buckets) > maxOrigins {
			t.Fatalf("%d: %+v, %d in the table", n, got, len(r.buckets))
		}
		if n%1000 == 0 { // five of these a second
			if now = now.Add(200 * time.Millisecond); !takes(&r, origin{}, now) {
				t.Fatalf("%d: who keeps to the limit is refused", n)
			}
		}
	}
	// One that hammers meanwhile is refused all the same, nearly always.
	refused := 0
	for n := range maxOrigins {
		r.take(numbered(1<<22+n), now)
		if !takes(&r, origin{}, now) {
			refused++
		}
	}
	if refused < maxOrigins*9/10 {
		t.Errorf("%d of %d refused", refused, maxOrigins)
	}
}

func takes(r *rates, from origin, now time.Time) bool {
	got, _ := r.take(from, now)
	return got.wait == 0
}

// from dials from an address of its own: all of 127.0.0.0/8 is this machine.
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
	return answerTo(t, conn, method)
}

const closing = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

func TestRequestsAreLimited(t *testing.T) {
	settings := settingsOf("open")
	settings.RateLimit = 3
	g := newGateway(t, "open", func(o *Options) {
		o.Settings = settings
		o.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { writeText(w, 200, contentText, "here") })
	})
	var now atomic.Int64
	g.now = func() time.Time { return noon.Add(time.Duration(now.Load())) }
	g.limitLoopback = true
	addr := serve(t, g)
	get := func(host, path string) reply { t.Helper(); return request(t, host, addr, "GET "+path+closing) }
	for i := range 3 {
		got := get("127.0.0.1", "/config")
		if h := got.header; got.status != 200 || h.Get("X-RateLimit-Limit") != "3" || h.Get("X-RateLimit-Remaining") != fmt.Sprint(2-i) || h.Get("X-RateLimit-Reset") != "1" || h.Get("Retry-After") != "" {
			t.Errorf("%d: %+v", i, got)
		}
	}
	got := get("127.0.0.1", "/nowhere")
	if h := got.header; got.status != 429 || got.body != `{"statusCode":429,"error":"Too Many Requests","message":"Rate limit exceeded, retry in 334 ms"}` || !got.complete ||
		h.Get("Content-Type") != contentJSON || h.Get("Retry-After") != "1" || h.Get("X-RateLimit-Remaining") != "0" || h.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%+v", got)
	}
	if got := get("127.0.0.1", "/is-alive"); got.status != 200 {
		t.Errorf("health: %+v", got)
	}
	if got := get("127.0.0.1", "/is-healthy"); got.status != 200 {
		t.Errorf("health: %+v", got)
	}
	if got := get("127.0.0.2", "/config"); got.status != 200 {
		t.Errorf("another address: %+v", got)
	}
	if got := request(t, "127.0.0.1", addr, upgradeRequest(target(signedData("known", time.Now(), ""), ""))); got.status != 101 {
		t.Errorf("upgrades are apart: %+v", got)
	}
	now.Store(int64(330 * time.Millisecond))
	if got := get("127.0.0.1", "/config"); got.status != 429 {
		t.Errorf("too early: %+v", got)
	}
	now.Store(int64(334 * time.Millisecond))
	if got := get("127.0.0.1", "/config"); got.status != 200 {
		t.Errorf("in time: %+v", got)
	}
	if n := g.Snapshot().Refused["rate_limited"]; n != 2 {
		t.Errorf("%d counted", n)
	}
	settings.RateLimit = 1
	g.Reload(settings)
	if got := get("127.0.0.1", "/config"); got.status != 200 || got.header.Get("X-RateLimit-Limit") != "1" {
		t.Errorf("%+v", got)
	}
	if got := get("127.0.0.1", "/config"); got.status != 429 || !strings.Contains(got.body, "retry in 1 second") {
		t.Errorf("%+v", got)
	}
}

// Programs on this machine may speak for many.
func TestLoopbackIsNotLimited(t *testing.T) {
	g := newGateway(t, "open", func(o *Options) { o.Settings.RateLimit = 1 })
	g.upgrades.set(1, 1)
	g.conns.max = 4
	addr := serve(t, g)
	for range 5 {
		if got := request(t, "127.0.0.1", addr, "GET /nowhere"+closing); got.status != 404 || got.header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("%+v", got)
		}
		if got := request(t, "127.0.0.1", addr, upgradeRequest(target(signedData("known", time.Now(), ""), ""))); got.status != 101 {
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
	g.now = func() time.Time { return noon }
	g.limitLoopback = true
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

// One address cannot keep others out by opening connections, nor can a few.
func TestConnectionsAreShared(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.conns.max = 16
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
		if got := request(t, host, addr, ""); got.status != 429 || refusalOf(t, got).Reason != "connections_of_address" {
			t.Errorf("%s has %d, and then: %+v", host, want, got)
		}
	}
	if got := request(t, "127.0.0.6", addr, ""); got.status != 503 || refusalOf(t, got).Reason != "too_many_connections" {
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

// Many at once, from several addresses (for -race): no count goes astray.
func TestLimitsUnderLoad(t *testing.T) {
	g := newGateway(t, "open", func(o *Options) { o.Settings.RateLimit = 20 })
	g.now = func() time.Time { return noon }
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
	if allowed.Load() != 80 || limited.Load() != 80 {
		t.Errorf("%d allowed, %d not", allowed.Load(), limited.Load())
	}
}

func BenchmarkTake(b *testing.B) {
	var r rates
	r.set(100, 100)
	b.ReportAllocs()
	for n := range b.N {
		r.take(numbered(n%1000), noon.Add(time.Duration(n)*time.Microsecond))
	}
}

// A table that is full, and every address a new one.
func BenchmarkTakeUnderAttack(b *testing.B) {
	var r rates
	r.set(100, 100)
	for n := range maxOrigins {
		r.take(numbered(n), noon)
	}
	b.ResetTimer()
	b.ReportAllocs()
	for n := range b.N {
		r.take(numbered(maxOrigins+n), noon)
	}
}
