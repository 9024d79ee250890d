package metrics

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"distributor/engine/status"
)

func scrape(h http.Handler, accept, encoding string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", accept)
	r.Header.Set("Accept-Encoding", encoding)
	h.ServeHTTP(w, r)
	return w
}

// Clients that do not read block no other client, neither on their own listener nor on another.
func TestClientsThatDoNotRead(t *testing.T) {
	handler := Handler(shown(busy(t)), quiet)
	var under atomic.Int64
	public := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		under.Add(1)
		defer under.Add(-1)
		handler.ServeHTTP(w, r)
	}))
	defer public.Close()
	admin := httptest.NewServer(handler)
	defer admin.Close()
	const stalled = 40
	request := []byte(strings.Repeat(
		"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain;version=0.0.4\r\n\r\n", 400))
	for range stalled {
		conn, err := net.Dial("tcp", public.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		go func() { _, _ = conn.Write(request) }() // the server stops reading when it cannot write
	}
	for end := time.Now().Add(30 * time.Second); under.Load() < stalled; time.Sleep(
		10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d scrapes stand still", under.Load(), stalled)
		}
	}
	for range 20 {
		for _, url := range []string{public.URL, admin.URL} {
			answer, err := http.Get(url + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != 200 || int64(len(body)) != answer.ContentLength &&
				answer.ContentLength >= 0 {
				t.Errorf("%s: %s, %d bytes, %v", url, answer.Status, len(body), err)
			}
		}
	}
}

// A flood of scrapes in all forms renders each form once per second, and all scrapes get the same
// text.
func TestScrapesShareTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := busy(t)
		newest := atomic.Pointer[status.Status]{}
		newest.Store(s)
		h := Handler(newest.Load, quiet).(*scrapes)
		gathers := 0
		h.gather = counted{h.gather, &gathers}
		accepts := []string{scraper, "", "text/plain;version=0.0.4;escaping=dots",
			"application/openmetrics-text;version=0.0.1",
			"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"}
		for i := range 100 {
			accepts = append(accepts, fmt.Sprintf("text/plain;version=0.0.4;escaping=x%d;x=%d", i, i))
		}
		var all sync.WaitGroup
		for _, accept := range accepts {
			for _, encoding := range []string{"", "gzip", "gzip;q=0.5, br"} {
				all.Go(func() {
					if w := scrape(h, accept, encoding); w.Code != 200 ||
						w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
						t.Errorf("%q %q: %d %v", accept, encoding, w.Code, w.Header())
					}
				})
			}
		}
		all.Wait()
		if want := 2 * len(formats); gathers != 1 || len(h.texts) != want {
			t.Errorf("%d gatherings, %d texts", gathers, len(h.texts))
		}
		if a, b := scrape(h, "", ""), scrape(h, "", ""); a.Body.String() != b.Body.String() ||
			gathers != 1 {
			t.Error("not the same")
		}
		next := *s
		next.Healthy = true
		newest.Store(&next)
		if w := scrape(h, "", ""); !strings.Contains(w.Body.String(), "\ndistributor_healthy 1\n") ||
			gathers != 2 {
			t.Error("the newest status is not shown")
		}
		time.Sleep(maxAge)
		scrape(h, "", "")
		if gathers != 3 {
			t.Error("figures of the process are older than a second")
		}
	})
}

// counted counts how often figures are gathered.
type counted struct {
	prometheus.Gatherer
	n *int
}

func (c counted) Gather() ([]*dto.MetricFamily, error) {
	*c.n++
	return c.Gatherer.Gather()
}

// timed is a recorder that has a write deadline.
type timed struct {
	*httptest.ResponseRecorder
	until time.Time
}

func (w *timed) SetWriteDeadline(t time.Time) error { w.until = t; return nil }

// A client has ten seconds to read a scrape, and gets the escaping that it asked for.
func TestScrapeIsTakenSoon(t *testing.T) {
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "text/plain;version=0.0.4;escaping=dots")
	w, began := &timed{ResponseRecorder: httptest.NewRecorder()}, time.Now()
	Handler(shown(busy(t)), quiet).ServeHTTP(w, r)
	if w.until.Before(began.Add(takenWithin)) || w.until.After(time.Now().Add(takenWithin)) {
		t.Errorf("until %v", w.until)
	}
	if kind := w.Header().Get("Content-Type"); !strings.Contains(kind, "escaping=dots") {
		t.Error(kind)
	}
}

func TestGzip(t *testing.T) {
	h := Handler(shown(busy(t)), quiet)
	plain, packed := scrape(h, "", "gzip;q=0, identity"), scrape(h, "", "br, GZIP")
	if plain.Header().Get("Content-Encoding") != "" ||
		packed.Header().Get("Content-Encoding") != "gzip" || packed.Body.Len() > plain.Body.Len()/3 {
		t.Fatalf("%v %v", plain.Header(), packed.Header())
	}
	z, err := gzip.NewReader(bytes.NewReader(packed.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(z); err != nil || string(text) != plain.Body.String() {
		t.Errorf("%v\n%s", err, text)
	}
	for accept, want := range map[string]bool{"": false, "gzip": true, "gzip; q=0": false,
		"gzip;q=0.000": false, "gzip;q=1": true, "xgzip": false, "gzip;q=x": false, "a,, gzip": true} {
		if got := acceptsGzip([]string{accept}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}
