package enginetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"distributor/engine/status"
)

// admin waits for the admin listener and returns its URL.
func (d *Distributor) admin() string {
	d.t.Helper()
	l := d.WaitLog("admin listener", func(l Line) bool { return l.Msg == "admin listener" })
	return "http://" + l.Attrs["address"].(string)
}

func ask(t testing.TB, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func statusOf(t testing.TB, url string) (s status.Status) {
	t.Helper()
	code, text := ask(t, "GET", url+"/status", "")
	if err := json.Unmarshal([]byte(text), &s); err != nil || code != 200 {
		t.Fatalf("got status %d, %v: %s", code, err, text)
	}
	return s
}

// TestObserved checks that the status shows records, frames, clients, latency, a refusal, a client
// that does not read, and a killed worker. It reads the status while everything runs, so the race
// detector can find races.
func TestObserved(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, Settings{
		"ADMIN_ADDR": "127.0.0.1:0", "NUMBER_OF_WORKERS": 2, "PING_TIMEOUT_MS": unhurried,
	})
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{300, 20_000}})
	d.Start()
	url := d.admin()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 5, Book: book})
	deaf := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), Deaf: true})
	if _, err := Connect(t, d.URL, PeerOptions{Key: newKey(t), From: "nonsense"}); err == nil {
		t.Fatal("from=nonsense was accepted, want a refusal")
	}
	const records = 1500
	for range records / 10 {
		if err := archiver.Write(10); err != nil {
			t.Fatal(err)
		}
	}
	fleet.WaitTotal(records)
	written := uint64(records)
	var s status.Status
	var read, frames uint64
	Until(t, "the status tells of it", func() bool {
		if s = statusOf(t, url); s.Latency.Max == 0 { // covers the last ten seconds
			if err := archiver.Write(1); err != nil {
				t.Fatal(err)
			}
			written++
		}
		read, frames = 0, 0
		for _, stream := range s.Streams {
			read, frames = read+stream.StreamStats.Records, frames+stream.Frames
		}
		return read == written && frames == written && s.Clients.Connected == 6 &&
			len(s.Clients.Slowest) == 1 && s.Refused["malformed_from"] == 1 && s.Latency.Max > 0 &&
			s.Healthy && len(s.Processes) == 4
	}, func() string { text, _ := json.Marshal(s); return string(text) })
	if slow := s.Clients.Slowest[0]; !slow.Blocked || slow.Lag <= 0 ||
		slow.Lag > int64(s.FrameLog.Head) || slow.Seconds <= 0 {
		t.Errorf("the client that does not read: %+v", slow)
	}
	if n := s.Latency.Counts[len(s.Latency.Counts)-1]; n == 0 || s.Latency.SumSecs <= 0 ||
		s.Latency.P99 > s.Latency.Max {
		t.Errorf("latency: %+v", s.Latency)
	}
	if s.Processes[0].PID != d.Pid() || s.Processes[1].Name != "worker 1" ||
		s.Processes[3].Name != "query" || s.Processes[1].Private == 0 {
		t.Errorf("processes: %+v", s.Processes)
	}
	if s.FrameLog.Head == 0 || s.FrameLog.DiskSize == 0 || s.Version == "" {
		t.Errorf("a value is missing in the status: %+v", s)
	}

	// A worker that started late may have no clients.
	victim := slices.MaxFunc(s.Workers, func(a, b status.Worker) int { return a.Clients - b.Clients })
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	Until(t, "the loss is told", func() bool {
		s = statusOf(t, url)
		for _, e := range s.Events {
			if e.Level == "error" && strings.Contains(e.Text, "worker lost") {
				return s.Starts.Failed["exit"] == 1 && s.Clients.Disconnects["worker_lost"] > 0 &&
					len(s.Processes) == 4
			}
		}
		return false
	}, nil)
	deaf.Terminate()
	fleet.Stop()
	d.Stop()
}

