package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"distributor/bench/raw"
	"distributor/bench/stats"
	"distributor/bench/subscriber"
	"distributor/engine/simulator"
	"distributor/wsproto"
	"distributor/wsproto/collector"
)

// latencySize is how many clients get how many records a second, for how long.
type latencySize struct {
	clients, rounds int
	rate            float64
	warm, measured  time.Duration
}

// sampled are the clients among them that take the time of each record. They
// live in the same process as the archiver, so that both have one clock.
const sampled = 8

// latency appends records at a steady rate, each by a write of its own, and
// takes the time from just before that write until a client has the record,
// in the same process. The baseline writes the same kind of frames at the same
// rate to the same number of sockets; of it only the CPU is compared.
func latency(ctx context.Context, b *bench, name string, size latencySize) error {
	frames := int(size.rate*(size.warm+size.measured).Seconds()) + 100
	st, err := newStage(ctx, filepath.Join(b.dir, name), true, func(s stage) bool { return s.Records >= frames })
	if err != nil {
		return err
	}
	b.stageMade(name, st)
	var worker, server, bare, busy []float64 // CPU time a delivery, in µs; share of a core
	var p50, p99, p999 []float64             // in ms
	for round := 1; round <= size.rounds; round++ {
		r, err := b.rawPaced(ctx, st, size)
		if err != nil {
			return err
		}
		b.report.round(name, "raw", round, r.measurement, map[string]any{"deliveries": r.deliveries})
		m, took, err := b.paced(ctx, size)
		if err != nil {
			return err
		}
		ms := make([]float64, len(took))
		for i, d := range took {
			ms[i] = d.Seconds() * 1e3
		}
		slices.Sort(ms)
		b.report.round(name, "distributor", round, m.measurement, map[string]any{
			"deliveries": m.deliveries, "samples": len(ms),
			"p50_ms": stats.Percentile(ms, 0.5), "p99_ms": stats.Percentile(ms, 0.99), "p999_ms": stats.Percentile(ms, 0.999), "max_ms": stats.Percentile(ms, 1),
		})
		p50, p99, p999 = append(p50, stats.Percentile(ms, 0.5)), append(p99, stats.Percentile(ms, 0.99)), append(p999, stats.Percentile(ms, 0.999))
		bare = append(bare, r.Server/r.deliveries*1e6)
		worker, server = append(worker, m.Server/m.deliveries*1e6), append(server, serverCPU(m.measurement)/m.deliveries*1e6)
		busy = append(busy, serverCPU(m.measurement)/m.Seconds)
	}
	b.report.figure(name, "append to receipt, p50", "ms", p50)
	b.report.figure(name, "append to receipt, p99", "ms", p99)
	b.report.figure(name, "append to receipt, p99.9", "ms", p999)
	b.report.figure(name, "worker : raw, CPU", "×", stats.Ratios(worker, bare))
	b.report.figure(name, "primary + worker : raw, CPU", "×", stats.Ratios(server, bare))
	b.report.figure(name, "raw, a record and client", "CPU µs", bare)
	b.report.figure(name, "worker, a record and client", "CPU µs", worker)
	b.report.figure(name, "the server's core, busy with primary + worker", "share", busy)
	return nil
}

// pacedMeasurement is one in which so many records reached a client, all
// clients counted.
type pacedMeasurement struct {
	measurement
	deliveries float64
}

func (b *bench) rawPaced(ctx context.Context, st stage, size latencySize) (m pacedMeasurement, err error) {
	s, err := raw.Start(ctx, b.server, raw.Options{File: st.frames, Paced: true})
	if err != nil {
		return m, err
	}
	defer b.finish(s.Close)
	fleet, err := subscriber.Start(ctx, b.generator)
	if err != nil {
		return m, err
	}
	defer b.finish(fleet.Close)
	if err := fleet.Connect(subscriber.Target{Address: s.Address, Bare: true}, size.clients); err != nil {
		return m, err
	}
	if _, err := s.Pace(raw.Pace{Rate: size.rate, Frames: int(size.rate * size.warm.Seconds())}); err != nil {
		return m, err
	}
	p := processes{server: s.PID(), subscribers: fleet.PID()}
	before, err := p.read(b.all)
	if err != nil {
		return m, err
	}
	frames := int(size.rate * size.measured.Seconds())
	sent, err := s.Pace(raw.Pace{Rate: size.rate, Frames: frames})
	if err != nil {
		return m, err
	}
	after, err := p.read(b.all)
	m = pacedMeasurement{after.since(before), float64(frames) * float64(size.clients)}
	if err == nil {
		_, err = fleet.Until(sent.Bytes / uint64(size.clients))
	}
	return m, err
}

