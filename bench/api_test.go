package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shortly is long enough for an answer on a busy machine, under the race detector.
var shortly = apiSize{warm: 20 * time.Millisecond, measured: 2 * time.Second}

// askReceipts asks a distributor with a few rows for what change makes of the
// request for receipts.
func askReceipts(t *testing.T, change func(*apiLoad)) (asked, error) {
	t.Helper()
	b := testBench(t)
	databases, err := b.fill("few", 400)
	if err != nil {
		t.Fatal(err)
	}
	requests, err := signedRequests()
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.distributor(b.server, databases)
	if err != nil {
		t.Fatal(err)
	}
	defer b.finish(d.close)
	load := apiLoad{Connections: 3, Requests: requests[:1], Still: true}
	if change != nil {
		change(&load)
	}
	return b.ask(t.Context(), d, load, shortly)
}

func TestAPIIsMeasured(t *testing.T) {
	m, err := askReceipts(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := m.answers
	if r.Requests == 0 || r.Rows != 100*r.Requests || r.Bytes < int64(r.Rows)*1000 || r.Verified < 3 || r.P50 <= 0 || r.P99 < r.P50 || r.Seconds <= 0 || m.Primary <= 0 {
		t.Errorf("%+v", m)
	}
}

// Whatever is not as it should be is an error of the run.
func TestAPIAnswersAreChecked(t *testing.T) {
	for want, change := range map[string]func(*apiLoad){
		"status 400":                  func(l *apiLoad) { l.Requests[0].Body = strings.Replace(l.Requests[0].Body, `100`, `99`, 1) },
		"100 rows, not 101":           func(l *apiLoad) { l.Requests[0].Rows = 101 },
		"answer of /receipt: shardus": nil, // of a distributor with another hash key
	} {
		if change == nil {
			l := apiLoad{Requests: []apiRequest{{Path: "/receipt"}}}
			if err := l.verify(keptAnswer{body: []byte(`{"receipts":[]}`)}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, not %q", err, want)
			}
			continue
		}
		if _, err := askReceipts(t, change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
	}
}

func TestWriterWrites(t *testing.T) {
	b := testBench(t)
	dir := filepath.Join(b.dir, "databases")
	w, err := b.startWriter(t.Context(), dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	perSecond, err := w.end()
	if err != nil || perSecond < 0 {
		t.Error(perSecond, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
