package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/wsproto/shardus"
)

// Every reason has its own name that can be a metric label, and is in the list.
func TestReasonsAreLabels(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range reasons {
		if strings.Trim(r.name, "abcdefghijklmnopqrstuvwxyz_") != "" || seen[r.name] ||
			http.StatusText(r.status) == "" {
			t.Errorf("%+v", r)
		}
		seen[r.name] = true
	}
	if got := newGateway(t, "open", nil).Snapshot().Refused; len(got) != len(reasons) {
		t.Errorf("%d of %d reasons", len(got), len(reasons))
	}
}

func TestLogIsBounded(t *testing.T) {
	var out bytes.Buffer
	now := noon
	l := newLedger(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now })
	lines := func() int { return strings.Count(out.String(), "\n") }
	for range 1000 {
		l.add(wrongSignature, "detail", "1.2.3.4:5")
	}
	l.add(replayed, "another", "1.2.3.4:5")
	if lines() != 2 || !strings.Contains(out.String(), "reason=wrong_signature") {
		t.Errorf("%s", &out)
	}
	now = now.Add(logEvery)
	l.add(wrongSignature, "detail", "1.2.3.4:5")
	if lines() != 3 || !strings.Contains(out.String(), "count=1000 total=1001") {
		t.Errorf("%s", &out)
	}
	if got := l.counts(); got["wrong_signature"] != 1001 || got["replayed"] != 1 || got["full"] != 0 {
		t.Errorf("%v", got)
	}
}

