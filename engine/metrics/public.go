package metrics

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Count holds the figures that the replaced service reports for a stream.
type Count struct {
	Records int64     // rows of the archiver's database at the start, plus records read since
	Updated time.Time // when a record was last read, or when the service started
}

// Counts holds the figures of the three streams.
type Counts struct{ Cycle, OriginalTx, Receipt Count }

// Public answers GET /metrics on the public port: with the replaced service's JSON, unless the
// request names a Prometheus format, as scrapers do.
func Public(of func() Counts, prometheus http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wantsPrometheus(r.Header.Values("Accept")) {
			prometheus.ServeHTTP(w, r)
			return
		}
		text := of().json()
		w.Header().Add("Vary", "Accept") // the Prometheus handler sets its own Vary
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = w.Write(text) // the client may have gone
	})
}

// json returns {"cycle":{"count":1,"lastUpdationTimestamp":2},…}, sorted like the replaced
// service's canonical text.
func (c Counts) json() []byte {
	type count struct {
		Count   int64 `json:"count"`
		Updated int64 `json:"lastUpdationTimestamp"`
	}
	one := func(c Count) count { return count{c.Records, c.Updated.UnixMilli()} }
	text, err := json.Marshal(struct {
		Cycle      count `json:"cycle"`
		OriginalTx count `json:"originalTx"`
		Receipt    count `json:"receipt"`
	}{one(c.Cycle), one(c.OriginalTx), one(c.Receipt)})
	if err != nil {
		panic(err) // numbers always marshal
	}
	return text
}

// wantsPrometheus reports whether accept names a Prometheus format and does not prefer JSON. A
// plain text/plain does not count, because HTTP libraries of collectors send it beside
// application/json.
func wantsPrometheus(accept []string) bool {
	var ours, theirs float64
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, parameters, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := parameters["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		_, versioned := parameters["version"]
		switch {
		case kind == "application/openmetrics-text", kind == "text/plain" && versioned,
			kind == "application/vnd.google.protobuf" &&
				parameters["proto"] == "io.prometheus.client.MetricFamily":
			ours = max(ours, q)
		case kind == "application/json":
			theirs = max(theirs, q)
		}
	}
	return ours > 0 && ours > theirs
}