// paced measures a distributor, and the latency of each record appended
// meanwhile, for each sampled client.
func (b *bench) paced(ctx context.Context, size latencySize) (m pacedMeasurement, took []time.Duration, err error) {
	d, err := b.distributor(b.server)
	if err != nil {
		return m, nil, err
	}
	defer b.finish(d.close)
	fleet, err := subscriber.Start(ctx, b.generator)
	if err != nil {
		return m, nil, err
	}
	defer b.finish(fleet.Close)
	clients, err := b.mixed(ctx, d, fleet, size.clients)
	for _, c := range clients {
		defer c.Close()
	}
	if err != nil {
		return m, nil, err
	}

	w := newWatch()
	running, stop := context.WithCancel(ctx)
	var receiving sync.WaitGroup
	defer receiving.Wait() // before the clients are closed
	defer stop()
	arrived := make([]arrivals, len(clients))
	for i, c := range clients {
		receiving.Go(func() { arrived[i].receive(running, c) })
	}
	archived := make(chan error, 1)
	go func() {
		_, err := simulator.Run(running, simulator.Options{
			Dir: d.logs(), Seed: "bench", Rates: simulator.Spread(size.rate, simulator.Streams[:]...),
			Duration: size.warm + size.measured + time.Second, Batch: time.Duration(float64(time.Second) / size.rate), OnWrite: w.appended,
		})
		archived <- err
	}()

	p := processes{primary: d.PID(), server: d.Worker, subscribers: fleet.PID()}
	if err := sleep(ctx, size.warm); err != nil {
		return m, nil, err
	}
	before, err := p.read(b.all)
	if err != nil {
		return m, nil, err
	}
	if err := sleep(ctx, size.measured); err != nil {
		return m, nil, err
	}
	after, err := p.read(b.all)
	if err := errors.Join(err, <-archived, ctx.Err()); err != nil {
		return m, nil, err
	}
	for i := range arrived {
		if err := arrived[i].await(ctx, w.total); err != nil {
			return m, nil, fmt.Errorf("sampled client %d: %w", i+1, err)
		}
	}
	stop()
	receiving.Wait()
	records := w.between(before.at, after.at)
	m = pacedMeasurement{after.since(before), float64(records) * float64(size.clients)}
	for i := range arrived {
		took = append(took, w.latencies(&arrived[i], before.at, after.at)...)
	}
	if len(took) != records*len(clients) {
		err = fmt.Errorf("%d latencies of %d records and %d clients", len(took), records, len(clients))
	}
	return m, took, err
}

// mixed connects n clients, of which some are sampled, spread evenly over the
// order in which they connect: a worker may serve them in that order.
func (b *bench) mixed(ctx context.Context, d *distributor, fleet *subscriber.Fleet, n int) (clients []*collector.Collector, err error) {
	t := subscriber.Target{Address: d.Address, From: "live", HashKey: hashKey()}
	for i, cheap := 0, n-sampled; i < sampled; i++ {
		if err := fleet.Connect(t, (i+1)*cheap/sampled-i*cheap/sampled); err != nil {
			return clients, err
		}
		c, err := dial(ctx, d, wsproto.From{Start: wsproto.Live})
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

// watch knows when each record was appended. Within a stream records arrive in
// the order they were appended, so a record is told by its number.
type watch struct {
	at    map[string][]time.Time // by stream
	total int
}

func newWatch() *watch { return &watch{at: make(map[string][]time.Time)} }

// appended is the archiver's OnWrite; all else comes after it has stopped.
func (w *watch) appended(stream string, _ []byte, at time.Time) {
	w.at[stream] = append(w.at[stream], at)
	w.total++
}

// between counts the records appended from a moment until another.
func (w *watch) between(from, to time.Time) (n int) {
	for _, times := range w.at {
		for _, at := range times {
			if !at.Before(from) && at.Before(to) {
				n++
			}
		}
	}
	return n
}

// latencies are those of the records appended between two moments.
func (w *watch) latencies(a *arrivals, from, to time.Time) (took []time.Duration) {
	for stream, received := range a.at {
		for i, r := range received {
			if at := w.at[stream][i]; !at.Before(from) && at.Before(to) {
				took = append(took, r.Sub(at))
			}
		}
	}
	return took
}

// arrivals are when one client received each record.
type arrivals struct {
	at    map[string][]time.Time // by stream
	count atomic.Int64
	err   atomic.Pointer[error]
}

func (a *arrivals) receive(ctx context.Context, c *collector.Collector) {
	a.at = make(map[string][]time.Time)
	for {
		m, err := c.Next(ctx)
		if err != nil {
			a.err.Store(&err)
			return
		}
		a.at[m.Stream] = append(a.at[m.Stream], m.Received)
		a.count.Add(1)
	}
}

// await waits until n records are there.
func (a *arrivals) await(ctx context.Context, n int) error {
	for end := time.Now().Add(patience); ; {
		count := int(a.count.Load())
		err := a.err.Load()
		switch {
		case count == n:
			return nil
		case err != nil:
			return *err
		case count > n || time.Now().After(end):
			return fmt.Errorf("%d records came, %d were appended", count, n)
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