// Neither signatures nor URLs reach the log.
func TestLogTellsNoSignature(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	g := newGateway(t, "subs", func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, nil))
	})
	addr := serve(t, g)
	data := signedData("unknown", time.Now(), "")
	changed := strings.Replace(signedData("known", time.Now(), ""), `FIREHOSE"`, `FIREHOSE","x":1`, 1)
	for _, d := range []string{data, changed, "x" + data, `"` + strings.Repeat("y", 4000) + `"`} {
		exchange(t, addr, upgradeRequest(target(d, "")))
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.Count(out.String(), "\n") != 4 || strings.Contains(out.String(), "data=") ||
		strings.Contains(out.String(), data[strings.Index(data, `"sig":"`)+7:][:30]) {
		t.Errorf("%s", &out)
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 700 {
			t.Errorf("long: %s", line)
		}
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestReload(t *testing.T) {
	g := newGateway(t, "subs", nil)
	addr := serve(t, g)
	try := func(name string) string {
		got := exchange(t, addr, upgradeRequest(target(signedData(name, time.Now(), ""), "")))
		if got.status == 101 {
			return ""
		}
		return refusalOf(t, got).Reason
	}
	unknown := must(shardus.ParsePublicKey(keys["unknown"].PublicKey))
	if why := try("unknown"); why != "unknown_subscriber" ||
		g.Expiry(keys["unknown"].PublicKey).After(time.Now()) {
		t.Errorf("before: %q", why)
	}
	s := settingsOf("subs")
	end := time.Now().Add(time.Hour)
	s.Subscribers = []Subscriber{{Key: unknown, Type: "FIREHOSE", Expires: time.Unix(1, 0)},
		{Key: unknown, Type: "FIREHOSE", Expires: end}}
	g.Reload(s)
	if why := try("unknown"); why != "" ||
		!g.Expiry(strings.ToUpper(keys["unknown"].PublicKey)).Equal(end) {
		t.Errorf("after: %q", why)
	}
	if why := try("known"); why != "unknown_subscriber" {
		t.Errorf("taken out: %q", why)
	}
	s.HandshakeWindow = time.Nanosecond
	g.Reload(s)
	if got := exchange(t, addr, upgradeRequest(target(signedData("unknown",
		time.Now().Add(-time.Second), ""), ""))); refusalOf(t, got).Reason != "timestamp_too_old" {
		t.Errorf("%+v", got)
	}
	s.HashKey[0]++
	s.LimitToSubscribersOnly = false
	g.Reload(s)
	if why := try("unknown"); why != "wrong_signature" || !g.Expiry("anything").IsZero() {
		t.Errorf("other hash key: %q", why)
	}
	g.Reload(settingsOf("open"))
	if why := try("unknown"); why != "" {
		t.Errorf("open: %q", why)
	}
}

// Settings change as a whole while requests are checked (for -race).
func TestReloadUnderLoad(t *testing.T) {
	g := newGateway(t, "subs", nil)
	addr := serve(t, g)
	done := make(chan struct{})
	var reloads sync.WaitGroup
	reloads.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
				g.Reload(settingsOf([]string{"open", "subs"}[n%2]))
				g.Snapshot()
			}
		}
	})
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for n := range 25 {
				data := signedData("known", time.Now(), fmt.Sprintf(`,"n":%d`, 100*i+n))
				if got := exchange(t, addr, upgradeRequest(target(data, ""))); got.status != 101 {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	clients.Wait()
	close(done)
	reloads.Wait()
}

func TestConnectionsAreCapped(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.conns.limit(2, 0)
	addr := serve(t, g)
	upgrade := upgradeRequest(target(signedData("known", time.Now(), ""), ""))

	// Clients of workers do not count.
	for range 3 {
		if got := exchange(t, addr, upgrade); got.status != 101 {
			t.Fatalf("%+v", got)
		}
		eventually(t, "handed over", func() bool { return g.Snapshot().Connections == 0 })
	}
	silent := []net.Conn{must(net.Dial("tcp", addr)), must(net.Dial("tcp", addr))}
	eventually(t, "two are open", func() bool { return g.Snapshot().Connections == 2 })
	if got := exchange(t, addr, ""); got.status != 503 ||
		refusalOf(t, got).Reason != "too_many_connections" {
		t.Errorf("%+v", got)
	}
	if s := g.Snapshot(); s.Connections != 2 || s.Refused["too_many_connections"] != 1 {
		t.Errorf("%+v", s)
	}
	silent[0].Close()
	eventually(t, "one is open", func() bool { return g.Snapshot().Connections == 1 })
	if got := exchange(t, addr, upgrade); got.status != 101 {
		t.Errorf("%+v", got)
	}
	silent[1].Close()
	if s := g.Snapshot(); s.Malformed != 0 {
		t.Errorf("silence is not malformed: %+v", s)
	}
}

func TestMalformed(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.server.ReadHeaderTimeout = 50 * time.Millisecond
	addr := serve(t, g)
	long := "GET /?data=" + strings.Repeat("x", 16<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n"
	for i, c := range []struct {
		name, request string
		status        int // 0: no answer
	}{
		{"no HTTP", "\x16\x03\x01hello\r\n\r\n", 400},
		{"bad escape", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"long line", long, 431},
		{"long header", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 16<<10) + "\r\n\r\n",
			431},
		{"never ending header", "GET / HTTP/1.1\r\nHost: x\r\nX: y", 0},
	} {
		got := exchange(t, addr, c.request)
		if got.status != c.status {
			t.Errorf("%s: %+v", c.name, got)
		}
		eventually(t, c.name+" is counted",
			func() bool { return g.Snapshot().Malformed == uint64(i+1) && g.Snapshot().Connections == 0 })
	}
	// A slow client that finishes in time is not disconnected.
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = conn.Write([]byte("GET /is-alive HTTP/1.1\r\n"))
	_, _ = conn.Write([]byte("Host: x\r\nConnection: close\r\n\r\n"))
	if got := answerTo(t, conn, "GET"); got.status != 200 {
		t.Errorf("%+v", got)
	}
	// Just within the limit: 16 KiB in all.
	request := upgradeRequest(target(signedData("known", time.Now(), ""), "&pad="))
	request = strings.Replace(request, "&pad=", "&pad="+strings.Repeat("x", 16<<10-len(request)), 1)
	if got := exchange(t, addr, request); got.status != 101 {
		t.Errorf("%d bytes: %+v", len(request), got)
	}
	if n := g.Snapshot().Malformed; n != 6 {
		t.Errorf("%d malformed", n)
	}
}

// The gateway does not wait for a client that stops in the middle of a body, or does not read its
// answer.
func TestSlowBody(t *testing.T) {
	g := newGateway(t, "open", func(o *Options) {
		o.API = onAllRoutes(func(w http.ResponseWriter, r *http.Request) {
			for block := make([]byte, 1<<20); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		})
	})
	g.server.ReadTimeout, g.server.WriteTimeout = 50*time.Millisecond, 100*time.Millisecond
	addr := serve(t, g)
	for _, request := range []string{"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", "GET /config HTTP/1.1\r\nHost: x\r\n\r\n"} {
		conn := must(net.Dial("tcp", addr))
		defer conn.Close()
		_, _ = io.WriteString(conn, request)
		eventually(t, "it is there", func() bool { return g.Snapshot().Connections == 1 })
		eventually(t, "it is given up", func() bool { return g.Snapshot().Connections == 0 })
	}
}

func TestPanics(t *testing.T) {
	var out bytes.Buffer
	g := newGateway(t, "open", func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&out, nil))
		o.API = onAllRoutes(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/receipt" {
				_, _ = io.WriteString(w, "half of")
				_ = http.NewResponseController(w).Flush()
			}
			panic("kaboom")
		})
	})
	addr := serve(t, g)
	post := func(path string) reply {
		return exchange(t, addr, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	}
	if got := post("/cycleinfo"); got.status != 500 || !got.complete || !got.closed ||
		strings.Contains(got.body, "kaboom") {
		t.Errorf("%+v", got)
	}
	if got := post("/receipt"); got.complete {
		t.Errorf("half an answer passes for a whole one: %+v", got)
	}
	eventually(t, "both are counted", func() bool { return g.Snapshot().Refused["panic"] == 2 })
	if !strings.Contains(out.String(), "level=ERROR") ||
		!strings.Contains(out.String(), "kaboom") || !strings.Contains(out.String(), "gateway_test.go") {
		t.Errorf("%s", &out)
	}
	if got := exchange(t, addr, "GET /is-alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); got.status != 200 {
		t.Errorf("%+v", got)
	}
}

// Shutdown lets a request finish.
func TestShutdownWaits(t *testing.T) {
	there, goOn := make(chan struct{}), make(chan struct{})
	g := newGateway(t, "open", func(o *Options) {
		o.API = onAllRoutes(func(w http.ResponseWriter, r *http.Request) {
			close(there)
			<-goOn
			_, _ = io.WriteString(w, "done")
		})
	})
	addr := serve(t, g)
	answered := make(chan reply)
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_, _ = conn.Write([]byte("GET /config HTTP/1.1\r\nHost: x\r\n\r\n"))
	<-there
	go func() { answered <- answerTo(t, conn, "GET") }()
	stopped := make(chan error)
	go func() { stopped <- g.Shutdown(context.Background(), 0) }()
	eventually(t, "nobody is let in any more", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(goOn)
	if got := <-answered; got.body != "done" || !got.complete {
		t.Errorf("%+v", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestServeFails(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	l.Close()
	if err := newGateway(t, "open", nil).Serve(l); err == nil ||
		!strings.HasPrefix(err.Error(), "gateway: serve: ") {
		t.Errorf("%v", err)
	}
}
