package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A foreign page makes an operator's browser send these bytes. None of the requests changes the log
// level, starts a profile or lets the page read an answer.
func TestForeignPages(t *testing.T) {
	o := options(newFeed(`{"x":1}`))
	_, url := serve(t, o, time.Second)
	address := strings.TrimPrefix(url, "http://")
	const (
		rebound = "Host: evil.example:6102" // a name that its owner points here after the page was loaded
		page    = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors"
		old     = "Origin: https://evil.example" // a browser without Sec-Fetch-
		link    = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document"
		frame   = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe"
		// over plain HTTP, not to loopback: no Sec-Fetch-
		browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
		ours    = browser + "\r\nReferer: http://%s/debug/pprof/"
	)
	for _, c := range []struct {
		request, headers, body string
		status                 int
	}{
		{"PUT /log-level", rebound, "debug", 403},
		{"GET /status", rebound + "\r\nSec-Fetch-Site: same-origin", "", 403},
		{"GET /events", rebound, "", 403},
		{"GET /debug/pprof/cmdline", rebound, "", 403},
		{"PUT /log-level", page, "debug", 403},
		{"POST /log-level", page + "\r\nContent-Type: text/plain", "debug", 403},
		// a form in a sandbox
		{"POST /log-level", "Origin: null\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document", "debug", 403},
		{"POST /log-level", strings.Replace(page, "cross-site", "same-site", 1), "debug", 403},
		{"PUT /log-level", old, "debug", 403},
		{"POST /log-level", old, "debug", 403},
		{"POST /log-level", "Origin: http://127.0.0.1:1", "debug", 403}, // another port is another origin
		{"GET /status", page, "", 403},
		{"GET /events", page, "", 403},
		{"GET /debug/pprof/heap", page, "", 403},
		{"GET /debug/pprof/profile?seconds=1", link, "", 403},
		{"GET /debug/pprof/trace?seconds=1", link, "", 403},
		{"GET /debug/pprof/worker/1/profile?seconds=1", link, "", 403},
		{"GET /", frame, "", 403},
		{"GET /", link, "", 200},
		{"GET /status", link, "", 200}, // the page that has the link does not get to read it
		{"OPTIONS /log-level", page + "\r\nAccess-Control-Request-Method: PUT", "", 403},
		{"PUT /log-level", "X-HTTP-Method-Override: GET\r\n" + old, "debug", 403},
		{"POST /log-level", browser, "debug", 403}, // a form, of a browser that sends no Origin with it
		{"POST /log-level", browser +
			"\r\nContent-Type: application/json\r\nReferer: https://evil.example/", "debug", 403},
		{"PUT /log-level", browser, "debug", 403},
		{"POST /log-level", browser + "\r\nOrigin: null", "debug", 403},
		{"GET /status", browser + "\r\nOrigin: http://evil.example", "", 403},
		{"GET /events", browser + "\r\nOrigin: http://evil.example\r\nAccept: text/event-stream", "",
			403},
		{"GET /debug/pprof/profile?seconds=1", browser, "", 403}, // an image of a page that hides itself
		{"GET /debug/pprof/trace?seconds=1", browser + "\r\nReferer: http://evil.example/", "", 403},
		{"GET /debug/pprof/heap", browser + "\r\nReferer: http://127.0.0.1.evil.example/", "", 403},
		{"GET /debug/pprof/worker/1/profile?seconds=1", browser + "\r\nReferer: ::", "", 403},
		{"GET /", browser, "", 200},
		{"GET /events-of-nobody", browser, "", 200},
		{"GET /debug/pprof/", browser, "", 200},
		{"GET /debug/pprof/goroutine?debug=1", ours, "", 200},
		{"POST /log-level", browser + "\r\nOrigin: http://%s", "warn", 200},
		{"POST /log-level", "User-Agent: curl/8.5.0\r\nContent-Type: application/x-www-form-urlencoded", "warn", 200},
		{"PUT /log-level", "", "warn", 200}, // curl
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
		headers := strings.Replace(c.headers, "%s", address, 1)
		if !strings.Contains(headers, "Host: ") {
			headers = strings.TrimSuffix("Host: "+address+"\r\n"+headers, "\r\n")
		}
		fmt.Fprintf(conn, "%s HTTP/1.1\r\n%s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			c.request, headers, len(c.body), c.body)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s %q: %v", c.request, c.headers, err)
		}
		body, _ := io.ReadAll(answer.Body)
		conn.Close()
		if answer.StatusCode != c.status || answer.Header.Get("Access-Control-Allow-Origin") != "" ||
			answer.Header.Get("X-Content-Type-Options") != "nosniff" ||
			answer.Header.Get("Cross-Origin-Resource-Policy") != "same-origin" ||
			answer.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s %q: %s %v %s", c.request, c.headers, answer.Status, answer.Header, body)
		}
		if level := o.Level.Level().String(); level == "DEBUG" {
			t.Fatalf("%s %q: the level is %s", c.request, c.headers, level)
		}
	}
}

// Clients that do not read their answers are disconnected, and profiles and connections are
// limited. So no client of the listener can hold goroutines or descriptors forever.
func TestClientsAreBounded(t *testing.T) {
	o := options(newFeed(`{}`))
	var writing atomic.Int64
	o.Page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writing.Add(1)
		defer writing.Add(-1)
		_, _ = w.Write(make([]byte, 32<<20)) // more than the kernel's buffers
	})
	a, url := serve(t, o, 300*time.Millisecond)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	eventually(t, "the answer is on its way", func() bool { return writing.Load() == 1 })
	eventually(t, "who does not read is cut", func() bool { return writing.Load() == 0 })

	a.profiles.Add(maxProfiles)
	if answer, err := http.Get(url + "/debug/pprof/heap"); err != nil ||
		answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
		t.Errorf("%v %v", answer, err)
	}
	a.profiles.Add(-maxProfiles)
	if answer, err := http.Get(url + "/debug/pprof/goroutine?debug=1"); err != nil ||
		answer.StatusCode != http.StatusOK {
		t.Errorf("%v %v", answer, err)
	}
	eventually(t, "the places are given back", func() bool { return a.profiles.Load() == 0 })
}

func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, options(newFeed("{}"))) }()
	defer func() { cancel(); <-ended }()
	var all []net.Conn
	defer func() {
		for _, c := range all {
			c.Close()
		}
	}()
	ask := func() error {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		all = append(all, conn)
		_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
		fmt.Fprint(conn, "GET /log-level HTTP/1.1\r\nHost: localhost\r\n\r\n")
		_, err = http.ReadResponse(bufio.NewReader(conn), nil)
		return err
	}
	for i := range maxConnections {
		if err := ask(); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if ask() == nil {
		t.Error("one too many was answered")
	}
	all[0].Close()
	eventually(t, "there is room again", func() bool { return ask() == nil })
}
