package metrics

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/gateway"
	"distributor/engine/problem"
	"distributor/engine/status"
	"distributor/engine/supervisor"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

var update = flag.Bool("update", false, "write the golden list and the table of docs/METRICS.md")

var quiet = slog.New(slog.DiscardHandler)

// fresh returns the Status of components that exist and have done nothing yet.
func fresh(t testing.TB) *status.Status {
	t.Helper()
	workers, err := supervisor.New(supervisor.Options{Command: []string{"-"}, Log: quiet,
		Limits: supervisor.Limits{Max: 1, MaxClients: 1}})
	if err != nil {
		t.Fatal(err)
	}
	coder := encoder.New(encoder.Options{Log: quiet}, encoder.Progress{})
	front := gateway.New(gateway.Options{Workers: workers, Log: quiet})
	zipper, err := deflate.New(deflate.Options{Dir: t.TempDir() + "/compressed"})
	if err != nil {
		t.Fatal(err)
	}
	board := status.NewBoard(status.Sources{
		Version: "distributor 1", Started: time.Now(),
		Source:  func(datalog.Stream) datalog.Stats { return datalog.Stats{} },
		Encoder: coder.Stats, FrameLog: func() framelog.Stats { return framelog.Stats{} },
		LogDir: t.TempDir(), Blocked: coder.Blocked, Workers: workers.Snapshot,
		Gateway: front.Snapshot, Deflate: zipper.Stats,
		API: func() status.API {
			return status.API{
				Endpoints: []status.Endpoint{{Path: "/receipt", Statuses: status.Counts{"200": 0},
					Seconds: status.Histogram{Bounds: []float64{1}, Counts: []int64{0, 0}}}},
				Tables: []status.Table{{Name: "receipts"}},
			}
		},
		Health: func() ([]problem.Problem, time.Time) { return nil, time.Now() },
		Events: status.NewEvents(),
	})
	return board.Status()
}

// busy returns a Status in which workers run.
func busy(t testing.TB) *status.Status {
	s := *fresh(t)
	s.Workers = []status.Worker{{Number: 1, State: "ready", Clients: 3, Lag: 12, SentBytes: 5},
		{Number: 7, State: "starting"}}
	s.Clients.Slowest = []status.Client{{Key: "k", Worker: 1, Lag: 12, Seconds: 1.5}}
	s.Clients.Disconnects["too_slow"] = 4
	s.Healthy, s.Problems = false, []problem.Problem{{ID: problem.NoWorker.ID}}
	s.Processes = append(s.Processes, status.Process{Name: "worker 1", PID: 3, CPUSeconds: 1.25})
	return &s
}

func shown(s *status.Status) func() *status.Status { return func() *status.Status { return s } }

