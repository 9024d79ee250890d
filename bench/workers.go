package main

import (
	"context"
	"path/filepath"

	"distributor/bench/stats"
)

// workers measures one worker against two, with the same clients in all, by
// turns. Both have all CPUs, and share them with the clients: what is gained is
// what a machine of this size gains.
func workers(ctx context.Context, b *bench, name string, size fanoutSize) error {
	st, err := newStage(ctx, filepath.Join(b.dir, name), false, func(s stage) bool { return s.FrameBytes >= size.total/uint64(size.clients) })
	if err != nil {
		return err
	}
	b.stageMade(name, st)
	var one, two []measurement
	err = b.rounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		single, err := b.liveWith(ctx, st, size.clients, setup{cpus: b.all})
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "one worker", round, single, nil)
		double, err := b.liveWith(ctx, st, size.clients, setup{cpus: b.all, workers: 2, each: (size.clients + 1) / 2})
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "two workers", round, double, nil)
		return func() { one, two = append(one, single), append(two, double) }, []measurement{single, double}, nil
	})
	if err != nil {
		return err
	}
	bytes := float64(st.FrameBytes) * float64(size.clients) / 1e9
	throughput := func(m measurement) float64 { return bytes / m.Seconds }
	b.report.figure(name, "two : one, throughput", "×", stats.Ratios(values(two, throughput), values(one, throughput)))
	b.report.figure(name, "two : one, CPU of the workers", "×", stats.Ratios(values(two, senderCPU), values(one, senderCPU)))
	b.report.figure(name, "one worker, delivered", "GB/s", values(one, throughput))
	b.report.figure(name, "two workers, delivered", "GB/s", values(two, throughput))
	b.report.figure(name, "two workers, private memory of both", "MB", values(two, func(m measurement) float64 { return float64(m.Private) / 1e6 }))
	return nil
}

// liveWith is live with a distributor of its own.
func (b *bench) liveWith(ctx context.Context, st stage, clients int, o setup) (measurement, error) {
	d, err := b.distributorOf(o)
	if err != nil {
		return measurement{}, err
	}
	defer b.finish(d.close)
	return b.live(ctx, d, st, clients)
}
