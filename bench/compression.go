package main

import (
	"context"
	"path/filepath"

	"distributor/bench/stats"
)

// compressionLevel is everybody's: the fastest.
const compressionLevel = 1

// compressing are the peers that can.
var compressing = []string{"gorilla", "npm ws"}

// compression appends records at a steady rate to clients that have negotiated
// permessage-deflate, and to as many that have not, by turns; and has the peers
// that can compress do the same.
func compression(ctx context.Context, b *bench, name string, size latencySize) error {
	frames := int(size.rate*(size.warm+size.measured+runOn).Seconds()) + 100
	st, err := newStage(ctx, filepath.Join(b.dir, name), true, func(s stage) bool { return s.Records >= frames })
	if err != nil {
		return err
	}
	b.stageMade(name, st)
	if err := b.buildPeers(ctx); err != nil {
		return err
	}
	var plain, compressed []pace
	libraries := others[pace]{}
	err = b.steadyRounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		size.compress = false
		p, err := b.pacedDistributor(ctx, size, "", nil)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "plain", round, p.measurement, p.extra())
		size.compress = true
		c, err := b.pacedDistributor(ctx, size, "", nil)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "compressed", round, c.measurement, c.extra())
		now, ms, err := b.pacedPeers(ctx, name, round, st, size)
		return func() {
			plain, compressed = append(plain, p), append(compressed, c)
			libraries.add(now)
		}, append(ms, p.measurement, c.measurement), err
	})
	if err != nil {
		return err
	}
	server := perDelivery(compressed, serverCPU)
	b.report.figure(name, "bytes, compressed : plain", "×", values(compressed, func(m pace) float64 { return m.bytes }))
	b.report.figure(name, "compressed : plain, primary + worker, CPU", "×", stats.Ratios(server, perDelivery(plain, serverCPU)))
	b.report.figure(name, "compressed : plain, worker, CPU", "×", stats.Ratios(perDelivery(compressed, senderCPU), perDelivery(plain, senderCPU)))
	b.report.figure(name, "compressed : plain, generator, CPU", "×", stats.Ratios(perDelivery(compressed, generatorCPU), perDelivery(plain, generatorCPU)))
	b.report.figure(name, "plain, primary + worker, a record and client", "CPU µs", perDelivery(plain, serverCPU))
	b.report.figure(name, "compressed, primary + worker, a record and client", "CPU µs", server)
	for _, p := range libraries.complete(len(compressed)) {
		b.report.figure(name, p+", compressed : primary + worker, compressed, CPU", "×", stats.Ratios(perDelivery(libraries[p], senderCPU), server))
		b.report.figure(name, p+", compressed, p99", "ms", percentiles(libraries[p], 0.99))
	}
	b.report.figure(name, "append to receipt, plain, p50", "ms", percentiles(plain, 0.5))
	b.report.figure(name, "append to receipt, plain, p99", "ms", percentiles(plain, 0.99))
	b.report.figure(name, "append to receipt, compressed, p50", "ms", percentiles(compressed, 0.5))
	b.report.figure(name, "append to receipt, compressed, p99", "ms", percentiles(compressed, 0.99))
	return nil
}

func generatorCPU(m measurement) float64 { return m.Generator }
