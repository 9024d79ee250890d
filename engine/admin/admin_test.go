package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// feed is a Board that a test updates.
type feed struct {
	mu   sync.Mutex
	text []byte
	over chan struct{}
}

func newFeed(text string) *feed { return &feed{text: []byte(text), over: make(chan struct{})} }

func (f *feed) JSON() []byte { text, _ := f.Watch(); return text }

func (f *feed) Watch() ([]byte, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text, f.over
}

func (f *feed) show(text []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = text
	close(f.over)
	f.over = make(chan struct{})
}

func said(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, text, " ", r.URL.Path)
	})
}

func options(f *feed) Options {
	level := new(slog.LevelVar)
	return Options{
		Address: "monitor.example:6102", Board: f, Metrics: said("metrics"),
		Args: []string{"distributor", "--DISTRIBUTOR_SECRET_KEY=(secret)"}, Page: said("page"),
		Level:   level,
		Health:  func() (bool, []byte) { return false, []byte(`{"healthy":false}`) },
		Profile: func(int) (net.Conn, error) { return nil, errors.New("no such worker") },
		Query:   func() (net.Conn, error) { return nil, errors.New("it is not running") },
		SetLevel: func(l slog.Level) error {
			if l == slog.LevelError {
				return errors.New("not now")
			}
			level.Set(l)
			return nil
		},
		Log: slog.New(slog.DiscardHandler),
	}
}

