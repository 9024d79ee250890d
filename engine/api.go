package engine

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"distributor/engine/encoder"
	"distributor/engine/metrics"
	"distributor/engine/query"
	"distributor/engine/status"
	"distributor/mmaplog/datalog"
)

// What the public port answers beside upgrades: the HTTP API, and the replaced service's metrics.

// publicAPI returns all that the public port answers beside upgrades and health checks, by method
// and path.
func publicAPI(
	front *query.Front, counts func() metrics.Counts, prometheus http.HandlerFunc,
) map[string]http.Handler {
	api := map[string]http.Handler{"GET /metrics": metrics.Public(counts, prometheus)}
	for _, route := range query.Routes() {
		api[route] = front
	}
	return api
}

// recordCounts counts what the replaced service counted of its streams.
type recordCounts struct {
	encoder *encoder.Encoder
	stats   func(datalog.Stream) datalog.Stats
	started time.Time
	// stored is how many rows the archiver's tables had when this process began
	// to read, by stream; 0 until they are counted.
	stored datalog.PerStream[atomic.Int64]
}

// counts returns what the replaced service tells of its streams.
func (r *recordCounts) counts() metrics.Counts {
	of := func(s datalog.Stream) metrics.Count {
		read := int64(r.encoder.Stats(s).Records)
		c := metrics.Count{Records: r.stored[s].Load() + read, Updated: r.started}
		if grown := r.stats(s).LastGrowth; read > 0 && grown.After(c.Updated) {
			c.Updated = grown
		}
		return c
	}
	return metrics.Counts{
		Cycle: of(datalog.Cycle), OriginalTx: of(datalog.OriginalTx), Receipt: of(datalog.Receipt),
	}
}

// countAgain is how soon rows are counted again when a database did not answer. The pause doubles
// each time, because counting reads whole indices.
const countAgain = 10 * time.Second

// countStored counts the rows of each stream's table once, which may take a
// while. Records read before that are in the table already, or about to be.
func (r *recordCounts) countStored(ctx context.Context, front *query.Front) {
	tables := map[datalog.Stream]string{
		datalog.Cycle: "cycles", datalog.OriginalTx: "originalTxsData", datalog.Receipt: "receipts",
	}
	for pause := countAgain; ; pause *= 2 {
		var read datalog.PerStream[int64]
		for _, s := range datalog.Streams {
			read[s] = int64(r.encoder.Stats(s).Records)
		}
		rows := front.RowCounts(ctx)
		for _, s := range datalog.Streams {
			if n, counted := rows[tables[s]]; counted {
				r.stored[s].Store(max(0, n-read[s]))
				delete(tables, s)
			}
		}
		if len(tables) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// apiStatus returns the API's counters in the form of a Status.
func apiStatus(s query.Snapshot) status.API {
	endpoints, tables := []status.Endpoint{}, []status.Table{}
	for _, path := range slices.Sorted(maps.Keys(s.Endpoints)) {
		endpoints = append(endpoints, endpoint(path, s.Endpoints[path]))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		t := s.Tables[name]
		tables = append(tables, status.Table{
			Name: name, Rows: int64(t.Rows), Damaged: int64(t.Damaged), Failing: t.Failing,
		})
	}
	return status.API{PID: s.PID, Endpoints: endpoints, Tables: tables}
}

func endpoint(path string, s query.EndpointSnapshot) status.Endpoint {
	e := status.Endpoint{
		Path: path, Statuses: status.Counts{"200": 0},
		Seconds: status.Histogram{Sum: s.Total.Seconds()},
	}
	for code, n := range s.Status {
		e.Statuses[strconv.Itoa(code)] = int64(n)
	}
	for _, bound := range query.Bounds {
		e.Seconds.Bounds = append(e.Seconds.Bounds, bound.Seconds())
	}
	var sum int64
	for _, n := range s.Buckets {
		sum += int64(n)
		e.Seconds.Counts = append(e.Seconds.Counts, sum)
	}
	e.P50, e.P99 = e.Seconds.Quantile(0.5, 0), e.Seconds.Quantile(0.99, 0)
	return e
}
