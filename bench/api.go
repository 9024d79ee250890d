package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"distributor/bench/proc"
	"distributor/bench/stats"
	"distributor/engine/config"
	"distributor/wsproto/shardus"
)

// apiSize is how much the HTTP API is asked, of how much.
type apiSize struct {
	records, rounds int           // receipts, transactions and cycles in the databases, in the standard mix
	warm, measured  time.Duration // of each kind of request, for each number of connections
}

// apiKinds are the requests that are measured, each by itself.
var apiKinds = []struct {
	path, parameters, list string
	rows                   int
}{
	{"/receipt", `"count":100,`, "receipts", 100},
	{"/cycleinfo", `"count":100,`, "cycleInfo", 100},
	{"/totalData", "", "", 0},
}

// apiConnections are how many ask at a time.
var apiConnections = []int{1, 16}

// api measures the HTTP API by itself: nothing is appended, nobody is sent to.
func api(ctx context.Context, b *bench, name string, size apiSize) error {
	databases, err := b.fill(name, size.records)
	if err != nil {
		return err
	}
	requests, err := signedRequests()
	if err != nil {
		return err
	}
	results := make(map[string][]asked)
	var order []string
	err = b.steadyRounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		d, err := b.distributor(b.server, databases)
		if err != nil {
			return nil, nil, err
		}
		defer b.finish(d.close)
		now := make(map[string]asked)
		order = order[:0]
		for i, r := range requests {
			for _, n := range apiConnections {
				m, err := b.ask(ctx, d, apiLoad{Connections: n, Requests: requests[i : i+1], Still: true}, size)
				if err != nil {
					return nil, nil, err
				}
				what := fmt.Sprintf("%s, %d", r.Path, n)
				b.report.round(name, what, round, m.measurement, m.answers.extra())
				now[what], order, ms = m, append(order, what), append(ms, m.measurement)
			}
		}
		return func() {
			for what, m := range now {
				results[what] = append(results[what], m)
			}
		}, ms, nil
	})
	if err != nil {
		return err
	}
	for _, what := range order {
		ms := results[what]
		b.report.figure(name, what, "requests/s", values(ms, func(m asked) float64 { return m.answers.perSecond() }))
		if ms[0].answers.Rows > 0 {
			b.report.figure(name, what+", rows", "rows/s", values(ms, func(m asked) float64 { return float64(m.answers.Rows) / m.answers.Seconds }))
		}
		b.report.figure(name, what+", p50", "ms", values(ms, func(m asked) float64 { return m.answers.P50 }))
		b.report.figure(name, what+", p99", "ms", values(ms, func(m asked) float64 { return m.answers.P99 }))
		b.report.figure(name, what+", primary, a request", "CPU ms", values(ms, func(m asked) float64 { return m.Primary / float64(m.answers.Requests) * 1e3 }))
	}
	return nil
}

// asked is the measurement of an API under load.
type asked struct {
	measurement
	answers apiResult
}

func (r apiResult) perSecond() float64 { return float64(r.Requests) / r.Seconds }

func (r apiResult) extra() map[string]any {
	return map[string]any{"requests": r.Requests, "bytes": r.Bytes, "verified": r.Verified, "p50_ms": r.P50, "p99_ms": r.P99}
}

// ask has a load ask a distributor, and measures it.
func (b *bench) ask(ctx context.Context, d *distributor, load apiLoad, size apiSize) (m asked, err error) {
	l, err := b.startLoad(ctx, d, load)
	if err != nil {
		return m, err
	}
	defer b.finish(l.Close)
	if err := sleep(ctx, size.warm); err != nil {
		return m, err
	}
	p := d.processes()
	p.load = []int{l.PID()}
	before, err := b.read(p)
	if err != nil {
		return m, err
	}
	if err := l.begin(); err != nil {
		return m, err
	}
	if err := sleep(ctx, size.measured); err != nil {
		return m, err
	}
	after, err := b.read(p)
	if err != nil {
		return m, err
	}
	m.measurement = after.since(before)
	m.answers, err = l.end()
	return m, err
}

// loading is the parent's end of a load.
type loading struct{ *proc.Child }

// startLoad returns when every connection has had an answer.
func (b *bench) startLoad(ctx context.Context, d *distributor, load apiLoad) (*loading, error) {
	owner, err := shardus.ParsePublicKey(config.Default().PublicKey)
	if err != nil {
		return nil, err
	}
	load.Address, load.HashKey, load.Owner = d.Address, hashKey(), owner
	child, err := proc.StartChild(ctx, b.generator, apiRole)
	if err != nil {
		return nil, err
	}
	var ready apiResult
	err = child.Ask(load, &ready)
	if err == nil && ready.Error != "" {
		err = errors.New(ready.Error)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("HTTP API: %w", err), child.Close())
	}
	return &loading{child}, nil
}

