package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"distributor/engine/admin"
	"distributor/engine/config"
	"distributor/engine/metrics"
	"distributor/engine/query"
	"distributor/engine/status"
	"distributor/engine/status/page"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// observed is what shows how the primary and its workers are.
type observed struct {
	events  *status.Events // of the log
	board   *status.Board
	metrics http.Handler
	admin   net.Listener // nil: off

	// stored is how many rows the archiver's tables had when this process began
	// to read, by stream; 0 until they are counted.
	stored datalog.PerStream[atomic.Int64]
}

// countAgain is how soon rows are counted again when a database did not answer;
// each time twice as long, as counting reads whole indices.
const countAgain = 10 * time.Second

// openObserved begins to collect. All other parts must be there.
func (p *primary) openObserved(cfg *config.Config) {
	p.board = status.NewBoard(status.Sources{
		Version: p.o.Version, Started: p.started,
		Source:   p.sourceStats,
		Encoder:  p.encoder.Stats,
		FrameLog: func() framelog.Stats { return p.logs.Load().stats() }, LogID: p.id().String(), LogDir: frameLogDir(cfg), Blocked: p.encoder.Blocked,
		Workers: p.workers.Snapshot, Gateway: p.gateway.Snapshot, Deflate: p.deflate.Stats,
		API: p.apiStatus, Health: p.detailedHealth, Events: p.events,
	})
	p.metrics = metrics.Handler(p.board.Status, p.log)
}

// listenAdmin gives nil when there is to be no listener, and when the default's
// port is taken: a second distributor on the machine is not to fail for what
// nobody asked for.
func listenAdmin(address string, log *slog.Logger) (net.Listener, error) {
	if address == "" || address == config.Off {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if address == config.Default().AdminAddr && errors.Is(err, syscall.EADDRINUSE) {
		log.Warn("no admin listener: its port is taken; give each distributor an ADMIN_ADDR of its own, or off", "address", address)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("engine: listen (ADMIN_ADDR): %w", err)
	}
	if !loopback(l.Addr()) {
		log.Warn("ADMIN_ADDR is reachable from beyond this machine; it asks nobody who they are, and profiles tell a lot", "address", l.Addr().String())
	}
	return l, nil
}

// observe keeps the status new and answers on the admin listener until ctx ends.
func (p *primary) observe(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { p.health.run(ctx) })
	parts.Go(func() { p.board.Run(ctx) })
	parts.Go(func() { p.countStored(ctx) })
	if p.admin == nil {
		return
	}
	p.log.Info("admin listener", "address", p.admin.Addr().String())
	err := admin.Serve(ctx, p.admin, admin.Options{
		Address: p.cfg.Load().AdminAddr, Board: p.board, Metrics: p.metrics, Health: p.healthText,
		Page: page.Handler(), Profile: p.workers.Profile, Query: p.api.Connect,
		Args: config.HideSecrets(p.o.Binary), Level: p.o.Level, SetLevel: p.setLevel, Log: p.log,
	})
	if err != nil {
		p.log.Error("admin listener failed", "error", err)
	}
}

// setLevel changes the level of the log, in workers too, until the next reload.
func (p *primary) setLevel(level slog.Level) error {
	p.applying.Lock()
	defer p.applying.Unlock()
	l := limits(p.cfg.Load())
	l.Settings.LogLevel = level.String()
	if err := p.workers.Configure(l); err != nil {
		return err
	}
	p.api.SetLevel(level)
	p.o.Level.Set(level)
	p.log.Info("log level set until the next reload", "level", level.String())
	return nil
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

// counts are what the replaced service tells of its streams.
func (p *primary) counts() metrics.Counts {
	of := func(s datalog.Stream) metrics.Count {
		read := int64(p.encoder.Stats(s).Records)
		c := metrics.Count{Records: p.stored[s].Load() + read, Updated: p.started}
		if grown := p.sourceStats(s).LastGrowth; read > 0 && grown.After(c.Updated) {
			c.Updated = grown
		}
		return c
	}
	return metrics.Counts{Cycle: of(datalog.Cycle), OriginalTx: of(datalog.OriginalTx), Receipt: of(datalog.Receipt)}
}

// countStored counts the rows of each stream's table once, which may take a
// while. Records read before that are in the table already, or about to be.
func (p *primary) countStored(ctx context.Context) {
	tables := map[datalog.Stream]string{datalog.Cycle: "cycles", datalog.OriginalTx: "originalTxsData", datalog.Receipt: "receipts"}
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

// apiStatus is the API's counters in the form of a Status.
func (p *primary) apiStatus() status.API {
	s := p.api.Snapshot()
	endpoints, tables := []status.Endpoint{}, []status.Table{}
	for _, path := range slices.Sorted(maps.Keys(s.Endpoints)) {
		endpoints = append(endpoints, endpoint(path, s.Endpoints[path]))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		t := s.Tables[name]
		tables = append(tables, status.Table{Name: name, Rows: int64(t.Rows), Damaged: int64(t.Damaged), Failing: t.Failing})
	}
	return status.API{PID: s.PID, Endpoints: endpoints, Tables: tables}
}

func endpoint(path string, s query.EndpointSnapshot) status.Endpoint {
	e := status.Endpoint{Path: path, Statuses: status.Counts{"200": 0}, Seconds: status.Histogram{Sum: s.Total.Seconds()}}
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

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
