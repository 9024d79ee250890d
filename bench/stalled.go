package main

import (
	"context"
	"errors"
)

// stalled measures a steady rate to clients that read, with and without other clients that never
// read and whose sockets are full.
func stalled(ctx context.Context, b *bench, name string, size size) error {
	c, err := b.compare(ctx, name, size.rounds, true, func(t *turn) {
		t.measure("without", func() (measurement, error) { return b.besideDeaf(ctx, size, 0) })
		t.measure("with", func() (measurement, error) { return b.besideDeaf(ctx, size, size.others) })
	})
	if err != nil {
		return err
	}
	c.ratio("worker, CPU, with : without", "with", senderEach, "without", senderEach)
	c.ratio("append to receipt, p50, with : without", "with", p50, "without", p50)
	c.ratio("append to receipt, p99, with : without", "with", p99, "without", p99)
	c.figure("append to receipt, p99, with", "ms", "with", p99)
	c.figure("worker's private memory, without", "MB", "without", privateMB)
	c.figure("worker's private memory, with", "MB", "with", privateMB)
	c.each("worker's private memory, a stalled client", size.others, "with", "without",
		func(m measurement) float64 { return m.Private })
	return nil
}

// besideDeaf measures with additional clients that never read, which begin with the history.
func (b *bench) besideDeaf(ctx context.Context, size size, deaf int) (measurement, error) {
	return b.pacedDistributor(ctx, size, func(d *distributor) error {
		fleet, err := b.fleet(ctx)
		if err != nil {
			return err
		}
		target := d.target("earliest")
		target.Deaf = true
		return errors.Join(d.fill(ctx, size.history), fleet.Connect(target, deaf))
	})
}
