package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"distributor/bench/raw"
	"distributor/bench/stats"
	"distributor/bench/subscriber"
)

// latencySize is how many clients get how many records a second, for how long.
type latencySize struct {
	clients, rounds int
	rate            float64
	warm, measured  time.Duration
	least           int           // records that are measured, if it takes longer
	peers           bool          // are measured too
	compress        bool          // the clients negotiate permessage-deflate
	linger          time.Duration // of the distributor
}

// latency appends records at a steady rate, each by a write of its own, and
// takes the time from just before that write until a client has the record.
// The baseline is told of each append, and writes a frame of the same size to
// the same number of sockets.
func latency(ctx context.Context, b *bench, name string, size latencySize) error {
	frames := int(size.rate*(size.warm+size.measured+runOn).Seconds()) + 100
	st, err := newStage(ctx, filepath.Join(b.dir, name), true, func(s stage) bool { return s.Records >= frames })
	if err != nil {
		return err
	}
	b.stageMade(name, st)
	if size.peers {
		if err := b.buildPeers(ctx); err != nil {
			return err
		}
	}
	var bare, real []pace
	libraries := others[pace]{}
	err = b.steadyRounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		r, err := b.pacedRaw(ctx, raw.Options{}, st, size)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "raw", round, r.measurement, r.extra())
		m, err := b.pacedDistributor(ctx, size, "", nil)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "distributor", round, m.measurement, m.extra())
		now, ms, err := b.pacedPeers(ctx, name, round, st, size)
		return func() {
			bare, real = append(bare, r), append(real, m)
			libraries.add(now)
		}, append(ms, r.measurement, m.measurement), err
	})
	if err != nil {
		return err
	}
	worker, server := perDelivery(real, senderCPU), perDelivery(real, serverCPU)
	b.report.figure(name, "append to receipt, p50", "ms", percentiles(real, 0.5))
	b.report.figure(name, "append to receipt, p99", "ms", percentiles(real, 0.99))
	b.report.figure(name, "append to receipt, p99.9", "ms", percentiles(real, 0.999))
	b.report.figure(name, "raw, p50", "ms", percentiles(bare, 0.5))
	b.report.figure(name, "raw, p99", "ms", percentiles(bare, 0.99))
	b.report.figure(name, "raw, p99.9", "ms", percentiles(bare, 0.999))
	b.report.figure(name, "worker : raw, CPU", "×", stats.Ratios(worker, perDelivery(bare, senderCPU)))
	b.report.figure(name, "primary + worker : raw, CPU", "×", stats.Ratios(server, perDelivery(bare, senderCPU)))
	b.comparePace(name, libraries, real, bare)
	b.report.figure(name, "worker, a record and client", "CPU µs", worker)
	b.report.figure(name, "raw, a record and client", "CPU µs", perDelivery(bare, senderCPU))
	b.report.figure(name, "primary + worker, share of their core", "", values(real, func(m pace) float64 { return serverCPU(m.measurement) / m.Seconds }))
	b.report.figure(name, "records a client's read takes", "", values(real, func(m pace) float64 { return m.together }))
	b.report.figure(name, "records a client's read takes, raw", "", values(bare, func(m pace) float64 { return m.together }))
	return nil
}

