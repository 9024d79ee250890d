package page_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"distributor/engine/status"
	"distributor/engine/status/page"
)

// source is an admin listener whose page and events a test writes.
type source struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	first   []string // data of the events that a new connection gets
	streams map[chan string]bool
	refuse  bool // answers 503, as a proxy does when nobody is behind it
	opened  int  // connections so far
}

func newSource(t *testing.T, first ...status.Status) *source {
	s := &source{t: t, streams: make(map[chan string]bool)}
	for _, st := range first {
		s.first = append(s.first, s.text(st))
	}
	mux := http.NewServeMux()
	mux.Handle("/", page.Handler())
	mux.HandleFunc("/events", s.events)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.cut()
		s.Close()
	})
	return s
}

func (s *source) text(st any) string {
	b, err := json.Marshal(st)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *source) events(w http.ResponseWriter, r *http.Request) {
	c := make(chan string, 100)
	s.mu.Lock()
	s.opened++
	refuse, first := s.refuse, s.first
	if !refuse {
		s.streams[c] = true
	}
	s.mu.Unlock()
	if refuse {
		http.Error(w, "nobody is there", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, data := range first {
		fmt.Fprintf(w, "event: status\ndata: %s\n\n", data)
	}
	w.(http.Flusher).Flush()
	for {
		select {
		case data, open := <-c:
			if !open {
				return
			}
			fmt.Fprintf(w, "event: status\ndata: %s\n\n", data)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// send sends an event with this JSON to every connection.
func (s *source) send(data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.streams {
		c <- data
	}
}

// cut ends all connections.
func (s *source) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.streams {
		close(c)
		delete(s.streams, c)
	}
}

// answer decides whether new connections get a refusal or events.
func (s *source) answer(refuse bool, first ...status.Status) {
	var texts []string
	for _, st := range first {
		texts = append(texts, s.text(st))
	}
	s.mu.Lock()
	s.refuse, s.first = refuse, texts
	s.mu.Unlock()
}

func (s *source) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}