func TestLint(t *testing.T) {
	found, err := testutil.GatherAndLint(registry(shown(busy(t))))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Every metric shows all its series from the start, each with a help text. Metrics of workers are
// excepted, because there may be no worker.
func TestFromTheStart(t *testing.T) {
	gathered, err := registry(shown(fresh(t))).Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := make(map[string]int)
	for _, f := range gathered {
		series[f.GetName()] = len(f.Metric)
		if len(f.GetHelp()) < 7 {
			t.Errorf("%s: help %q", f.GetName(), f.GetHelp())
		}
	}
	for _, f := range families {
		if strings.HasPrefix(f.name, "distributor_worker_") && slices.Contains(f.labels, "worker") {
			continue
		}
		if series[f.name] == 0 {
			t.Errorf("%s: no series", f.name)
		}
	}
	want := map[string]int{
		"distributor_records_total": 3, "distributor_rejected_records_total": 12,
		"distributor_workers":               4,
		"distributor_problem":               len(problem.Table),
		"distributor_disconnects_total":     len(wsproto.Disconnects) + 1,
		"distributor_worker_failures_total": 7,
		"distributor_log_messages_total":    2, "distributor_handoff_refusals_total": 6,
		"distributor_process_threads": 1,
	}
	for name, n := range want {
		if series[name] != n {
			t.Errorf("%s: %d series, want %d", name, series[name], n)
		}
	}
	if series["distributor_refused_requests_total"] < 20 {
		t.Errorf("%d reasons of refusals", series["distributor_refused_requests_total"])
	}
}

func TestValues(t *testing.T) {
	s := busy(t)
	want := strings.NewReader(`
# HELP distributor_client_lag_max_bytes Bytes that the slowest collector is behind.
# TYPE distributor_client_lag_max_bytes gauge
distributor_client_lag_max_bytes 12
# HELP distributor_healthy 1 when GET /is-healthy answers OK, else 0.
# TYPE distributor_healthy gauge
distributor_healthy 0
# HELP distributor_problem 1 while GET /is-healthy lists the problem; critical stops distribution.
# TYPE distributor_problem gauge
distributor_problem{id="data_logs_unreadable",level="critical"} 0
distributor_problem{id="database_failing",level="warning"} 0
distributor_problem{id="frame_log_blocked",level="critical"} 0
distributor_problem{id="health_check_hangs",level="critical"} 0
distributor_problem{id="no_growth",level="critical"} 0
distributor_problem{id="no_query_process",level="warning"} 0
distributor_problem{id="no_worker",level="critical"} 1
distributor_problem{id="progress_not_saved",level="warning"} 0
distributor_problem{id="state_not_taken_back",level="critical"} 0
distributor_problem{id="stream_waits",level="critical"} 0
# HELP distributor_workers Worker processes by state.
# TYPE distributor_workers gauge
distributor_workers{state="draining"} 0
distributor_workers{state="gone"} 0
distributor_workers{state="ready"} 1
distributor_workers{state="starting"} 1
# HELP distributor_worker_sent_bytes_total Bytes of frames that a worker gave to the kernel.
# TYPE distributor_worker_sent_bytes_total counter
distributor_worker_sent_bytes_total{worker="1"} 5
distributor_worker_sent_bytes_total{worker="7"} 0
`)
	err := testutil.GatherAndCompare(registry(shown(s)), want, "distributor_client_lag_max_bytes",
		"distributor_problem", "distributor_healthy", "distributor_workers",
		"distributor_worker_sent_bytes_total")
	if err != nil {
		t.Error(err)
	}
}

// testdata/metrics.golden lists every name, because dashboards and alerts depend on the names.
func TestNames(t *testing.T) {
	gathered, err := registry(shown(busy(t))).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range gathered {
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&got, "%s %s %s\n", f.GetName(), strings.ToLower(f.GetType().String()),
			strings.Join(labels, ","))
	}
	const golden = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s is not what there is (go test ./engine/metrics -update):\n%s", golden, got.String())
	}
}

const (
	document   = "../../docs/METRICS.md"
	tableBegin = "<!-- metrics: this table is checked by a test; `go test ./engine/metrics -update` writes it -->\n"
	tableEnd   = "<!-- /metrics -->"
)

func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatal("docs/METRICS.md has no place for the table")
	}
	kinds := map[bool]string{true: "counter", false: "gauge"}
	var table strings.Builder
	table.WriteString("| name | type | labels | what it is |\n| --- | --- | --- | --- |\n")
	for _, f := range families {
		kind := kinds[f.kind == counter]
		if f.kind == histogram {
			kind = "histogram"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", f.name, kind, strings.Join(f.labels, ", "),
			f.help)
	}
	want := before + tableBegin + table.String() + tableEnd + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatal("the table of docs/METRICS.md is not the code's: go test ./engine/metrics -update")
	}
	if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestHandler(t *testing.T) {
	handler := Handler(shown(busy(t)), quiet)
	for accept, want := range map[string]string{
		"":                             "text/plain; version=0.0.4",
		"text/plain;version=0.0.4":     "text/plain; version=0.0.4",
		scraper:                        "application/openmetrics-text; version=1.0.0",
		"application/openmetrics-text": "application/openmetrics-text",
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(context.Background(), "GET", "/metrics", nil)
		r.Header.Set("Accept", accept)
		handler.ServeHTTP(w, r)
		body, _ := io.ReadAll(w.Body)
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), want) {
			t.Errorf("%q: %d %s\n%s", accept, w.Code, w.Header().Get("Content-Type"), body)
		}
		if !strings.Contains(string(body), `distributor_disconnects_total{reason="too_slow"} 4`) {
			t.Errorf("%q: %s", accept, body)
		}
	}
}

