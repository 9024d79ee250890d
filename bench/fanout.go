package main

import (
	"context"
	"errors"

	"distributor/bench/proc"
	"distributor/bench/subscriber"
	"distributor/wsproto"
)

// fanout sends the same bytes to the same number of clients, as fast as possible, alternately by:
//
//	raw     the baseline; its clients wait too
//	live    the clients wait at the head; the logs appear; all is encoded
//	replay  the clients connect from=earliest, and get what is in the frame log
//	peers   the clients wait; the first of the messages are broadcast
//
// Every round has new processes and connections. In the warm-up some clients check all messages.
func fanout(ctx context.Context, b *bench, name string, size size) error {
	st, err := b.stage(ctx, name, 0, size.total/uint64(size.clients))
	if err != nil {
		return err
	}
	all, err := st.first(st.FrameBytes)
	if err != nil {
		return err
	}
	some, err := st.first(size.peers / uint64(size.clients))
	if err != nil {
		return err
	}
	few, err := st.first(some.bytes / 4) // to warm up
	if err != nil {
		return err
	}
	c, err := b.compare(ctx, name, size.rounds, false, func(t *turn) {
		warming := t.round == 0
		t.measure("raw", func() (measurement, error) {
			return b.peerBurst(ctx, baseline, st, all, size.clients, warming)
		})
		t.run(func() error { return t.distribute(ctx, st, size.clients, warming) })
		if size.peers > 0 {
			t.eachPeer(ctx, func(ctx context.Context, p *peer) (measurement, error) {
				return b.peerBurst(ctx, p, st, either(warming, few, some), size.clients, warming)
			})
		}
	})
	if err != nil {
		return err
	}
	gigabytes := float64(st.FrameBytes) * float64(size.clients) / 1e9
	perGB := func(v value) value { return v.times(1 / gigabytes) }
	cpu, with, load := perGB(sender), perGB(server), perGB(generator)
	for _, way := range []string{"replay", "live"} {
		c.ratio(way+", worker : raw, CPU", way, cpu, "raw", cpu)
		c.ratio(way+", primary + worker : raw, CPU", way, with, "raw", cpu)
	}
	c.figure("raw", "CPU s/GB", "raw", cpu)
	c.figure("replay, worker", "CPU s/GB", "replay", cpu)
	c.figure("live, primary + worker", "CPU s/GB", "live", with)
	for _, way := range []string{"raw", "replay", "live"} {
		speed := func(m measurement) float64 { return gigabytes / m.Seconds }
		c.figure(way+", delivered", "GB/s", way, speed)
		c.figure(way+", generator", "CPU s/GB", way, load)
	}
	ofPeer := value(sender).times(1e9 / float64(some.bytes) / float64(size.clients))
	for _, p := range libraries {
		c.ratio(p.name+" : live worker, CPU", p.name, ofPeer, "live", cpu)
		c.ratio(p.name+" : raw, CPU", p.name, ofPeer, "raw", cpu)
		c.figure(p.name, "CPU s/GB", p.name, ofPeer)
	}
	c.figure("live, worker's private memory", "MB", "live", privateMB)
	return nil
}

// fleet starts a process for subscribers beside the server. end ends it.
func (b *bench) fleet(ctx context.Context) (*subscriber.Fleet, error) {
	return b.fleetOn(ctx, b.generator)
}

func (b *bench) fleetOn(ctx context.Context, cpus proc.CPUs) (*subscriber.Fleet, error) {
	f, err := subscriber.Start(ctx, cpus)
	if err == nil {
		b.started = append(b.started, f.Close)
	}
	return f, err
}

// distribute measures a distributor: live, and then the replay of the same frames to other clients.
// If checked, some clients verify their messages, and the measurements are less exact.
func (t *turn) distribute(ctx context.Context, st stage, clients int, checked bool) error {
	d, err := t.distributor(t.server)
	if err != nil {
		return err
	}
	checking := func(start wsproto.Start) (wait func() error, err error) {
		return check(ctx, checked, st.Records, func() (receiver, error) {
			return d.dial(ctx, wsproto.From{Start: start})
		})
	}
	wait, err := checking(wsproto.Live)
	if err != nil {
		return err
	}
	live, err := t.live(ctx, d, st, clients)
	if err := errors.Join(err, wait()); err != nil {
		return err
	}
	t.add("live", live)
	if wait, err = checking(wsproto.Earliest); err != nil {
		return err
	}
	fleet, err := t.fleet(ctx)
	if err != nil {
		return err
	}
	replay, err := t.during(d.with(fleet.Child), func() error {
		if err := fleet.Connect(d.target("earliest"), clients); err != nil {
			return err
		}
		_, err := fleet.Until(st.FrameBytes)
		return err
	})
	t.add("replay", replay)
	return errors.Join(err, wait())
}

// live measures from the moment that the logs appear.
func (b *bench) live(
	ctx context.Context, d *distributor, st stage, clients int,
) (m measurement, err error) {
	fleet, err := b.fleet(ctx)
	if err != nil {
		return m, err
	}
	if err := fleet.Connect(d.target("live"), clients); err != nil {
		return m, err
	}
	m, err = b.during(d.with(fleet.Child), func() error {
		if err := st.play(d.logs()); err != nil {
			return err
		}
		_, err := fleet.Until(st.FrameBytes)
		return err
	})
	return m, errors.Join(err, d.checkHead(st.FrameBytes), fleet.Close())
}
