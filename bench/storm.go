package main

import (
	"context"
	"time"

	"distributor/bench/proc"
	"distributor/engine/simulator"
)

// stormAtOnce is how many clients of a storm wait for an answer at the same time.
const stormAtOnce = 128

// storm has clients with requests that are signed beforehand connect as fast as they are let in: to
// a server with one core, where they leave at once, and where they stay; and to one that shares all
// cores with them.
func storm(ctx context.Context, b *bench, name string, size size) error {
	ways := []struct {
		name   string
		leave  bool
		shared bool
	}{
		{"leaving, one core", true, false}, {"staying, one core", false, false},
		{"leaving, all cores", true, true}, {"staying, all cores", false, true},
	}
	c, err := b.compare(ctx, name, size.rounds, true, func(t *turn) {
		for _, w := range ways {
			t.measure(w.name, func() (measurement, error) {
				server, crowd := b.server, b.generator
				if w.shared {
					server, crowd = b.all, b.all
				}
				return b.upgrades(ctx, size.clients, w.leave, server, crowd)
			})
		}
	})
	if err != nil {
		return err
	}
	n := float64(size.clients)
	primary := value(func(m measurement) float64 { return m.Primary })
	for _, w := range ways {
		c.figure(w.name, "upgrades/s", w.name, func(m measurement) float64 { return n / m.Seconds })
		c.figure(w.name+", primary, an upgrade", "CPU µs", w.name, primary.times(1e6/n))
		c.figure(w.name+", worker, an upgrade", "CPU µs", w.name, value(sender).times(1e6/n))
		c.figure(w.name+", generator, an upgrade", "CPU µs", w.name, value(generator).times(1e6/n))
	}
	return nil
}

// upgrades measures from the first connect to the last answer. A refusal is an error.
func (b *bench) upgrades(
	ctx context.Context, clients int, leave bool, server, crowd proc.CPUs,
) (m measurement, err error) {
	d, err := b.distributor(server)
	if err != nil {
		return m, err
	}
	fleet, err := b.fleetOn(ctx, crowd)
	if err != nil {
		return m, err
	}
	target := d.target("live")
	target.AtOnce, target.Leave, target.Deaf = stormAtOnce, leave, true
	if err := fleet.Prepare(target, clients); err != nil {
		return m, err
	}
	return b.during(d.with(fleet.Child), func() error { return fleet.Connect(target, clients) })
}

// memory compares a distributor without clients with the same one when they are connected, and when
// they have been getting records.
func memory(ctx context.Context, b *bench, name string, size size) error {
	c, err := b.compare(ctx, name, size.rounds, true, func(t *turn) {
		t.run(func() error { return t.footprints(ctx, size) })
	})
	if err != nil {
		return err
	}
	worker, primary := extra("worker_private_bytes"), extra("primary_private_bytes")
	both := func(m measurement) float64 { return worker(m) + primary(m) }
	for _, way := range []string{"idle", "active"} {
		client := ", an " + way + " client"
		c.each("worker and primary"+client, size.clients, way, "without clients", both)
		c.each("worker"+client, size.clients, way, "without clients", worker)
		c.each("primary"+client, size.clients, way, "without clients", primary)
	}
	resident := extra("worker_resident_bytes").times(1e-6)
	c.figure("worker without clients, private", "MB", "without clients", worker.times(1e-6))
	c.figure("worker without clients, resident", "MB", "without clients", resident)
	return nil
}

// settled is how long a distributor is left alone before its memory is read.
const settled = 300 * time.Millisecond

func (t *turn) footprints(ctx context.Context, size size) error {
	d, err := t.distributor(t.server)
	if err != nil {
		return err
	}
	fleet, err := t.fleet(ctx)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		way string
		do  func() error
	}{
		{"without clients", func() error { return nil }},
		{"idle", func() error { return fleet.Connect(d.target("live"), size.clients) }},
		{"active", func() error {
			_, err := simulator.Run(ctx, simulator.Options{
				Dir: d.logs(), Seed: "bench", ShardKeys: true, Duration: size.measured,
				Rates: simulator.Spread(size.rate, simulator.Streams[:]...),
			})
			if err != nil {
				return err
			}
			_, err = fleet.Until(d.frames.Head()) // at least
			return err
		}},
	} {
		if err := step.do(); err != nil {
			return err
		}
		if err := sleep(ctx, settled); err != nil {
			return err
		}
		m, err := readFootprint(d)
		if err != nil {
			return err
		}
		t.add(step.way, m)
	}
	return nil
}

func readFootprint(d *distributor) (m measurement, err error) {
	primary, _, err := proc.Memory(d.pid())
	if err != nil {
		return m, err
	}
	private, resident, err := proc.Memory(d.worker)
	if err != nil {
		return m, err
	}
	m.Extra = map[string]float64{
		"worker_private_bytes": private, "worker_resident_bytes": resident,
		"primary_private_bytes": primary,
	}
	return m, err
}