// A Status that cannot be turned into metrics is reported, not shown in part.
func TestImpossible(t *testing.T) {
	s := busy(t)
	s.API[0].Seconds.Counts = nil
	w := httptest.NewRecorder()
	Handler(shown(s), quiet).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusInternalServerError ||
		!strings.Contains(w.Body.String(), "histogram of 1 bounds has 0 counts") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// scraper is the Accept header that Prometheus 3 sends.
const scraper = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4," +
	"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"

func TestWantsPrometheus(t *testing.T) {
	for _, c := range []struct {
		accept string
		want   bool
	}{
		{"", false}, {"*/*", false}, {"application/json", false}, {"text/html,*/*;q=0.8", false},
		{"application/json, text/plain, */*", false}, // axios
		{"text/plain", false},
		{scraper, true},
		{"text/plain;version=0.0.4;q=1,*/*;q=0.1", true}, // telegraf
		{"application/openmetrics-text", true},
		{"Application/OpenMetrics-Text; Version=1.0.0", true},
		{"application/openmetrics-text;q=0", false},
		{"application/openmetrics-text;q=0.2, application/json;q=0.3", false},
		{"application/openmetrics-text;q=NaN", false}, {"application/openmetrics-text;q=x", false},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7", true},
		{"application/vnd.google.protobuf", false},
		{";;,,;q=1", false},
	} {
		if got := wantsPrometheus([]string{c.accept}); got != c.want {
			t.Errorf("%q: %v", c.accept, got)
		}
	}
	if !wantsPrometheus([]string{"text/html", "text/plain;version=0.0.4"}) {
		t.Error("the header's second line is not read")
	}
}

func FuzzWantsPrometheus(f *testing.F) {
	f.Add(scraper)
	f.Add("application/json;q=0.1,text/plain;version=\"")
	f.Fuzz(func(t *testing.T, accept string) {
		if wantsPrometheus([]string{accept}) &&
			!regexp.MustCompile(`(?i)openmetrics|version|protobuf`).MatchString(accept) {
			t.Error("never asked for")
		}
	})
}

// The recorded answers were made with databases of 146, 256 and 200 rows, and with none.
func TestPublicJSON(t *testing.T) {
	at := time.UnixMilli(1795429424366)
	for _, c := range []struct {
		counts Counts
		want   string
	}{
		{Counts{Count{146, at}, Count{256, at}, Count{200, at}},
			`{"cycle":{"count":146,"lastUpdationTimestamp":1795429424366},"originalTx":{"count":256,"lastUpdationTimestamp":1795429424366},"receipt":{"count":200,"lastUpdationTimestamp":1795429424366}}`},
		{Counts{Count{0, at}, Count{0, at.Add(time.Millisecond)}, Count{0, at}},
			`{"cycle":{"count":0,"lastUpdationTimestamp":1795429424366},"originalTx":{"count":0,"lastUpdationTimestamp":1795429424367},"receipt":{"count":0,"lastUpdationTimestamp":1795429424366}}`},
	} {
		server := httptest.NewServer(Public(func() Counts { return c.counts },
			Handler(shown(busy(t)), quiet)))
		defer server.Close()
		for method, want := range map[string]string{"GET": c.want, "HEAD": ""} {
			r, _ := http.NewRequest(method, server.URL+"/metrics", nil)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if string(body) != want || answer.Header.Get(
				"Content-Type") != "application/json; charset=utf-8" ||
				answer.ContentLength != int64(len(c.want)) {
				t.Errorf("%s: %s %v", method, body, answer.Header)
			}
		}
		r, _ := http.NewRequest("GET", server.URL+"/metrics", nil)
		r.Header.Set("Accept", scraper)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if !strings.HasSuffix(string(body), "# EOF\n") ||
			!strings.Contains(answer.Header.Get("Vary"), "Accept") {
			t.Errorf("%v\n%s", answer.Header, body)
		}
	}
}

// BenchmarkScrape measures one scrape before compression, if no other scrape came within the last
// second.
func BenchmarkScrape(b *testing.B) {
	r := registry(shown(busy(b)))
	b.ReportAllocs()
	for b.Loop() {
		families, err := r.Gather()
		if err == nil {
			_, err = render(families, expfmt.FmtText)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
