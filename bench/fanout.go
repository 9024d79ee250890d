package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"distributor/bench/raw"
	"distributor/bench/stats"
	"distributor/bench/subscriber"
	"distributor/wsproto"
)

// sliceBytes is what raw gives to a write; the worker's slices are as long.
const sliceBytes = 256 << 10

// fanoutSize is how many clients get how much.
type fanoutSize struct {
	clients, rounds int
	total           uint64 // bytes to all of them together
	peers           uint64 // the same for each peer, which take longer; 0: none are measured
}

// fanout sends the same bytes to the same number of clients, as fast as they
// go, in three ways by turns:
//
//	live    the clients wait at the head; the logs appear; all is encoded
//	replay  the clients connect from=earliest, and get what is in the frame log
//	raw     the baseline
//	peers   the clients wait; the first of the messages are broadcast
//
// Every round has fresh processes and connections. In the warm-up round two
// clients check what comes.
func fanout(ctx context.Context, b *bench, name string, size fanoutSize) error {
	each := size.total / uint64(size.clients)
	st, err := newStage(ctx, filepath.Join(b.dir, name), true, func(s stage) bool { return s.FrameBytes >= each })
	if err != nil {
		return err
	}
	b.stageMade(name, st)
	if size.peers > 0 {
		if err := b.buildPeers(ctx); err != nil {
			return err
		}
	}
	some, err := st.first(size.peers / uint64(size.clients))
	if err != nil {
		return err
	}
	few, err := st.first(some.frames / 4) // to warm up
	if err != nil {
		return err
	}
	var live, replay, bare []measurement
	libraries := others[measurement]{}
	err = b.rounds(ctx, size.rounds, func(round int) (keep func(), ms []measurement, err error) {
		r, err := b.rawBurst(ctx, raw.Options{}, st, size.clients)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "raw", round, r, nil)
		l, p, err := b.distribute(ctx, st, size.clients, round == 0)
		if err != nil {
			return nil, nil, err
		}
		b.report.round(name, "live", round, l, nil)
		b.report.round(name, "replay", round, p, nil)
		ms = []measurement{r, l, p}
		now := map[string]measurement{}
		if size.peers > 0 {
			now, err = eachPeer(ctx, b, func(p *peer) (measurement, error) {
				m, err := b.peerBurst(ctx, p, st, either(round == 0, few, some), size.clients, round == 0)
				if err == nil {
					b.report.round(name, p.name, round, m, nil)
					ms = append(ms, m)
				}
				return m, err
			})
		}
		return func() {
			bare, live, replay = append(bare, r), append(live, l), append(replay, p)
			libraries.add(now)
		}, ms, err
	})
	if err != nil {
		return err
	}
	bytes := float64(st.FrameBytes) * float64(size.clients)
	perGB := func(ms []measurement, cpu func(measurement) float64) []float64 {
		return values(ms, func(m measurement) float64 { return cpu(m) / bytes * 1e9 })
	}
	rawCPU := perGB(bare, senderCPU)
	b.report.figure(name, "replay, worker : raw, CPU", "×", stats.Ratios(perGB(replay, senderCPU), rawCPU))
	b.report.figure(name, "replay, primary + worker : raw, CPU", "×", stats.Ratios(perGB(replay, serverCPU), rawCPU))
	b.report.figure(name, "live, worker : raw, CPU", "×", stats.Ratios(perGB(live, senderCPU), rawCPU))
	b.report.figure(name, "live, primary + worker : raw, CPU", "×", stats.Ratios(perGB(live, serverCPU), rawCPU))
	b.report.figure(name, "raw", "CPU s/GB", rawCPU)
	b.report.figure(name, "replay, worker", "CPU s/GB", perGB(replay, senderCPU))
	b.report.figure(name, "live, primary + worker", "CPU s/GB", perGB(live, serverCPU))
	for _, way := range []struct {
		what string
		ms   []measurement
	}{{"raw", bare}, {"replay", replay}, {"live", live}} {
		b.report.figure(name, way.what+", delivered", "GB/s", values(way.ms, func(m measurement) float64 { return bytes / 1e9 / m.Seconds }))
		b.report.figure(name, way.what+", generator", "CPU s/GB", perGB(way.ms, func(m measurement) float64 { return m.Generator }))
	}
	for _, p := range libraries.complete(len(bare)) {
		cpu := values(libraries[p], func(m measurement) float64 { return m.Server / float64(some.frames) / float64(size.clients) * 1e9 })
		b.report.figure(name, p+" : live worker, CPU", "×", stats.Ratios(cpu, perGB(live, senderCPU)))
		b.report.figure(name, p+" : raw, CPU", "×", stats.Ratios(cpu, rawCPU))
		b.report.figure(name, p, "CPU s/GB", cpu)
	}
	b.report.figure(name, "live, worker's private memory", "MB", values(live, func(m measurement) float64 { return float64(m.Private) / 1e6 }))
	return nil
}

