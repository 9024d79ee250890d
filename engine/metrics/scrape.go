package metrics

import (
	"bytes"
	"compress/gzip"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"distributor/engine/status"
)

const (
	// maxAge is how old the figures of a scrape may be.
	maxAge = time.Second
	// takenWithin is how long a client may take to read a scrape. A text is kept while a client still
	// reads it. With this limit, at most ten seconds' worth of texts are kept, whatever the number of
	// clients.
	takenWithin = 10 * time.Second
)

// formats are the formats that a scrape may ask for. A scrape that asks for none gets the first.
var formats = []expfmt.Format{
	expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtProtoDelim,
}

// scrapes renders the figures into memory, at most once per maxAge and form, and serves the same
// text to all requests meanwhile. No lock is held while a client reads, so clients of one listener
// cannot block clients of another.
type scrapes struct {
	of     func() *status.Status
	gather prometheus.Gatherer
	log    *slog.Logger

	mu       sync.Mutex // held while figures are rendered, never while they are written
	shown    *status.Status
	gathered time.Time
	families []*dto.MetricFamily
	failure  error
	texts    map[form][]byte
}

// form identifies a rendered text.
type form struct {
	format expfmt.Format // one of formats
	gzip   bool
}

// Handler answers in the Prometheus formats: text, OpenMetrics or protobuf, as the request accepts.
// It shows the Status that of returns, and figures of the Go runtime and of this process (go_…,
// process_…).
func Handler(of func() *status.Status, log *slog.Logger) http.Handler {
	return &scrapes{of: of, gather: registry(of), log: log}
}

func (s *scrapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	format := expfmt.NegotiateAccept(r.Header, formats...)
	f := form{known(format), acceptsGzip(r.Header.Values("Accept-Encoding"))}
	text, err := s.text(f)
	if err != nil {
		http.Error(w, "metrics: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	// includes the requested escaping, which our names do not need
	h.Set("Content-Type", string(format))
	h.Add("Vary", "Accept, Accept-Encoding")
	if f.gzip {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(takenWithin)) // a recorder has none
	_, _ = w.Write(text)                                      // the client may have gone
}

// known returns the entry of formats that equals a negotiated format.
func known(format expfmt.Format) expfmt.Format {
	for _, f := range formats {
		if f.FormatType() == format.FormatType() && f.Version() == format.Version() {
			return f
		}
	}
	return formats[0]
}

func (s *scrapes) text(f form) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if newest := s.of(); s.texts == nil || newest != s.shown || time.Since(s.gathered) >= maxAge {
		s.shown, s.gathered, s.texts = newest, time.Now(), make(map[form][]byte)
		if s.families, s.failure = s.gather.Gather(); s.failure != nil {
			s.log.Error("metrics cannot be shown", "error", s.failure)
		}
	}
	if s.failure != nil {
		return nil, s.failure
	}
	if text := s.texts[f]; text != nil {
		return text, nil
	}
	text, err := render(s.families, f.format)
	if err == nil && f.gzip {
		text, err = compress(text)
	}
	if err != nil {
		s.failure = err
		s.log.Error("metrics cannot be shown", "error", err)
		return nil, err
	}
	s.texts[f] = text
	return text, nil
}

func render(families []*dto.MetricFamily, format expfmt.Format) ([]byte, error) {
	var out bytes.Buffer
	e := expfmt.NewEncoder(&out, format)
	for _, family := range families {
		if err := e.Encode(family); err != nil {
			return nil, err
		}
	}
	if closer, ok := e.(expfmt.Closer); ok { // OpenMetrics ends with a marker
		if err := closer.Close(); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func compress(text []byte) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// acceptsGzip reports whether accept names gzip with a quality above 0.
func acceptsGzip(accept []string) bool {
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, parameter, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, has := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(parameter, " ", "")), "q=")
		if value, err := strconv.ParseFloat(q, 64); !has || err == nil && value > 0 {
			return true
		}
	}
	return false
}
