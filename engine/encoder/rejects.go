package encoder

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto/shardus"
)

const (
	// logEvery is the shortest time between two log lines about rejected records of a stream.
	logEvery = 10 * time.Second
	// sampleBytes is how much of a rejected line is logged.
	sampleBytes = 120
)

// rejects counts the lines that are not acceptable records, by reason.
type rejects struct {
	log    *slog.Logger
	mu     sync.Mutex // guards what follows; rejects are rare
	count  datalog.PerStream[map[string]uint64]
	logged datalog.PerStream[time.Time]
	silent datalog.PerStream[int] // rejects since the last log line
}

func (r *rejects) note(stream datalog.Stream, rec datalog.Record, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count[stream] == nil {
		r.count[stream] = make(map[string]uint64)
	}
	r.count[stream][reason(err)]++
	if time.Since(r.logged[stream]) < logEvery {
		r.silent[stream]++
		return
	}
	r.log.Warn("a line of a data log is no record, skipped",
		"stream", stream.String(), "file", rec.Next.Number, "ends_at", rec.Next.Offset,
		"bytes", len(rec.Line),
		"error", err, "begins", string(rec.Line[:min(len(rec.Line), sampleBytes)]),
		"not_logged_before", r.silent[stream])
	r.logged[stream], r.silent[stream] = time.Now(), 0
}

func (r *rejects) counts(stream datalog.Stream) map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]uint64, len(reasons))
	for _, reason := range reasons {
		out[reason] = r.count[stream][reason]
	}
	return out
}

// Reasons of a rejection, used as metric labels.
const (
	tooDeep            = "too_deep"
	tooLarge           = "too_large"
	notJSON            = "not_json"
	notCanonicalisable = "not_canonicalisable"
)

// reasons lists every reason, so that a metric shows each from the start.
var reasons = []string{tooDeep, tooLarge, notJSON, notCanonicalisable}

// reason returns the metric label of a rejection.
func reason(err error) string {
	switch {
	case errors.Is(err, shardus.ErrDepth):
		return tooDeep
	case errors.Is(err, shardus.ErrLarge), errors.Is(err, framelog.ErrFrame):
		return tooLarge
	case errors.Is(err, shardus.ErrSyntax):
		return notJSON
	}
	return notCanonicalisable
}
