package main

import (
	"context"

	"distributor/wsproto"
)

// perDelivery returns the CPU time for sending one record to one client, in microseconds.
func perDelivery(cpu value) value { return cpu.over(extra("deliveries")).times(1e6) }

var (
	p50, p99, p999 = extra("p50_ms"), extra("p99_ms"), extra("p999_ms")
	together       = extra("records_a_read")
	senderEach     = perDelivery(sender)
	serverEach     = perDelivery(server)
)

// stageFor makes as many records as a steady rate needs.
func (b *bench) stageFor(ctx context.Context, name string, size size) (stage, error) {
	took := size.warm + size.measured + runOn
	return b.stage(ctx, name, int(size.rate*took.Seconds())+100, 0)
}

// latency appends records at a steady rate, each by a write of its own. It measures the time from
// just before that write until a client has the record. The baseline gets a command for each
// append, and writes a frame of the same size to the same number of sockets.
func latency(ctx context.Context, b *bench, name string, size size) error {
	st, err := b.stageFor(ctx, name, size)
	if err != nil {
		return err
	}
	c, err := b.compare(ctx, name, size.rounds, true, func(t *turn) {
		t.measure("raw", func() (measurement, error) {
			return b.pacedPeer(ctx, baseline, st, size)
		})
		t.measure("distributor", func() (measurement, error) {
			return b.pacedDistributor(ctx, size, nil)
		})
		if size.peers > 0 && t.round > 0 {
			t.eachPeer(ctx, func(ctx context.Context, p *peer) (measurement, error) {
				return t.pacedPeer(ctx, p, st, size)
			})
		}
	})
	if err != nil {
		return err
	}
	for _, way := range [][2]string{{"append to receipt", "distributor"}, {"raw", "raw"}} {
		c.figure(way[0]+", p50", "ms", way[1], p50)
		c.figure(way[0]+", p99", "ms", way[1], p99)
		c.figure(way[0]+", p99.9", "ms", way[1], p999)
	}
	c.ratio("worker : raw, CPU", "distributor", senderEach, "raw", senderEach)
	c.ratio("primary + worker : raw, CPU", "distributor", serverEach, "raw", senderEach)
	c.comparePeers()
	c.figure("worker, a record and client", "CPU µs", "distributor", senderEach)
	c.figure("raw, a record and client", "CPU µs", "raw", senderEach)
	c.figure("primary + worker, share of their core", "", "distributor", value(server).over(seconds))
	c.figure("records a client's read takes", "", "distributor", together)
	c.figure("records a client's read takes, raw", "", "raw", together)
	return nil
}

// comparePeers reports on the peers, and on the best of them in each round that is written in Go.
func (c *comparison) comparePeers() {
	var bestP99, bestCPU []float64
	least := func(best, values []float64) []float64 {
		for i := range best {
			values[i] = min(values[i], best[i])
		}
		return values
	}
	for _, p := range libraries {
		c.figure(p.name+", p50", "ms", p.name, p50)
		c.figure(p.name+", p99", "ms", p.name, p99)
		c.ratio(p.name+" : raw, CPU", p.name, senderEach, "raw", senderEach)
		c.ratio(p.name+" : worker, CPU", p.name, senderEach, "distributor", senderEach)
		if p99s := c.of(p.name, p99); p.role != "" && p99s != nil {
			bestP99, bestCPU = least(bestP99, p99s), least(bestCPU, c.of(p.name, senderEach))
		}
	}
	c.report.figure(c.scenario, "append to receipt, p99 : best Go peer's", "×",
		ratios(c.of("distributor", p99), bestP99))
	c.report.figure(c.scenario, "worker : best Go peer, CPU", "×",
		ratios(c.of("distributor", senderEach), bestCPU))
}

// pacedDistributor measures a distributor. before, which may be nil, is called when it has started.
func (b *bench) pacedDistributor(
	ctx context.Context, size size, before func(*distributor) error,
) (m measurement, err error) {
	d, err := b.distributor(b.server)
	if err != nil {
		return m, err
	}
	if before != nil {
		if err := before(d); err != nil {
			return m, err
		}
	}
	return b.paced(ctx, size, underPace{
		processes: d.with(), logs: d.logs(), target: d.target("live"),
		dial: func() (receiver, error) { return d.dial(ctx, wsproto.From{Start: wsproto.Live}) },
	})
}
