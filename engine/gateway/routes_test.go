package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"distributor/engine/problem"
	"distributor/engine/query"
)

// onAllRoutes is an API with one handler for all routes.
func onAllRoutes(h http.HandlerFunc) map[string]http.Handler {
	api := map[string]http.Handler{"GET /metrics": h}
	for _, route := range query.Routes() {
		api[route] = h
	}
	return api
}

// echoAPI answers with what the API would see.
var echoAPI = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", contentJSON)
	fmt.Fprintf(w, "%s %s ?%s %s", r.Method, r.URL.Path, r.URL.RawQuery, body)
})

// The part of the conformance corpus that tests the framework: routes, HEAD, OPTIONS, 404s.
func TestHTTPCorpus(t *testing.T) {
	addr := serve(t, newGateway(t, "open", func(o *Options) { o.API = onAllRoutes(echoAPI) }))
	cases := readLines[struct {
		Name, Method, Path, Send, Body, Loose string
		Headers                               map[string]string
		Status                                int
		ContentType                           string            `json:"content_type"`
		AnswerHeaders                         map[string]string `json:"answer_headers"`
		API                                   bool              // what comes of it is the API's affair
	}](t, "http.jsonl.gz")
	if len(cases) != 56 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			var b strings.Builder
			fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", c.Method, c.Path)
			for name, value := range c.Headers {
				fmt.Fprintf(&b, "%s: %s\r\n", name, value)
			}
			fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(c.Send), c.Send)
			got := exchange(t, addr, b.String())
			if got.status != c.Status || !got.complete || !got.closed {
				t.Fatalf("%+v", got)
			}
			if c.Loose == "status" { // net/http finds the bad escape before we do
				return
			}
			if got.header.Get("Content-Type") != c.ContentType {
				t.Errorf("content type %q, want %q", got.header.Get("Content-Type"), c.ContentType)
			}
			if got.header.Get("Access-Control-Allow-Origin") != "*" ||
				!strings.HasPrefix(got.header.Get("Vary"), "Origin") {
				t.Errorf("headers %v", got.header)
			}
			for name, value := range c.AnswerHeaders {
				if got.header.Get(name) != value {
					t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
				}
			}
			switch {
			case !c.API && got.body != c.Body:
				t.Errorf("body %s\nwant %s", got.body, c.Body)
			case c.API && c.Method != "HEAD" && !strings.HasPrefix(got.body, c.Method+" /"):
				t.Errorf("the API was not asked: %s", got.body)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	const get404 = `{"message":"Route GET:%s not found","error":"Not Found","statusCode":404}`
	with := serve(t, newGateway(t, "open", func(o *Options) { o.API = onAllRoutes(echoAPI) }))
	without := serve(t, newGateway(t, "open", nil))
	for _, c := range []struct {
		addr, line string
		status     int
		body       string
	}{
		{with, "POST /cycle%69nfo?a=b;c#d", 200, `POST /cycleinfo ?a=b;c {}`},
		{with, "POST /receipt;jsessionid=1", 200, `POST /receipt ? {}`},
		{with, "POST /account#x?y", 200, `POST /account ? {}`},
		{with, "GET /config?x", 200, `GET /config ?x {}`},
		{with, "GET http://x:1/is-alive?y", 200, "OK"},
		{with, "GET http://x", 404, fmt.Sprintf(get404, "http://x")},
		{with, "GET /is%2Dalive", 200, "OK"},
		{with, "GET //is-alive", 404, fmt.Sprintf(get404, "//is-alive")},
		{with, "GET /./is-alive", 404, fmt.Sprintf(get404, "/./is-alive")},
		{with, "GET /x/../is-alive", 404, fmt.Sprintf(get404, "/x/../is-alive")},
		{with, "GET /is-alive%2F", 404, fmt.Sprintf(get404, "/is-alive%2F")},
		{with, `GET /<"\&>?q='`, 404, fmt.Sprintf(get404, `/<\"\\&>?q='`)},
		{with, "GET /%ff", 400, `{"error":"Bad Request","message":"'/%ff' is not a valid url component","statusCode":400}`},
		{with, "GET /%ff?x=1", 400, `{"error":"Bad Request","message":"'/%ff?x=1' is not a valid url component","statusCode":400}`},
		{with, "GET /?x=%ff%", 404, fmt.Sprintf(get404, "/?x=%ff%")},
		{with, "OPTIONS *", 400, "Invalid Preflight Request"},
		{without, "POST /cycleinfo", 404,
			`{"message":"Route POST:/cycleinfo not found","error":"Not Found","statusCode":404}`},
		{without, "GET /config", 404, fmt.Sprintf(get404, "/config")},
	} {
		got := exchange(t, c.addr, c.line+
			" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
		if got.status != c.status || got.body != c.body {
			t.Errorf("%s: %d %s", c.line, got.status, got.body)
		}
	}
}

func TestHealth(t *testing.T) {
	var problems []problem.Problem
	g := newGateway(t, "open", func(o *Options) {
		o.Health = func() []problem.Problem { return problems }
	})
	addr := serve(t, g)
	get := func(method string) reply {
		return exchange(t, addr, method+" /is-healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	}
	if got := get("GET"); got.status != 200 || got.body != "OK" ||
		got.header.Get("Content-Type") != contentText {
		t.Errorf("%+v", got)
	}
	problems = []problem.Problem{{ID: "cycle_log", Level: problem.Critical,
		Component: "cycle log", Problem: "nothing for 5m", Remedy: "look at the archiver",
		Since: time.Unix(1_764_000_000, 0).UTC()}}
	const want = `{"healthy":false,"problems":[{"id":"cycle_log","level":"critical","component":"cycle log","problem":"nothing for 5m","remedy":"look at the archiver","since":"2025-11-24T16:00:00Z"}]}`
	if got := get("GET"); got.status != 503 || got.body != want ||
		got.header.Get("Content-Type") != contentJSON {
		t.Errorf("%+v", got)
	}
	if got := get("HEAD"); got.status != 503 || got.body != "" ||
		got.header.Get("Content-Length") != fmt.Sprint(len(want)) {
		t.Errorf("%+v", got)
	}
	// A distributor that is alive need not be healthy.
	if got := exchange(t, addr, "GET /is-alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); got.status != 200 {
		t.Errorf("%+v", got)
	}
}

// Health checks have their own limit: a flood of requests does not starve them, and they cannot be
// a flood themselves. A request that is not a health check counts as a request, whatever its path.
func TestHealthChecksAreLimitedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, "open", func(o *Options) { o.Settings.RateLimit = 1 })
		defer g.stop(nil)
		g.requests.hold, g.checks.hold = 0, 0
		status := make(map[int]int)
		for i := range healthRate + 100 {
			status[call(g, "10.0.0.1", []string{"GET", "HEAD"}[i%2],
				[]string{"/is-healthy", "/is%2Dalive", "/is-healthy?x"}[i%3]).Code]++
		}
		if status[200] < healthRate || status[200] > healthRate+2 ||
			status[200]+status[429] != healthRate+100 {
			t.Errorf("%v", status)
		}
		for _, method := range []string{"POST", "OPTIONS"} {
			if w := call(g, "10.0.0.3", method, "/is-healthy"); w.Header().Get("X-RateLimit-Limit") != "1" {
				t.Errorf("%s: %v", method, w.Header())
			}
		}
	})
}