func senderCPU(m measurement) float64 { return m.Server }
func serverCPU(m measurement) float64 { return m.Primary + m.Server }

func values[T any](ms []T, value func(T) float64) []float64 {
	out := make([]float64, len(ms))
	for i, m := range ms {
		out[i] = value(m)
	}
	return out
}

// rawBurst measures the baseline, from before the clients connect (their
// sockets are filled at once) until all have got all. how may have its ways of
// sending set.
func (b *bench) rawBurst(ctx context.Context, how raw.Options, st stage, clients int) (measurement, error) {
	how.File, how.Slice = st.frames, sliceBytes
	s, err := raw.Start(ctx, b.server, how)
	if err != nil {
		return measurement{}, err
	}
	defer b.finish(s.Close)
	m, err := b.deliver(ctx, subscriber.Target{Address: s.Address, Bare: true}, clients, st, processes{servers: []int{s.PID()}})
	if err != nil {
		return m, err
	}
	sent, err := s.Sent()
	if want := st.FrameBytes * uint64(clients); err == nil && sent.Bytes != want {
		err = fmt.Errorf("raw: %d bytes sent, not %d", sent.Bytes, want)
	}
	return m, err
}

// deliver connects clients to a server that has it all for them already, and
// measures until they have got it.
func (b *bench) deliver(ctx context.Context, t subscriber.Target, clients int, st stage, p processes) (measurement, error) {
	fleet, err := subscriber.Start(ctx, b.generator)
	if err != nil {
		return measurement{}, err
	}
	defer b.finish(fleet.Close)
	p.subscribers = fleet.PID()
	before, err := b.read(p)
	if err != nil {
		return measurement{}, err
	}
	if err := fleet.Connect(t, clients); err != nil {
		return measurement{}, err
	}
	return b.until(fleet, st, p, before)
}

// until measures from before until each client of the fleet has got all of the
// stage.
func (b *bench) until(fleet *subscriber.Fleet, st stage, p processes, before books) (measurement, error) {
	if _, err := fleet.Until(st.FrameBytes); err != nil {
		return measurement{}, err
	}
	after, err := b.read(p)
	return after.since(before), err
}

// distribute measures a distributor: live, and then the replay of the same
// frames to other clients. With check some clients verify what they get, and
// the measurements are of less use.
func (b *bench) distribute(ctx context.Context, st stage, clients int, check bool) (live, replay measurement, err error) {
	d, err := b.distributor(b.server, "")
	if err != nil {
		return live, replay, err
	}
	defer b.finish(d.close)
	checking := func(from wsproto.From) *checks { return b.check(ctx, d, st, from, check) }

	c := checking(wsproto.From{Start: wsproto.Live})
	live, err = b.live(ctx, d, st, clients)
	if err = errors.Join(err, c.wait()); err != nil {
		return live, replay, err
	}
	c = checking(wsproto.From{Start: wsproto.Earliest})
	replay, err = b.deliver(ctx, subscriber.Target{Address: d.Address, From: "earliest", HashKey: hashKey()}, clients, st,
		d.processes())
	return live, replay, errors.Join(err, c.wait())
}

// live measures from the moment that the logs appear.
func (b *bench) live(ctx context.Context, d *distributor, st stage, clients int) (measurement, error) {
	fleet, err := subscriber.Start(ctx, b.generator)
	if err != nil {
		return measurement{}, err
	}
	defer b.finish(fleet.Close)
	t := subscriber.Target{Address: d.Address, From: "live", HashKey: hashKey()}
	if err := fleet.Connect(t, clients); err != nil {
		return measurement{}, err
	}
	p := d.processes()
	p.subscribers = fleet.PID()
	before, err := b.read(p)
	if err != nil {
		return measurement{}, err
	}
	if err := st.play(d.logs()); err != nil {
		return measurement{}, err
	}
	m, err := b.until(fleet, st, p, before)
	if head := d.Head(); err == nil && head != st.FrameBytes {
		err = fmt.Errorf("the frame log has %d bytes, its frames have %d", head, st.FrameBytes)
	}
	return m, err
}
