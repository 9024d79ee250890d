package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"distributor/bench/subscriber"
	"distributor/engine/simulator"
)

const (
	// sampled is how many clients measure the time of each record. They are in the process of the
	// archiver, so that both have one clock.
	sampled = 8
	// runOn is how long the archiver continues after the measurement.
	runOn = time.Second
	// leastRecords is the least number of measured records, even if they take longer.
	leastRecords = 10
)

// underPace describes the server that is measured at a steady rate.
type underPace struct {
	processes
	logs   string // where the archiver writes
	target subscriber.Target
	dial   func() (receiver, error) // connects a sampled client

	// Hooks, which may be nil: when all are connected, and for each record, if nobody reads the logs.
	ready, appended func() error
}

func hook(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

// paced measures CPU time, and the latency of each record at each sampled client.
func (b *bench) paced(ctx context.Context, size size, u underPace) (m measurement, err error) {
	fleet, err := b.fleet(ctx)
	if err != nil {
		return m, err
	}
	u.load = append(u.load, fleet.PID())
	clients, err := u.connect(fleet, size.clients)
	for _, c := range clients {
		defer c.Close()
	}
	if err := errors.Join(err, hook(u.ready)); err != nil {
		return m, err
	}
	running, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait() // before clients and servers are closed
	defer stop()
	arrived := make([]arrivals, len(clients))
	for i, c := range clients {
		working.Go(func() { arrived[i].receive(running, c) })
	}
	times := timetable{}
	archived := make(chan error, 1)
	var written atomic.Int64
	working.Go(func() { archived <- u.archive(running, size, times, &written) })

	if err := sleep(ctx, size.warm); err != nil {
		return m, err
	}
	var from, to time.Time
	m, err = b.during(u.processes, func() error {
		from = time.Now()
		defer func() { to = time.Now() }()
		d := size.measured
		for enough := written.Load() + leastRecords; ; d = 10 * time.Millisecond {
			if err := sleep(ctx, d); err != nil || written.Load() >= enough || len(archived) > 0 {
				return err
			}
		}
	})
	if err := errors.Join(err, <-archived); err != nil {
		return m, err
	}
	for i := range arrived {
		if err := arrived[i].await(ctx, times.total()); err != nil {
			return m, fmt.Errorf("sampled client %d: %w", i+1, err)
		}
	}
	if _, err := fleet.Counts(); err != nil { // a client was lost
		return m, err
	}
	stop()
	working.Wait()

	records := times.between(from, to)
	var took []float64
	together := 0.0
	for i := range arrived {
		took = append(took, times.latencies(&arrived[i], from, to)...)
		together += float64(arrived[i].count.Load()) / float64(arrived[i].reads)
	}
	if records == 0 || len(took) != records*len(clients) {
		return m, fmt.Errorf("%d latencies of %d records", len(took), records)
	}
	slices.Sort(took)
	at := func(q float64) float64 { return percentile(took, q) }
	m.Extra = map[string]float64{
		"deliveries": float64(records * size.clients), "samples": float64(len(took)),
		"records_a_read": together / sampled, // of a sampled client, on average
		"p50_ms":         at(0.5), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": at(1),
	}
	return m, nil
}

// connect connects n clients. The sampled ones are spread evenly over the order in which they
// connect, because a server may send in that order.
func (u underPace) connect(fleet *subscriber.Fleet, n int) (clients []receiver, err error) {
	for i, cheap := 0, n-sampled; i < sampled; i++ {
		if err := fleet.Connect(u.target, (i+1)*cheap/sampled-i*cheap/sampled); err != nil {
			return clients, err
		}
		c, err := u.dial()
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

// archive writes records at the rate.
func (u underPace) archive(
	ctx context.Context, size size, times timetable, written *atomic.Int64,
) error {
	var failed error
	_, err := simulator.Run(ctx, simulator.Options{
		Dir: u.logs, Seed: "bench", ShardKeys: true,
		Rates:    simulator.Spread(size.rate, simulator.Streams[:]...),
		Duration: size.warm + size.measured + runOn,
		Batch:    time.Duration(float64(time.Second) / size.rate),
		OnWrite: func(stream string, _ []byte, at time.Time) {
			defer written.Add(1)
			if u.appended != nil {
				stream = "" // the server sends records of its own
			}
			times[stream] = append(times[stream], at)
			failed = errors.Join(failed, hook(u.appended))
		},
	})
	return errors.Join(err, failed)
}

// timetable has the times at which records were appended, by stream. Within a stream records arrive
// in the order in which they were appended. The archiver fills the timetable, and it is read after
// the archiver has ended.
type timetable map[string][]time.Time

func (t timetable) total() (n int) {
	for _, times := range t {
		n += len(times)
	}
	return n
}

func within(at, from, to time.Time) bool { return !at.Before(from) && at.Before(to) }

// between counts the records appended from a moment until another.
func (t timetable) between(from, to time.Time) (n int) {
	for _, times := range t {
		for _, at := range times {
			n += either(within(at, from, to), 1, 0)
		}
	}
	return n
}

// latencies returns the latencies, in milliseconds, of the records appended from a moment until
// another.
func (t timetable) latencies(a *arrivals, from, to time.Time) (took []float64) {
	for stream, received := range a.at {
		for i, r := range received {
			if at := t[stream][i]; within(at, from, to) {
				took = append(took, r.Sub(at).Seconds()*1e3)
			}
		}
	}
	return took
}

// arrivals has the times at which one client received each record, by stream. All fields but count
// and err belong to receive's goroutine until that has ended.
type arrivals struct {
	at    map[string][]time.Time
	reads int // that brought one record or more
	count atomic.Int64
	err   atomic.Pointer[error]
}

// receive receives messages until ctx ends.
func (a *arrivals) receive(ctx context.Context, c receiver) {
	a.at = make(map[string][]time.Time)
	for last := (time.Time{}); ; {
		m, err := c.Next(ctx)
		if err != nil {
			a.err.Store(&err)
			return
		}
		a.at[m.Stream] = append(a.at[m.Stream], m.Received)
		if m.Received != last {
			a.reads, last = a.reads+1, m.Received
		}
		a.count.Add(1)
	}
}

// await waits until n records have come.
func (a *arrivals) await(ctx context.Context, n int) error {
	for end := time.Now().Add(patience); ; {
		count := int(a.count.Load())
		err := a.err.Load()
		switch {
		case count == n:
			return nil
		case err != nil:
			return *err
		case count > n || time.Now().After(end):
			return fmt.Errorf("%d records came, %d were appended", count, n)
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}
