package main

import (
	"context"
	"fmt"
	"path/filepath"

	"distributor/bench/raw"
	"distributor/bench/stats"
)

// sendfileSize are the fan-outs and the steady rate at which both system calls
// are compared.
type sendfileSize struct {
	bursts []fanoutSize
	pace   latencySize // its rounds count for all
}

// sendfile compares, in the baseline, write(2) from a mapping with sendfile(2)
// from the file, which is in the page cache: as fast as it goes to fleets of
// several sizes, and a record at a time. The mapping's pages are there before, as
// when the live stream is sent on and on; or not yet, as when a segment is replayed
// that nobody has had mapped.
func sendfile(ctx context.Context, b *bench, name string, size sendfileSize) error {
	var last stage
	for _, burst := range size.bursts {
		each := burst.total / uint64(burst.clients)
		st, err := newStage(ctx, filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, burst.clients)), true, func(s stage) bool { return s.FrameBytes >= each })
		if err != nil {
			return err
		}
		b.stageMade(name, st)
		last = st
		var write, faults, file []measurement
		err = b.rounds(ctx, size.pace.rounds, func(round int) (keep func(), ms []measurement, err error) {
			for _, way := range []struct {
				what string
				how  raw.Options
			}{{"write", raw.Options{}}, {"write, fresh mapping", raw.Options{Faults: true}}, {"sendfile", raw.Options{Sendfile: true}}} {
				m, err := b.rawBurst(ctx, way.how, st, burst.clients)
				if err != nil {
					return nil, nil, err
				}
				b.report.round(name, fmt.Sprintf("%s, %d clients", way.what, burst.clients), round, m, nil)
				ms = append(ms, m)
			}
			return func() { write, faults, file = append(write, ms[0]), append(faults, ms[1]), append(file, ms[2]) }, ms, nil
		})
		if err != nil {
			return err
		}
		bytes := float64(st.FrameBytes) * float64(burst.clients)
		perGB := func(ms []measurement, cpu func(measurement) float64) []float64 {
			return values(ms, func(m measurement) float64 { return cpu(m) / bytes * 1e9 })
		}
		cpu := func(ms []measurement) []float64 { return perGB(ms, senderCPU) }
		both := func(ms []measurement) []float64 { return perGB(ms, bothEnds) }
		at := fmt.Sprintf("%d clients, ", burst.clients)
		b.report.figure(name, at+"sendfile : write, CPU", "×", stats.Ratios(cpu(file), cpu(write)))
		b.report.figure(name, at+"sendfile : write from a fresh mapping, CPU", "×", stats.Ratios(cpu(file), cpu(faults)))
		b.report.figure(name, at+"sendfile : write, CPU of both ends", "×", stats.Ratios(both(file), both(write)))
		b.report.figure(name, at+"write", "CPU s/GB", cpu(write))
		b.report.figure(name, at+"write from a fresh mapping", "CPU s/GB", cpu(faults))
		b.report.figure(name, at+"sendfile", "CPU s/GB", cpu(file))
	}
	var write, file []pace
	err := b.steadyRounds(ctx, size.pace.rounds, func(round int) (keep func(), ms []measurement, err error) {
		w, err := b.pacedRaw(ctx, raw.Options{}, last, size.pace)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "write, paced", round, w.measurement, w.extra())
		f, err := b.pacedRaw(ctx, raw.Options{Sendfile: true}, last, size.pace)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "sendfile, paced", round, f.measurement, f.extra())
		return func() { write, file = append(write, w), append(file, f) }, []measurement{w.measurement, f.measurement}, nil
	})
	if err != nil {
		return err
	}
	b.report.figure(name, "a record at a time, sendfile : write, CPU", "×", stats.Ratios(perDelivery(file, senderCPU), perDelivery(write, senderCPU)))
	b.report.figure(name, "a record at a time, sendfile : write, CPU of both ends", "×", stats.Ratios(perDelivery(file, bothEnds), perDelivery(write, bothEnds)))
	b.report.figure(name, "a record at a time, write, p99", "ms", percentiles(write, 0.99))
	b.report.figure(name, "a record at a time, sendfile, p99", "ms", percentiles(file, 0.99))
	return nil
}

// bothEnds counts in what a way of sending leaves to whoever takes the bytes off
// the socket: over loopback the receiver's acknowledgement has the kernel go on
// with what was sent, on the receiver's time.
func bothEnds(m measurement) float64 { return m.Server + m.Generator + m.Softirq }
