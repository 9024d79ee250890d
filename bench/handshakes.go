package main

import (
	"context"
	"fmt"

	"distributor/bench/proc"
	"distributor/bench/storm"
	"distributor/bench/subscriber"
)

// stormSize is how many knock.
type stormSize struct {
	clients, atOnce, rounds int
}

// handshakes has clients with signed requests connect as fast as they are let
// in: to a server with one core, where they leave at once, and where they
// stay; and to one that shares all cores with them.
func handshakes(ctx context.Context, b *bench, name string, size stormSize) error {
	ways := []struct {
		what      string
		stay      bool
		cpus, own proc.CPUs // the server's, and the crowd's
	}{
		{"leaving, one core", false, b.server, b.generator},
		{"staying, one core", true, b.server, b.generator},
		{"leaving, all cores", false, b.all, b.all},
		{"staying, all cores", true, b.all, b.all},
	}
	type storming struct {
		measurement
		result storm.Result
	}
	all := make(map[string][]storming)
	err := b.steadyRounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		var now []storming
		for _, w := range ways {
			o := storm.Options{Clients: size.clients, AtOnce: size.atOnce, Stay: w.stay}
			m, r, err := b.storm(ctx, o, w.cpus, w.own)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", w.what, err)
			}
			b.report.round(name, w.what, round, m, map[string]any{"upgraded": r.Upgraded, "seconds": r.Seconds})
			now, ms = append(now, storming{m, r}), append(ms, m)
		}
		return func() {
			for i, w := range ways {
				all[w.what] = append(all[w.what], now[i])
			}
		}, ms, nil
	})
	if err != nil {
		return err
	}
	for _, w := range ways {
		each := func(cpu func(measurement) float64) []float64 {
			return values(all[w.what], func(s storming) float64 { return cpu(s.measurement) / float64(s.result.Upgraded) * 1e6 })
		}
		b.report.figure(name, w.what, "upgrades/s", values(all[w.what], func(s storming) float64 { return float64(s.result.Upgraded) / s.result.Seconds }))
		b.report.figure(name, w.what+", primary, an upgrade", "CPU µs", each(func(m measurement) float64 { return m.Primary }))
		b.report.figure(name, w.what+", worker, an upgrade", "CPU µs", each(senderCPU))
		b.report.figure(name, w.what+", generator, an upgrade", "CPU µs", each(func(m measurement) float64 { return m.Generator }))
	}
	return nil
}

// storm measures one; a refusal is an error.
func (b *bench) storm(ctx context.Context, o storm.Options, server, own proc.CPUs) (m measurement, r storm.Result, err error) {
	d, err := b.distributor(server, "")
	if err != nil {
		return m, r, err
	}
	defer b.finish(d.close)
	o.Target = subscriber.Target{Address: d.Address, From: "live", HashKey: hashKey()}
	s, err := storm.Start(ctx, own, o)
	if err != nil {
		return m, r, err
	}
	defer b.finish(s.Close)
	p := d.processes()
	p.load = []int{s.PID()}
	before, err := b.read(p)
	if err != nil {
		return m, r, err
	}
	if r, err = s.Go(); err != nil {
		return m, r, err
	}
	after, err := b.read(p)
	if err == nil && (r.Refused > 0 || r.Upgraded != o.Clients) {
		err = fmt.Errorf("%d of %d clients were refused, the first with %s", r.Refused, o.Clients, r.First)
	}
	return after.since(before), r, err
}
