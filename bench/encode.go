package main

import (
	"context"
	"time"

	"distributor/bench/proc"
)

// encode measures a distributor without clients that encodes logs which appear all at once, on one
// core and on two.
func encode(ctx context.Context, b *bench, name string, size size) error {
	st, err := b.stage(ctx, name, size.records, 0)
	if err != nil {
		return err
	}
	n := float64(st.Records)
	c, err := b.compare(ctx, name, size.rounds, false, func(t *turn) {
		t.measure("one core", func() (measurement, error) {
			return b.encodeOnce(ctx, st, b.server)
		})
		t.measure("two cores", func() (measurement, error) {
			return b.encodeOnce(ctx, st, b.all[:2])
		})
	})
	if err != nil {
		return err
	}
	perSecond := func(m measurement) float64 { return n / m.Seconds }
	perCPUSecond := func(m measurement) float64 { return n / m.Primary }
	for _, way := range []string{"one core", "two cores"} {
		c.figure(way, "records/s", way, perSecond)
		c.figure(way+", per CPU second of the primary", "records", way, perCPUSecond)
	}
	c.ratio("two cores : one core, records/s", "two cores", perSecond, "one core", perSecond)
	return nil
}

// encodeOnce measures from the first frame to the last.
func (b *bench) encodeOnce(
	ctx context.Context, st stage, cpus proc.CPUs,
) (m measurement, err error) {
	d, err := b.distributor(cpus)
	if err != nil {
		return m, err
	}
	var first, last time.Time
	m, err = b.during(d.with(), func() (err error) {
		if err := st.play(d.logs()); err != nil {
			return err
		}
		if first, err = d.awaitHead(ctx, 1); err != nil {
			return err
		}
		last, err = d.awaitHead(ctx, st.FrameBytes)
		return err
	})
	// the time to find the logs does not count, its CPU time does
	m.Seconds = last.Sub(first).Seconds()
	if err == nil {
		err = d.checkHead(st.FrameBytes)
	}
	return m, err
}
