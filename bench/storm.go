package main

import (
	"context"
	"errors"
	"time"

	"distributor/bench/proc"
)

// stormAtOnce is how many clients of a storm wait for an answer at the same time.
const stormAtOnce = 128

// storm measures clients with requests signed beforehand that connect as fast as they are accepted.
// The server has one core, and the clients leave at once or stay; or the server shares all cores
// with the clients.
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

// memory compares a distributor without clients with the same one when they are connected.
func memory(ctx context.Context, b *bench, name string, size size) error {
	const empty, idle = "without clients", "idle"
	c, err := b.compare(ctx, name, size.rounds, true, func(t *turn) {
		t.run(func() error {
			d, err := t.distributor(t.server)
			if err != nil {
				return err
			}
			fleet, err := t.fleet(ctx)
			if err != nil {
				return err
			}
			return errors.Join(t.footprint(ctx, empty, d),
				fleet.Connect(d.target("live"), size.clients), t.footprint(ctx, idle, d))
		})
	})
	if err != nil {
		return err
	}
	worker, primary := extra("worker_private_bytes"), extra("primary_private_bytes")
	both := func(m measurement) float64 { return worker(m) + primary(m) }
	c.each("worker and primary, an idle client", size.clients, idle, empty, both)
	c.each("worker, an idle client", size.clients, idle, empty, worker)
	c.each("primary, an idle client", size.clients, idle, empty, primary)
	resident := extra("worker_resident_bytes").times(1e-6)
	c.figure("worker without clients, private", "MB", empty, worker.times(1e-6))
	c.figure("worker without clients, resident", "MB", empty, resident)
	return nil
}

// settled is the pause before a distributor's memory is read.
const settled = 300 * time.Millisecond

func (t *turn) footprint(ctx context.Context, way string, d *distributor) error {
	if err := sleep(ctx, settled); err != nil {
		return err
	}
	primary, _, err := proc.Memory(d.pid())
	if err != nil {
		return err
	}
	private, resident, err := proc.Memory(d.worker)
	if err != nil {
		return err
	}
	t.add(way, measurement{Extra: map[string]float64{
		"worker_private_bytes": private, "worker_resident_bytes": resident,
		"primary_private_bytes": primary,
	}})
	return nil
}
