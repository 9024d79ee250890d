package enginetest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// mischief sends bytes, waits at most wait for the beginning of an answer, and closes the
// connection, with a reset if reset is true.
func mischief(t testing.TB, address, send string, wait time.Duration, reset bool) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, send) // it may be refused before its end
	if wait > 0 {
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		_, _ = conn.Read(make([]byte, 100))
	}
	if reset {
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
}

// TestClientsRaiseNoAlert checks that nothing that a client does to either listener is logged above
// info. Else strangers could raise the operator's alerts on warnings and errors.
func TestClientsRaiseNoAlert(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, Settings{"LOG_LEVEL": "debug", "COMPRESSION_LEVEL": 1, "RATE_LIMIT": 1_000_000,
		"FRAME_LOG_BYTES": 1 << 20, "FRAME_LOG_SEGMENT_BYTES": 1 << 20, "DRAIN_MS": 100})
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{20_000}})
	d.Start()
	well(t, d)
	behind := newKey(t)
	MustConnect(t, d.URL, PeerOptions{Key: behind}).Terminate()
	if err := archiver.Write(200); err != nil {
		t.Fatal(err)
	}
	mark := d.Mark()
	public, admin := strings.TrimPrefix(d.URL, "http://"), strings.TrimPrefix(d.admin(), "http://")
	const host = "Host: localhost\r\n"
	scrape := "GET /metrics HTTP/1.1\r\n" + host + "Accept: text/plain;version=0.0.4\r\n\r\n"
	upgrade := "GET /?data=x HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for _, address := range []string{public, admin} {
		for _, send := range []string{
			"", "\x16\x03\x01\x02\x00\x01\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET",
			"GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\x00\xff\r\n\r\n",
			"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\n" + host + "\r\n",
			"GET / HTTP/1.1\r\n" + host + "A: " + strings.Repeat("y", 64<<10) + "\r\n\r\n",
			"POST / HTTP/1.1\r\n" + host + "Content-Length: x\r\n\r\n",
			"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n",
			"POST /account HTTP/1.1\r\n" + host + "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{", "POST /account HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
			"PUT /log-level HTTP/1.1\r\n" + host + "Content-Length: 9\r\n\r\nnonsense!", "PUT /log-level HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 5\r\n\r\nerror", "PUT /log-level HTTP/1.1\r\n" + host + "Content-Length: 50\r\n\r\nx",
			scrape, strings.Repeat(scrape, 50), strings.Replace(scrape, "text/plain",
				"application/openmetrics-text", 1), strings.Replace(scrape, "Accept:",
				"Accept-Encoding: gzip\r\nAccept:", 1),
			"GET /events HTTP/1.1\r\n" + host + "\r\n", "GET /status HTTP/1.1\r\n" + host + "\r\n",
			"GET /is-healthy HTTP/1.1\r\n" + host + "\r\n",
			"GET /debug/pprof/worker/1/heap HTTP/1.1\r\n" + host + "\r\n",
			"GET /debug/pprof/worker/1/profile?seconds=1 HTTP/1.1\r\n" + host + "\r\n",
			"GET /debug/pprof/query/profile?seconds=1 HTTP/1.1\r\n" + host + "\r\n",
			"GET /debug/pprof/worker/77/heap HTTP/1.1\r\n" + host + "\r\n",
			"GET /debug/pprof/profile?seconds=1 HTTP/1.1\r\n" + host + "\r\n",
			"GET /debug/pprof/goroutine?debug=2 HTTP/1.1\r\n" + host + "\r\n",
			upgrade, strings.Replace(upgrade, "Version: 13", "Version: 8", 1),
			strings.Replace(upgrade, "GET", "POST", 1), strings.Replace(upgrade, "data=x",
				"data=%7B%7D&data=%7B%7D", 1),
		} {
			for _, wait := range []time.Duration{0, 50 * time.Millisecond} {
				mischief(t, address, send, wait, false)
				mischief(t, address, send, wait, true)
			}
		}
	}
	// Collectors that break the protocol, reset, do not read, reconnect too late, and connect twice.
	for _, send := range [][]byte{{0x81, 0x01, 'x'}, {0xff, 0xff},
		{0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe}, bytes.Repeat([]byte{0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0},
			20_000),
		{0x88, 0x82, 0, 0, 0, 0, 0, 1}, append([]byte{0x88, 0x85, 0, 0, 0, 0, 0x0f, 0xa0}, "\u202e"...),
		{0x89, 0xff}} {
		for _, compress := range []bool{false, true} {
			conn, _, _, err := handshake(d.URL, PeerOptions{Key: newKey(t), Compress: compress,
				From: "earliest"}, 0, send)
			if err == nil {
				_ = conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		}
	}
	stalled := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), Deaf: true, From: "earliest"})
	for range 3 {
		MustConnect(t, d.URL, PeerOptions{Key: behind})
	}
	for _, from := range []string{"nonsense", "earliest"} {
		_, _ = Connect(t, d.URL, PeerOptions{Key: newKey(t), Type: "NONSENSE", From: from})
		_, _ = Connect(t, d.URL, PeerOptions{Key: newKey(t), Notices: "nonsense", From: from})
	}
	// Wait until the log has all of the above.
	if code, _ := ask(t, "GET", d.URL+"/debug/nothing", ""); code != http.StatusNotFound {
		t.Errorf("got status %d, want 404", code)
	}
	d.WaitLogAfter(mark, "a refusal", func(l Line) bool { return l.Msg == "request refused" })
	d.WaitLogAfter(mark, "one that misses records", func(l Line) bool {
		return strings.HasPrefix(l.Msg, "a collector was away for longer")
	})
	for _, process := range []string{"", "worker/1/", "query/"} {
		Until(t, "profiles that nobody waits for have come to their end", func() bool {
			code, dump := ask(t, "GET", d.admin()+"/debug/pprof/"+process+"goroutine?debug=2", "")
			return code == http.StatusOK && !strings.Contains(dump, "net/http/pprof.Profile(")
		}, nil)
	}
	Until(t, "the status counts those that miss records", func() bool {
		return statusOf(t, d.admin()).HTTP.Missed > 0
	}, nil)
	if s := statusOf(t, d.admin()); s.Logged["warn"] != 0 || s.Logged["error"] != 0 {
		t.Errorf("log lines by level: got %v, want no warnings and no errors", s.Logged)
	}
	stalled.Terminate()
	d.Stop()
	raised := func(l Line) bool {
		late := RaceEnabled && l.Msg == "worker killed" // the race detector delays an exit by a second
		return l.Level != "INFO" && l.Level != "DEBUG" && !late
	}
	for _, l := range d.Log(raised) {
		t.Errorf("a client has caused this line: %s", l.Text)
	}
}
