package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"distributor/bench/raw"
	"distributor/bench/subscriber"
	"distributor/engine/simulator"
	"distributor/wsproto/collector"
)

const (
	// sampled are the clients that take the time of each record. They live in
	// the process that is the archiver, so that both have one clock.
	sampled = 8
	// runOn is for how long the archiver goes on after the measurement.
	runOn = time.Second
)

// underPace is what records are appended for.
type underPace struct {
	processes
	logs   string // where the archiver writes
	target subscriber.Target
	dial   func() (receiver, error) // a client that takes the time
	ready  func() error             // called when all are connected; may be nil
	tell   func() error             // called for each record, if it does not look itself; may be nil
	begin  func() error             // called when the measurement begins; may be nil
	end    func() error             // called when it is over; may be nil
}

// receiver is a client that takes the time: a *collector.Collector, or one of
// the baseline, whose messages have no stream and no text.
type receiver interface {
	Next(context.Context) (collector.Message, error)
	Close()
}

// paced measures CPU and the latency of each record appended meanwhile, for
// each sampled client.
func (b *bench) paced(ctx context.Context, size latencySize, u underPace) (result pace, err error) {
	fleet, err := subscriber.Start(ctx, b.generator)
	if err != nil {
		return result, err
	}
	defer b.finish(fleet.Close)
	u.subscribers = fleet.PID()
	clients, err := u.connect(fleet, size.clients)
	for _, c := range clients {
		defer c.Close()
	}
	if err == nil && u.ready != nil {
		err = u.ready()
	}
	if err != nil {
		return result, err
	}

	running, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait() // before clients and servers are closed
	defer stop()
	arrived := make([]arrivals, len(clients))
	for i, c := range clients {
		working.Go(func() { arrived[i].receive(running, c) })
	}
	w := watch{}
	archived := make(chan error, 1)
	var written atomic.Int64
	working.Go(func() { archived <- u.archive(running, size, w, &written) })

	if err := sleep(ctx, size.warm); err != nil {
		return result, err
	}
	if u.begin != nil {
		if err := u.begin(); err != nil {
			return result, err
		}
	}
	before, err := b.read(u.processes)
	if err != nil {
		return result, err
	}
	for enough, d := written.Load()+int64(size.least), size.measured; ; d = 10 * time.Millisecond {
		if err := sleep(ctx, d); err != nil {
			return result, err
		}
		if written.Load() > enough || len(archived) > 0 {
			break
		}
	}
	after, err := b.read(u.processes)
	if err == nil && u.end != nil {
		err = u.end()
	}
	if err := errors.Join(err, <-archived, ctx.Err()); err != nil {
		return result, err
	}
	for i := range arrived {
		if err := arrived[i].await(ctx, w.total()); err != nil {
			return result, fmt.Errorf("sampled client %d: %w", i+1, err)
		}
	}
	counts, err2 := fleet.Counts()
	if err2 != nil { // one that was lost
		return result, err2
	}
	stop()
	working.Wait()

	var took []time.Duration
	var together float64
	for i := range arrived {
		took = append(took, w.latencies(&arrived[i], before.at, after.at)...)
		together += arrived[i].together() / float64(len(arrived))
	}
	records := w.between(before.at, after.at)
	if len(took) != records*len(clients) {
		err = fmt.Errorf("%d latencies of %d records and %d clients", len(took), records, len(clients))
	}
	return newPace(after.since(before), records*size.clients, took, together, float64(counts.Bytes)/float64(counts.Clients)/float64(max(1, arrived[0].plain))), err
}

// connect connects n clients, of which some are sampled, spread evenly over the
// order in which they connect: a server may send in that order.
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
	ctx context.Context, size latencySize, w watch, written *atomic.Int64,
) error {
	var failed error
	_, err := simulator.Run(ctx, simulator.Options{
		Dir: u.logs, Seed: "bench", Rates: simulator.Spread(size.rate, simulator.Streams[:]...),
		ShardKeys: true, Duration: size.warm + size.measured + runOn, Batch: time.Duration(float64(time.Second) / size.rate),
		OnWrite: func(stream string, _ []byte, at time.Time) {
			defer written.Add(1)
			if u.tell == nil {
				w.appended(stream, at)
				return
			}
			w.appended("", at)
			failed = errors.Join(failed, u.tell())
		},
	})
	return errors.Join(err, failed)
}

// dialBare connects a client that takes the time to the baseline.
func dialBare(address string) (receiver, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := newBareClient(conn)
	return &c, nil
}

func newBareClient(conn net.Conn) bareClient {
	timed := &timedConn{Conn: conn}
	return bareClient{timedConn: timed, in: bufio.NewReaderSize(timed, 64<<10)} // as much as a collector reads at once
}

// timedConn notes when bytes came.
type timedConn struct {
	net.Conn
	readAt time.Time
}

func (c *timedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.readAt = time.Now()
	return n, err
}

// bareClient cuts what comes into frames.
type bareClient struct {
	*timedConn
	in    *bufio.Reader
	watch func() bool
}

func (c *bareClient) watchOver(ctx context.Context) {
	if c.watch == nil {
		c.watch = context.AfterFunc(ctx, c.Close)
	}
}

// Next tells when the next frame has come. All calls have the same ctx, whose
// end ends the connection.
func (c *bareClient) Next(ctx context.Context) (collector.Message, error) {
	c.watchOver(ctx)
	header, err := c.in.Peek(10)
	if err != nil {
		return collector.Message{}, err
	}
	size, err := raw.FrameSize(header)
	if err != nil {
		return collector.Message{}, err
	}
	_, err = c.in.Discard(int(size))
	return collector.Message{Received: c.readAt}, err
}

func (c *bareClient) Close() { _ = c.Conn.Close() }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
