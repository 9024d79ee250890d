package main

import (
	"context"
	"path/filepath"
	"time"

	"distributor/bench/raw"
	"distributor/bench/stats"
)

// lingerFor is for how long records wait for each other.
const lingerFor = 50 * time.Millisecond

// linger measures a steady rate with and without lingering, and the baseline,
// which writes each record at once, by turns.
func linger(ctx context.Context, b *bench, name string, size latencySize) error {
	frames := int(size.rate*(size.warm+size.measured+runOn).Seconds()) + 100
	st, err := newStage(ctx, filepath.Join(b.dir, name), true, func(s stage) bool { return s.Records >= frames })
	if err != nil {
		return err
	}
	b.stageMade(name, st)
	var bare, without, with []pace
	err = b.steadyRounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		r, err := b.pacedRaw(ctx, raw.Options{}, st, size)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "raw", round, r.measurement, r.extra())
		size.linger = 0
		w, err := b.pacedDistributor(ctx, size, "", nil)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "without", round, w.measurement, w.extra())
		size.linger = lingerFor
		l, err := b.pacedDistributor(ctx, size, "", nil)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "lingering", round, l.measurement, l.extra())
		return func() { bare, without, with = append(bare, r), append(without, w), append(with, l) },
			[]measurement{r.measurement, w.measurement, l.measurement}, nil
	})
	if err != nil {
		return err
	}
	cpu := perDelivery(with, senderCPU)
	b.report.figure(name, "worker : raw, CPU", "×", stats.Ratios(cpu, perDelivery(bare, senderCPU)))
	b.report.figure(name, "worker, lingering : without, CPU", "×", stats.Ratios(cpu, perDelivery(without, senderCPU)))
	b.report.figure(name, "append to receipt, p50", "ms", percentiles(with, 0.5))
	b.report.figure(name, "append to receipt, p99", "ms", percentiles(with, 0.99))
	b.report.figure(name, "append to receipt, p50, without", "ms", percentiles(without, 0.5))
	b.report.figure(name, "append to receipt, p99, without", "ms", percentiles(without, 0.99))
	b.report.figure(name, "worker, a record and client", "CPU µs", cpu)
	b.report.figure(name, "records a client's read takes", "", values(with, func(m pace) float64 { return m.together }))
	return nil
}