func TestRoutes(t *testing.T) {
	handler := New(options(newFeed(`{"x":1}`)))
	for _, c := range []struct {
		request string // method, path, body
		headers string // "Name: value", separated by |
		status  int
		body    string
	}{
		{"GET /", "", 200, "page /"},
		{"HEAD /", "", 200, ""},
		{"GET /site/status.js", "", 200, "page /site/status.js"},
		{"GET /status", "", 200, `{"x":1}`},
		{"GET /is-healthy", "", 503, `{"healthy":false}`},
		{"GET /metrics", "", 200, "metrics /metrics"},
		{"GET /debug/pprof/goroutine?debug=1", "", 200, "goroutine profile"},
		{"GET /debug/pprof/cmdline", "", 200, "distributor\x00--DISTRIBUTOR_SECRET_KEY=(secret)"},
		{"GET /debug/pprof/profile?seconds=601", "", 400, "0 to 600"},
		{"GET /debug/pprof/trace?seconds=1e9", "", 400, "0 to 600"},
		{"GET /debug/pprof/worker/1/profile?seconds=-1", "", 400, "0 to 600"},
		{"GET /debug/pprof/query/profile?seconds=NaN", "", 400, "0 to 600"},
		{"GET /debug/pprof/profile?seconds=x", "", 400, "0 to 600"},
		{"GET /debug/pprof/worker/7/heap", "", 404, "no such worker"},
		{"GET /debug/pprof/worker/x/heap", "", 404, "by its number"},
		{"POST /status", "", 405, ""},
		{"DELETE /", "", 405, ""},
		{"POST /events", "", 405, ""},
		{"POST /metrics", "", 405, ""},
		{"PUT /debug/pprof/profile", "", 405, ""},
		{"POST /debug/pprof/worker/1/profile", "", 405, ""},
		{"PATCH /log-level debug", "", 405, ""},
		{"GET /log-level", "", 200, "info\n"},
		{"PUT /log-level debug", "", 200, "debug\n"},
		{"POST /log-level Warn", "", 200, "warn\n"},
		{"PUT /log-level loud", "", 400, "must be debug"},
		{"PUT /log-level", "", 400, "must be debug"},
		{"PUT /log-level debugdebugdebugdebug", "", 400, "must be debug"},
		{"PUT /log-level error", "", 500, "not now"},
		{"GET /log-level", "", 200, "warn\n"},

		{"GET /status", "Host: evil.example", 403, "ADMIN_ADDR"},
		{"GET /status", "Host: ", 403, "ADMIN_ADDR"},
		{"GET /status", "Host: localhost.evil.example", 403, "ADMIN_ADDR"},
		{"GET /status", "Host: 127.0.0.1.evil.example:6102", 403, "ADMIN_ADDR"},
		{"GET /status", "Host: LOCALHOST:6102", 200, ""},
		{"GET /status", "Host: localhost", 200, ""},
		{"GET /status", "Host: [::1]:6102", 200, ""},
		{"GET /status", "Host: [::1]", 200, ""},
		{"GET /status", "Host: 10.1.2.3:99", 200, ""},
		{"GET /status", "Host: Monitor.example:1", 200, ""},
		{"PUT /log-level info", "Origin: http://evil.example", 403, ""},
		{"POST /log-level info", "Sec-Fetch-Site: cross-site", 403, ""},
		{"PUT /log-level info", "Sec-Fetch-Site: same-origin", 200, "info\n"},
		{"GET /debug/pprof/heap", "Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors", 403,
			"another site"},
		{"GET /debug/pprof/heap", "Sec-Fetch-Site: same-site|Sec-Fetch-Mode: cors", 403, "another site"},
		{"GET /", "Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate", 200, "page"},
		{"GET /", "Sec-Fetch-Site: none", 200, "page"},
	} {
		method, rest, _ := strings.Cut(c.request, " ")
		path, body, _ := strings.Cut(rest, " ")
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Host = "127.0.0.1:6102"
		if c.headers != "" {
			for header := range strings.SplitSeq(c.headers, "|") {
				name, value, _ := strings.Cut(header, ": ")
				if r.Header.Set(name, value); name == "Host" {
					r.Host = value
				}
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s %s: %d %.200s, want %d %s", c.request, c.headers, w.Code, w.Body, c.status, c.body)
		}
	}
}

// serve answers on a real listener. within is how long a viewer may take to read an event.
func serve(t *testing.T, o Options, within time.Duration) (a *admin, url string) {
	t.Helper()
	a = &admin{Options: o, within: within, taken: within}
	server := httptest.NewServer(a.handler())
	t.Cleanup(server.Close)
	return a, server.URL
}

func watch(t *testing.T, url string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// next reads the data of one event. It skips comments and retry.
func next(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	var name, data string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "event: "):
			name = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		case line == "" && data != "":
			if name != "status" {
				t.Fatalf("event %q", name)
			}
			return data
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// A viewer that does not read is disconnected and delays nobody: the others get every event that
// they wait for.
func TestEventsAndASlowViewer(t *testing.T) {
	f := newFeed(`{"n":0}`)
	a, url := serve(t, options(f), 300*time.Millisecond)
	slow, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	slow.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(slow, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")

	answer := watch(t, url)
	if h := answer.Header; h.Get("Content-Type") != "text/event-stream" ||
		h.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", h)
	}
	in := bufio.NewReader(answer.Body)
	if got := next(t, in); got != `{"n":0}` {
		t.Fatalf("the newest comes at once: %s", got)
	}
	eventually(t, "two viewers", func() bool { return a.viewers.Load() == 2 })
	padding := bytes.Repeat([]byte("x"), 1<<20) // soon more than the kernel's buffers
	dropped := func() bool { return a.viewers.Load() == 1 }
	for n, end := 1, time.Now().Add(2*time.Minute); !dropped(); n++ {
		if time.Now().After(end) {
			t.Fatal("the slow viewer is still there")
		}
		f.show(fmt.Appendf(nil, `{"n":%d,"x":"%s"}`, n, padding))
		if got := next(t, in); !strings.HasPrefix(got, fmt.Sprintf(`{"n":%d,`, n)) {
			t.Fatalf("event %d: %.40s", n, got)
		}
	}
	answer.Body.Close()
	eventually(t, "no viewer", func() bool { f.show([]byte("{}")); return a.viewers.Load() == 0 })
}

func TestTooManyViewers(t *testing.T) {
	a, url := serve(t, options(newFeed("{}")), time.Second)
	a.viewers.Add(maxViewers)
	if answer := watch(t, url); answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
		t.Errorf("%s %v", answer.Status, answer.Header)
	}
	eventually(t, "it is not counted", func() bool { return a.viewers.Load() == maxViewers })
	a.viewers.Add(-1)
	if answer := watch(t, url); answer.StatusCode != 200 {
		t.Errorf("%s", answer.Status)
	}
}

// The profiles of a worker and of the query process come over the connection that Profile opens,
// which is closed at the end.
func TestWorkerProfile(t *testing.T) {
	o := options(newFeed("{}"))
	o.Profile = func(worker int) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			r, err := http.ReadRequest(bufio.NewReader(theirs))
			if err != nil {
				return
			}
			body := fmt.Sprintf("worker %d: %s %s", worker, r.Method, r.URL)
			fmt.Fprintf(theirs, "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		}()
		return ours, nil
	}
	o.Query = func() (net.Conn, error) { return o.Profile(0) }
	_, url := serve(t, o, time.Second)
	for path, want := range map[string]string{
		"/debug/pprof/query/heap":            "worker 0: GET /debug/pprof/heap",
		"/debug/pprof/worker/3/heap?debug=1": "worker 3: GET /debug/pprof/heap?debug=1",
		"/debug/pprof/worker/12/":            "worker 12: GET /debug/pprof/",
		"/debug/pprof/worker/12":             "worker 12: GET /debug/pprof/", // redirected
	} {
		answer, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || string(body) != want || answer.Header.Get("Content-Type") != "text/x" {
			t.Errorf("%s: %s %q %v", path, answer.Status, body, err)
		}
	}
	// A worker that dies during the request causes no panic.
	o.Profile = func(int) (net.Conn, error) {
		ours, theirs := net.Pipe()
		theirs.Close()
		return ours, nil
	}
	_, url = serve(t, o, time.Second)
	answer, err := http.Get(url + "/debug/pprof/worker/3/heap")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusBadGateway {
		t.Errorf("%s", answer.Status)
	}
}

// Serve ends with its context, even while viewers are connected.
func TestServeEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, options(newFeed("{}"))) }()
	in := bufio.NewReader(watch(t, "http://"+l.Addr().String()).Body)
	next(t, in)
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it goes on")
	}
	if _, err := io.ReadAll(in); err == nil {
		t.Log("the viewer saw a clean end")
	}
}

// A name that somebody else owns is refused, whatever it starts with.
func FuzzMayName(f *testing.F) {
	for _, host := range []string{"localhost", "127.0.0.1", "a.example", "[", "]", "::1",
		"[fe80::1%lo]"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if strings.ContainsAny(host, ":%") { // port and zone are no part of the name
			return
		}
		if name := host + ".evil.example"; mayName(name, "") || mayName(name, "localhost") ||
			mayName(name+":80", "") {
			t.Errorf("%q is let in", name)
		}
	})
}