func TestAdminListener(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, Settings{"ADMIN_ADDR": "127.0.0.1:0"})
	d.Start()
	url := d.admin()

	answer, err := http.Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	in := bufio.NewReader(answer.Body)
	for events := 0; events < 2; {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if events++; !json.Valid([]byte(data)) {
				t.Fatalf("an event that is not JSON: %s", data)
			}
		}
	}
	if code, text := ask(t, "GET", url+"/", ""); code != 200 || !strings.Contains(text, "<html") {
		t.Errorf("/: %d %.200s", code, text)
	}
	if code, text := ask(t, "GET", url+"/metrics", ""); code != 200 ||
		!strings.Contains(text, "\ndistributor_workers{state=\"ready\"} 1\n") {
		t.Errorf("/metrics: %d %.500s", code, text)
	}
	// The profile must be that of the worker: only workers run this function.
	if code, text := ask(t, "GET", url+"/debug/pprof/worker/1/goroutine?debug=1", ""); code != 200 ||
		!strings.Contains(text, "engine/worker.Run") {
		t.Errorf("a worker's profile: %d %.500s", code, text)
	}
	if code, text := ask(t, "GET", url+"/debug/pprof/goroutine?debug=1", ""); code != 200 ||
		!strings.Contains(text, "gateway") || strings.Contains(text, "engine/worker.Run") {
		t.Errorf("the primary's profile: %d", code)
	}
	if code, text := ask(t, "GET", url+"/debug/pprof/worker/1/profile?seconds=1", ""); code != 200 ||
		!bytes.HasPrefix([]byte(text), []byte{0x1f, 0x8b}) {
		t.Errorf("a worker's processor time: %d %.200q", code, text)
	}
	if code, text := ask(t, "GET", url+"/debug/pprof/worker/9/heap", ""); code != 404 {
		t.Errorf("profile of an unknown worker: got %d %s, want 404", code, text)
	}

	// The level changes in all processes, and a reload restores it.
	if code, text := ask(t, "PUT", url+"/log-level", "error"); code != 200 || text != "error\n" {
		t.Errorf("got %d %s, want 200 error", code, text)
	}
	d.Configure(Settings{"LOG_LEVEL": "debug"})
	d.Reload(syscall.SIGHUP)
	if _, text := ask(t, "GET", url+"/log-level", ""); text != "debug\n" {
		t.Errorf("log level after the reload: got %s, want debug", text)
	}
	d.Stop()
	if _, err := in.ReadString(0); err == nil {
		t.Error("the event stream continues after the stop")
	}
}

// TestPublicMetrics checks that GET /metrics on the public port is answered as by the replaced
// service, except for requests of a scraper.
func TestPublicMetrics(t *testing.T) {
	t.Parallel()
	const stored = 60
	d := New(t, Settings{"ADMIN_ADDR": "off", "ARCHIVER_DB_DIR": "filled"})
	if r := Run(t, d.Dir, "simulate", "--dir", "other-logs", "--db", "filled", "--count",
		fmt.Sprint(stored), "--rate", "0", "-q"); r.Status != 0 {
		t.Fatal(r.Stderr)
	}
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{300}})
	d.Start()
	var counts map[string]struct{ Count, LastUpdationTimestamp int64 }
	look := func() int64 {
		code, text := ask(t, "GET", d.URL+"/metrics", "", "Accept", "application/json, text/plain, */*")
		if err := json.Unmarshal([]byte(text), &counts); err != nil || code != 200 || len(counts) != 3 ||
			!strings.HasPrefix(text, `{"cycle":{"count":`) {
			t.Fatalf("got status %d, %v: %s", code, err, text)
		}
		return counts["cycle"].Count + counts["originalTx"].Count + counts["receipt"].Count
	}
	Until(t, "the counts begin with the rows", func() bool { return look() == stored }, nil)
	since := counts["receipt"].LastUpdationTimestamp
	if err := archiver.Write(100); err != nil {
		t.Fatal(err)
	}
	Until(t, "the counts grow by the records read", func() bool { return look() == stored+100 }, nil)
	if counts["receipt"].LastUpdationTimestamp <= since {
		t.Error("the time of the last record did not advance")
	}
	code, text := ask(t, "GET", d.URL+"/metrics", "", "Accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
	if code != 200 || !strings.HasSuffix(text, "# EOF\n") ||
		!strings.Contains(text, "distributor_healthy ") {
		t.Errorf("got %d %.300s, want 200 with metrics in OpenMetrics", code, text)
	}
	if code, text := ask(t, "HEAD", d.URL+"/metrics", ""); code != 200 || text != "" {
		t.Errorf("HEAD: got %d %q, want 200 without a body", code, text)
	}
	if code, _ := ask(t, "POST", d.URL+"/metrics", "{}"); code != 404 {
		t.Errorf("POST: got %d, want 404", code)
	}
	if lines := d.Log(func(l Line) bool { return l.Msg == "admin listener" }); len(lines) != 0 {
		t.Error("there is an admin listener, want none with ADMIN_ADDR off")
	}
	d.Stop()
}

// TestAdminPortTaken checks that two distributors with the default ADMIN_ADDR run beside each
// other, although only one can have the address.
func TestAdminPortTaken(t *testing.T) {
	t.Parallel()
	unset := Settings{"ADMIN_ADDR": nil}
	first, second := New(t, unset), New(t, unset)
	first.Start()
	second.Start()
	second.WaitLog("a warning", func(l Line) bool {
		return l.Level == "WARN" && strings.HasPrefix(l.Msg, "no admin listener")
	})
	MustConnect(t, second.URL, PeerOptions{Key: newKey(t)}).Close(1000)
	first.Stop()
	second.Stop()
}
