package engine

import (
	"context"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"distributor/engine/config"
	"distributor/engine/metrics"
	"distributor/engine/query"
	"distributor/engine/status"
	"distributor/mmaplog/datalog"
)

// What the public port answers beside upgrades: the HTTP API, and the replaced service's metrics.

func databases(cfg *config.Config) query.Databases {
	if one := cfg.ArchiverDBPath; one != "" {
		return query.Databases{
			Cycles: one, Accounts: one, Transactions: one, Receipts: one, OriginalTxs: one,
		}
	}
	in := func(name string) string { return filepath.Join(cfg.ArchiverDBDir, name) }
	d := cfg.ArchiverData
	return query.Databases{
		Cycles: in(d.CycleDB), Accounts: in(d.AccountDB), Transactions: in(d.TransactionDB),
		Receipts: in(d.ReceiptDB), OriginalTxs: in(d.OriginalTxDataDB),
	}
}

func (p *primary) querySettings(cfg *config.Config) query.Settings {
	s := query.Settings{
		IP: cfg.DistributorIP, Port: cfg.DistributorPort, PublicKey: cfg.PublicKey,
		LimitToSubscribersOnly: cfg.LimitToSubscribersOnly, HideSubscribers: cfg.HideSubscribers,
		StopAtCycle: cfg.StopAtCycle, RequestTime: cfg.APITimeout, Memory: cfg.APIMemory,
	}
	if listening, ok := p.listener.Addr().(*net.TCPAddr); ok {
		s.Port = listening.Port // where 0 was asked for
	}
	for _, sub := range cfg.Subscribers {
		s.Subscribers = append(s.Subscribers, query.Subscriber{
			PublicKey: sub.PublicKey, ExpirationTimestamp: sub.ExpirationTimestamp,
			SubscriptionType: sub.SubscriptionType,
		})
	}
	return s
}

// publicAPI returns all that the public port answers beside upgrades and health checks, by method
// and path.
func (p *primary) publicAPI() map[string]http.Handler {
	prometheus := func(w http.ResponseWriter, r *http.Request) { p.metrics.ServeHTTP(w, r) }
	api := map[string]http.Handler{
		"GET /metrics": metrics.Public(p.counts, http.HandlerFunc(prometheus)),
	}
	for _, route := range query.Routes() {
		api[route] = p.api
	}
	return api
}

// counts returns what the replaced service tells of its streams.
func (p *primary) counts() metrics.Counts {
	of := func(s datalog.Stream) metrics.Count {
		read := int64(p.encoder.Stats(s).Records)
		c := metrics.Count{Records: p.stored[s].Load() + read, Updated: p.started}
		if grown := p.sourceStats(s).LastGrowth; read > 0 && grown.After(c.Updated) {
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
func (p *primary) countStored(ctx context.Context) {
	tables := map[datalog.Stream]string{
		datalog.Cycle: "cycles", datalog.OriginalTx: "originalTxsData", datalog.Receipt: "receipts",
	}
	for pause := countAgain; ; pause *= 2 {
		var read datalog.PerStream[int64]
		for _, s := range datalog.Streams {
			read[s] = int64(p.encoder.Stats(s).Records)
		}
		rows := p.api.RowCounts(ctx)
		for _, s := range datalog.Streams {
			if n, counted := rows[tables[s]]; counted {
				p.stored[s].Store(max(0, n-read[s]))
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
func (p *primary) apiStatus() status.API {
	s := p.api.Snapshot()
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