// comparePace tells of the peers, and of the best of them in each round that
// is written in Go.
func (b *bench) comparePace(name string, libraries others[pace], real, bare []pace) {
	bestP99, bestCPU := make([]float64, len(real)), make([]float64, len(real))
	inGo := 0
	for _, p := range libraries.complete(len(real)) {
		ms := libraries[p]
		cpu, p99 := perDelivery(ms, senderCPU), percentiles(ms, 0.99)
		b.report.figure(name, p+", p50", "ms", percentiles(ms, 0.5))
		b.report.figure(name, p+", p99", "ms", p99)
		b.report.figure(name, p+" : raw, CPU", "×", stats.Ratios(cpu, perDelivery(bare, senderCPU)))
		b.report.figure(name, p+" : worker, CPU", "×", stats.Ratios(cpu, perDelivery(real, senderCPU)))
		if p == "npm ws" {
			continue
		}
		for i := range real {
			if inGo == 0 || p99[i] < bestP99[i] {
				bestP99[i] = p99[i]
			}
			if inGo == 0 || cpu[i] < bestCPU[i] {
				bestCPU[i] = cpu[i]
			}
		}
		inGo++
	}
	if inGo > 0 {
		b.report.figure(name, "append to receipt, p99 : best Go peer's", "×", stats.Ratios(percentiles(real, 0.99), bestP99))
		b.report.figure(name, "worker : best Go peer, CPU", "×", stats.Ratios(perDelivery(real, senderCPU), bestCPU))
	}
}

func (b *bench) pacedRaw(ctx context.Context, how raw.Options, st stage, size latencySize) (m pace, err error) {
	how.File, how.Paced = st.frames, true
	s, err := raw.Start(ctx, b.server, how)
	if err != nil {
		return m, err
	}
	defer b.finish(s.Close)
	return b.paced(ctx, size, underPace{
		logs: filepath.Join(st.dir, "raw"), target: subscriber.Target{Address: s.Address, Bare: true}, processes: processes{servers: []int{s.PID()}},
		dial: func() (receiver, error) { return dialBare(s.Address) }, tell: s.Send,
	})
}

// besides starts what is to go on beside a measurement: gives its processes,
// what to call when the measurement begins, and when it is over.
type besides func(*distributor) (pids []int, begin, end func() error, err error)

// pacedDistributor measures one that has these databases; "" for none. beside
// may be nil.
func (b *bench) pacedDistributor(ctx context.Context, size latencySize, databases string, beside besides) (m pace, err error) {
	keys := map[string]any{"LINGER_MS": size.linger.Milliseconds()}
	if size.compress {
		keys["COMPRESSION_LEVEL"] = compressionLevel
	}
	d, err := b.distributorOf(setup{cpus: b.server, databases: databases, keys: keys})
	if err != nil {
		return m, err
	}
	defer b.finish(d.close)
	u := d.underPace(ctx)
	if size.compress {
		u = d.underPaceCompressed(ctx)
	}
	if beside != nil {
		var end func() error
		if u.load, u.begin, end, err = beside(d); err != nil {
			return m, err
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	return b.paced(ctx, size, u)
}

// percentiles are of each round's latencies, in milliseconds.
func percentiles(rounds []pace, q float64) []float64 {
	return values(rounds, func(m pace) float64 { return stats.Percentile(m.latencies, q) })
}

// perDelivery is the CPU time for a record to a client, in microseconds.
func perDelivery(rounds []pace, cpu func(measurement) float64) []float64 {
	return values(rounds, func(m pace) float64 { return cpu(m.measurement) / m.deliveries * 1e6 })
}

// pace is the measurement of a steady rate.
type pace struct {
	measurement
	deliveries float64   // records that were appended, times clients
	latencies  []float64 // of each of them and each sampled client, in ms, ascending
	together   float64   // records that a sampled client read at once, on average
	bytes      float64   // that a client got for each of the same, uncompressed; for a server whose messages are known
}

func newPace(m measurement, deliveries int, took []time.Duration, together, bytes float64) pace {
	ms := make([]float64, len(took))
	for i, d := range took {
		ms[i] = d.Seconds() * 1e3
	}
	slices.Sort(ms)
	return pace{m, float64(deliveries), ms, together, bytes}
}

func (m pace) extra() map[string]any {
	at := func(q float64) float64 { return stats.Percentile(m.latencies, q) }
	return map[string]any{
		"deliveries": m.deliveries, "samples": len(m.latencies), "records_a_read": m.together, "bytes_of_plain": m.bytes,
		"p50_ms": at(0.5), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": at(1),
	}
}
