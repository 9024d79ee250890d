package main

import (
	"cmp"
	"context"

	"distributor/bench/stats"
	"distributor/bench/subscriber"
	"distributor/wsproto"
)

// replaySize is a steady rate to live clients beside a fleet that comes back.
type replaySize struct {
	latencySize        // clients: those that are live
	fleet       int    // clients that replay
	history     uint64 // bytes that each gets before it comes back once more
}

const (
	// fleetNice is the priority of the fleet's process, which takes what it can
	// get: the delays to be seen are the server's.
	fleetNice = 10
	// fleetPlaces is how many positions the fleet comes back with.
	fleetPlaces = 50
)

// replayBeside measures a steady rate to live clients, alone and beside a fleet
// that reconnects with positions, replays history from there as fast as it
// goes, and reconnects again, by turns.
func replayBeside(ctx context.Context, b *bench, name string, size replaySize) error {
	var alone, beside []pace
	var replayed, back []float64
	err := b.steadyRounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		quiet, _, err := b.paceBesideReplay(ctx, size, 0)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "without", round, quiet.measurement, quiet.extra())
		loud, got, err := b.paceBesideReplay(ctx, size, size.fleet)
		if err != nil {
			return nil, nil, err
		}
		extra := loud.extra()
		extra["replayed_bytes"], extra["reconnects"] = got.Bytes, got.Again
		b.report.round(name, "beside replay", round, loud.measurement, extra)
		return func() {
			alone, beside = append(alone, quiet), append(beside, loud)
			replayed, back = append(replayed, float64(got.Bytes)/1e9/loud.Seconds), append(back, float64(got.Again)/loud.Seconds)
		}, []measurement{quiet.measurement, loud.measurement}, nil
	})
	if err != nil {
		return err
	}
	b.report.figure(name, "append to receipt, p50, beside : without", "×", stats.Ratios(percentiles(beside, 0.5), percentiles(alone, 0.5)))
	b.report.figure(name, "append to receipt, p99, beside : without", "×", stats.Ratios(percentiles(beside, 0.99), percentiles(alone, 0.99)))
	b.report.figure(name, "append to receipt, p50, without", "ms", percentiles(alone, 0.5))
	b.report.figure(name, "append to receipt, p99, without", "ms", percentiles(alone, 0.99))
	b.report.figure(name, "append to receipt, p50, beside", "ms", percentiles(beside, 0.5))
	b.report.figure(name, "append to receipt, p99, beside", "ms", percentiles(beside, 0.99))
	b.report.figure(name, "replayed meanwhile", "GB/s", replayed)
	b.report.figure(name, "reconnects meanwhile", "1/s", back)
	b.report.figure(name, "worker's private memory, beside", "MB", values(beside, func(m pace) float64 { return float64(m.Private) / 1e6 }))
	return nil
}

// paceBesideReplay gives what the fleet got while it was measured, too.
func (b *bench) paceBesideReplay(ctx context.Context, size replaySize, fleet int) (m pace, got subscriber.Counts, err error) {
	d, err := b.distributor(b.server, "")
	if err != nil {
		return m, got, err
	}
	defer b.finish(d.close)
	// The fleet begins anywhere in the first half, and gets half.
	if err := d.write(ctx, 2*size.history); err != nil {
		return m, got, err
	}
	u := d.underPace(ctx)
	if fleet == 0 {
		m, err = b.paced(ctx, size.latencySize, u)
		return m, got, err
	}
	t := subscriber.Target{Address: d.Address, HashKey: hashKey(), Again: size.history}
	for i := range uint64(fleetPlaces) {
		at, err := d.frames.FrameEnd(i * size.history / fleetPlaces)
		if err != nil {
			return m, got, err
		}
		t.Positions = append(t.Positions, wsproto.Position{Log: d.frames.ID(), Offset: at}.String())
	}
	f, err := subscriber.Start(ctx, b.generator)
	if err != nil {
		return m, got, err
	}
	defer b.finish(f.Close)
	var before, after subscriber.Counts
	u.load = []int{f.PID()}
	u.ready = func() error { return cmp.Or(f.Connect(t, fleet), f.Nice(fleetNice)) }
	u.begin = func() (err error) { before, err = f.Counts(); return err }
	u.end = func() (err error) { after, err = f.Counts(); return err }
	m, err = b.paced(ctx, size.latencySize, u)
	return m, subscriber.Counts{Bytes: after.Bytes - before.Bytes, Again: after.Again - before.Again}, err
}
