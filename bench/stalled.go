package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"distributor/bench/proc"
	"distributor/bench/stats"
	"distributor/bench/subscriber"
	"distributor/engine/simulator"
	"distributor/wsproto"
)

// stalledSize is a fan-out, and a steady rate, beside clients that never read.
type stalledSize struct {
	fanoutSize        // clients: those that read
	stalled    int    // clients that do not
	history    uint64 // bytes that were sent before, at the steady rate: more than a socket holds
	pace       latencySize
}

// stalled measures clients that read, alone and beside others that never do,
// by turns: unthrottled, and at a steady rate. The others are on sockets that
// are full.
func stalled(ctx context.Context, b *bench, name string, size stalledSize) error {
	st, err := newStage(ctx, filepath.Join(b.dir, name), false, func(s stage) bool { return s.FrameBytes >= size.total/uint64(size.clients) })
	if err != nil {
		return err
	}
	b.stageMade(name, st)
	type run struct {
		burst  measurement
		pace   pace
		kernel float64 // bytes of all sockets at the end of the burst
	}
	one := func(round int, what string, deaf int) (r run, err error) {
		if r.burst, r.kernel, err = b.burstBeside(ctx, st, size.clients, deaf); err != nil {
			return r, err
		}
		b.report.round(name, what, round, r.burst, map[string]any{"kernel_sockets_bytes": r.kernel})
		if r.pace, err = b.paceBeside(ctx, size.pace, size.history, deaf); err != nil {
			return r, err
		}
		b.report.round(name, what+", paced", round, r.pace.measurement, r.pace.extra())
		return r, nil
	}
	var alone, beside []run
	err = b.steadyRounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		without, err := one(round, "without", 0)
		if err != nil {
			return nil, nil, err
		}
		with, err := one(round, "with stalled", size.stalled)
		if err != nil {
			return nil, nil, err
		}
		return func() { alone, beside = append(alone, without), append(beside, with) },
			[]measurement{without.burst, without.pace.measurement, with.burst, with.pace.measurement}, nil
	})
	if err != nil {
		return err
	}
	of := func(runs []run, value func(run) float64) []float64 { return values(runs, value) }
	throughput := func(r run) float64 { return float64(st.FrameBytes) * float64(size.clients) / 1e9 / r.burst.Seconds }
	private := func(r run) float64 { return float64(max(r.burst.Private, r.pace.Private)) / 1e6 }
	at := func(q float64) func(run) float64 {
		return func(r run) float64 { return stats.Percentile(r.pace.latencies, q) }
	}
	cpu := func(r run) float64 { return r.burst.Server }
	kernel := func(r run) float64 { return r.kernel / 1e6 }
	b.report.figure(name, "live throughput, with : without", "×", stats.Ratios(of(beside, throughput), of(alone, throughput)))
	b.report.figure(name, "worker, CPU, with : without", "×", stats.Ratios(of(beside, cpu), of(alone, cpu)))
	b.report.figure(name, "append to receipt, p50, with : without", "×", stats.Ratios(of(beside, at(0.5)), of(alone, at(0.5))))
	b.report.figure(name, "append to receipt, p99, with : without", "×", stats.Ratios(of(beside, at(0.99)), of(alone, at(0.99))))
	b.report.figure(name, "append to receipt, p99, with", "ms", of(beside, at(0.99)))
	b.report.figure(name, "worker's private memory, without", "MB", of(alone, private))
	b.report.figure(name, "worker's private memory, with", "MB", of(beside, private))
	b.report.figure(name, "worker's private memory, a stalled client", "KiB", shares(of(beside, private), of(alone, private), float64(size.stalled)*1024/1e6))
	b.report.figure(name, "the kernel's for all sockets, without", "MB", of(alone, kernel))
	b.report.figure(name, "the kernel's for all sockets, with", "MB", of(beside, kernel))
	return nil
}

// shares divides by n what a is more than b.
func shares(a, b []float64, n float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = (a[i] - b[i]) / n
	}
	return out
}

// deafClients connects clients that never read, if any.
func (b *bench) deafClients(ctx context.Context, d *distributor, from string, n int) (*subscriber.Fleet, error) {
	fleet, err := subscriber.Start(ctx, b.generator)
	if err != nil {
		return nil, err
	}
	return fleet, fleet.Connect(subscriber.Target{Address: d.Address, From: from, HashKey: hashKey(), Deaf: true}, n)
}

// burstBeside measures live clients beside deaf ones, which get the same.
func (b *bench) burstBeside(ctx context.Context, st stage, clients, deaf int) (m measurement, kernel float64, err error) {
	d, err := b.distributor(b.server, "")
	if err != nil {
		return m, 0, err
	}
	defer b.finish(d.close)
	others, err := b.deafClients(ctx, d, "live", deaf)
	if others != nil {
		defer b.finish(others.Close)
	}
	if err != nil {
		return m, 0, err
	}
	if m, err = b.live(ctx, d, st, clients); err != nil {
		return m, 0, err
	}
	sockets, err := proc.SocketBytes()
	return m, float64(sockets), err
}

// paceBeside measures a steady rate to live clients beside deaf ones, which
// begin with the history.
func (b *bench) paceBeside(ctx context.Context, size latencySize, history uint64, deaf int) (m pace, err error) {
	d, err := b.distributor(b.server, "")
	if err != nil {
		return m, err
	}
	defer b.finish(d.close)
	if err := d.write(ctx, history); err != nil {
		return m, err
	}
	others, err := b.deafClients(ctx, d, "earliest", deaf)
	if others != nil {
		defer b.finish(others.Close)
	}
	if err != nil {
		return m, err
	}
	return b.paced(ctx, size, d.underPace(ctx))
}

// underPace is one whose live clients are measured.
func (d *distributor) underPace(ctx context.Context) underPace {
	return underPace{
		logs: d.logs(), target: subscriber.Target{Address: d.Address, From: "live", HashKey: hashKey()}, processes: d.processes(),
		dial: func() (receiver, error) { return dial(ctx, d, wsproto.From{Start: wsproto.Live}, false) },
	}
}

// underPaceCompressed is the same with clients that negotiate permessage-deflate.
func (d *distributor) underPaceCompressed(ctx context.Context) underPace {
	u := d.underPace(ctx)
	u.target.Compress = true
	u.dial = func() (receiver, error) { return dial(ctx, d, wsproto.From{Start: wsproto.Live}, true) }
	return u
}

// write has an archiver write records until their frames have so many bytes,
// and waits until they are in the frame log, which has to be empty before.
func (d *distributor) write(ctx context.Context, bytes uint64) error {
	var written uint64
	archiving, stop := context.WithCancel(ctx)
	defer stop()
	_, err := simulator.Run(archiving, simulator.Options{
		Dir: d.logs(), Seed: "history", ShardKeys: true, Log: simulator.LogOptions{MaxFiles: 1000},
		OnWrite: func(stream string, line []byte, _ time.Time) {
			if written += frameSize(stream, len(line)); written >= bytes {
				stop()
			}
		},
	})
	if err != nil {
		return err
	}
	if _, err = d.awaitHead(ctx, written); err == nil && d.Head() != written {
		err = errors.New("the frame log was not empty")
	}
	return err
}
