package main

import (
	"context"
	"time"

	"distributor/bench/proc"
	"distributor/bench/subscriber"
	"distributor/engine/simulator"
)

// memorySize is how many clients are connected, and how many records they get
// at which rate before they count as active.
type memorySize struct {
	clients, rounds int
	rate            float64
	active          time.Duration
}

// footprint is the memory at one moment.
type footprint struct {
	Worker   int64 `json:"worker_private_bytes"`
	Resident int64 `json:"worker_resident_bytes"`
	Primary  int64 `json:"primary_private_bytes"`
	Sockets  int64 `json:"kernel_sockets_bytes"` // of both ends, and of the whole machine
}

// memory compares a distributor without clients with the same one when they are
// connected, and when they have been getting records.
func memory(ctx context.Context, b *bench, name string, size memorySize) error {
	var empty, idle, active []footprint
	err := b.steadyRounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		now, err := b.footprints(ctx, size)
		if err != nil {
			return nil, nil, err
		}
		for i, what := range []string{"without clients", "idle", "active"} {
			b.report.line("memory", struct {
				Scenario string `json:"scenario"`
				What     string `json:"what"`
				Round    int    `json:"round"`
				footprint
			}{name, what, round, now[i]})
		}
		b.report.say("  %-16s round %d: worker %.1f MB without clients, %.1f with %d idle ones, %.1f with active ones",
			name, round, float64(now[0].Worker)/1e6, float64(now[1].Worker)/1e6, size.clients, float64(now[2].Worker)/1e6)
		return func() { empty, idle, active = append(empty, now[0]), append(idle, now[1]), append(active, now[2]) }, nil, nil
	})
	if err != nil {
		return err
	}
	each := func(of []footprint, bytes func(footprint) int64) []float64 {
		out := make([]float64, len(of))
		for i := range of {
			out[i] = float64(bytes(of[i])-bytes(empty[i])) / 1024 / float64(size.clients)
		}
		return out
	}
	worker := func(f footprint) int64 { return f.Worker }
	primary := func(f footprint) int64 { return f.Primary }
	both := func(f footprint) int64 { return f.Worker + f.Primary }
	sockets := func(f footprint) int64 { return f.Sockets }
	b.report.figure(name, "worker and primary, an idle client", "KiB", each(idle, both))
	b.report.figure(name, "worker, an idle client", "KiB", each(idle, worker))
	b.report.figure(name, "primary, an idle client", "KiB", each(idle, primary))
	b.report.figure(name, "worker and primary, an active client", "KiB", each(active, both))
	b.report.figure(name, "worker, an active client", "KiB", each(active, worker))
	b.report.figure(name, "primary, an active client", "KiB", each(active, primary))
	b.report.figure(name, "the kernel's data of both sockets, an idle client", "KiB", each(idle, sockets))
	b.report.figure(name, "the kernel's data of both sockets, an active client", "KiB", each(active, sockets))
	b.report.figure(name, "worker without clients, private", "MB", values(empty, func(f footprint) float64 { return float64(f.Worker) / 1e6 }))
	b.report.figure(name, "worker without clients, resident", "MB", values(empty, func(f footprint) float64 { return float64(f.Resident) / 1e6 }))
	return nil
}

// settle is how long a distributor is left alone before its memory is read.
const settle = 300 * time.Millisecond

func (b *bench) footprints(ctx context.Context, size memorySize) (f [3]footprint, err error) {
	d, err := b.distributor(b.server, "")
	if err != nil {
		return f, err
	}
	defer b.finish(d.close)
	fleet, err := subscriber.Start(ctx, b.generator)
	if err != nil {
		return f, err
	}
	defer b.finish(fleet.Close)
	for i, before := range []func() error{
		func() error { return nil },
		func() error {
			return fleet.Connect(subscriber.Target{Address: d.Address, From: "live", HashKey: hashKey()}, size.clients)
		},
		func() error {
			_, err := simulator.Run(ctx, simulator.Options{
				Dir: d.logs(), Seed: "bench", Rates: simulator.Spread(size.rate, simulator.Streams[:]...), Duration: size.active,
				ShardKeys: true,
			})
			if err != nil {
				return err
			}
			_, err = fleet.Until(d.Head()) // at least
			return err
		},
	} {
		if err := before(); err != nil {
			return f, err
		}
		if err := sleep(ctx, settle); err != nil {
			return f, err
		}
		if f[i], err = readFootprint(d); err != nil {
			return f, err
		}
	}
	return f, nil
}

func readFootprint(d *distributor) (f footprint, err error) {
	if f.Primary, err = proc.PrivateBytes(d.PID()); err != nil {
		return f, err
	}
	for _, pid := range d.Workers {
		private, err := proc.PrivateBytes(pid)
		if err != nil {
			return f, err
		}
		resident, err := proc.ResidentBytes(pid)
		if err != nil {
			return f, err
		}
		f.Worker, f.Resident = f.Worker+private, f.Resident+resident
	}
	f.Sockets, err = proc.SocketBytes()
	return f, err
}