func (l *loading) begin() error { return l.Tell(struct{}{}) }

// end stops it. Every answer must have been right.
func (l *loading) end() (r apiResult, err error) {
	err = l.Ask(struct{}{}, &r)
	if err == nil && r.Error != "" {
		err = fmt.Errorf("HTTP API: %s", r.Error)
	}
	return r, err
}

// signedRequests are one of each kind.
func signedRequests() (requests []apiRequest, err error) {
	_, key, err := shardus.GenerateKey()
	if err != nil {
		return nil, err
	}
	signer := shardus.NewSigner(key, hashKey())
	for _, k := range apiKinds {
		object, err := shardus.Parse(fmt.Appendf(nil, `{%s"sender":%q}`, k.parameters, signer.PublicKey()))
		if err != nil {
			return nil, err
		}
		body, err := signer.AppendSigned(nil, object)
		if err != nil {
			return nil, err
		}
		requests = append(requests, apiRequest{Path: k.path, Body: string(body), List: k.list, Rows: k.rows})
	}
	return requests, nil
}

// besideSize is the firehose that goes on while the API is asked.
type besideSize struct {
	records int // in the databases before
	latencySize
}

// beside measures the firehose's latency alone, and by turns with it while
// connections ask the API without pause and a writer inserts into its
// databases as fast as it can. The databases grow from round to round.
func beside(ctx context.Context, b *bench, name string, size besideSize) error {
	databases, err := b.fill(name, size.records)
	if err != nil {
		return err
	}
	requests, err := signedRequests()
	if err != nil {
		return err
	}
	var alone, busy []pace
	var answered []apiResult
	var written []float64
	err = b.steadyRounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		quiet, err := b.pacedDistributor(ctx, size.latencySize, databases, nil)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "alone", round, quiet.measurement, quiet.extra())
		var result apiResult
		var rows float64
		loud, err := b.pacedDistributor(ctx, size.latencySize, databases, func(d *distributor) (pids []int, begin, end func() error, err error) {
			w, err := b.startWriter(ctx, databases, fmt.Sprintf("round %d", round))
			if err != nil {
				return nil, nil, nil, err
			}
			l, err := b.startLoad(ctx, d, apiLoad{Connections: apiConnections[len(apiConnections)-1], Requests: requests})
			if err != nil {
				return nil, nil, nil, errors.Join(err, w.Close())
			}
			return []int{w.PID(), l.PID()}, l.begin, func() error {
				var endErr, writeErr error
				result, endErr = l.end()
				rows, writeErr = w.end()
				return errors.Join(endErr, writeErr, l.Close(), w.Close())
			}, nil
		})
		if err != nil {
			return nil, nil, err
		}
		extra := result.extra()
		extra["firehose"], extra["written"] = loud.extra(), rows
		b.report.round(name, "beside API, writer", round, loud.measurement, extra)
		return func() {
			alone, busy, answered, written = append(alone, quiet), append(busy, loud), append(answered, result), append(written, rows)
		}, []measurement{quiet.measurement, loud.measurement}, nil
	})
	if err != nil {
		return err
	}
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		b.report.figure(name, "append to receipt, beside : alone, "+q.name, "×", stats.Ratios(percentiles(busy, q.at), percentiles(alone, q.at)))
		b.report.figure(name, "append to receipt, alone, "+q.name, "ms", percentiles(alone, q.at))
		b.report.figure(name, "append to receipt, beside, "+q.name, "ms", percentiles(busy, q.at))
	}
	share := func(m pace) float64 { return serverCPU(m.measurement) / m.Seconds }
	b.report.figure(name, "primary + worker, share of their core, alone", "", values(alone, share))
	b.report.figure(name, "primary + worker, share of their core, beside", "", values(busy, share))
	b.report.figure(name, "API", "requests/s", values(answered, apiResult.perSecond))
	b.report.figure(name, "API, p50", "ms", values(answered, func(r apiResult) float64 { return r.P50 }))
	b.report.figure(name, "API, p99", "ms", values(answered, func(r apiResult) float64 { return r.P99 }))
	b.report.figure(name, "written meanwhile", "records/s", written)
	return nil
}

// fill makes databases of so many records.
func (b *bench) fill(name string, records int) (dir string, err error) {
	dir = filepath.Join(b.dir, name, "databases")
	begun := time.Now()
	w, err := openWriter(dir, "bench", 1)
	if err != nil {
		return "", err
	}
	for err == nil && w.written < records {
		err = w.write(fillBatch)
	}
	if err := errors.Join(err, w.close()); err != nil {
		return "", err
	}
	b.report.say("  %d records in databases, in %v", w.written, time.Since(begun).Round(100*time.Millisecond))
	return dir, nil
}
