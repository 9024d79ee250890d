package main

import (
	"strings"
	"testing"
	"time"

	"distributor/bench/raw"
	"distributor/bench/storm"
	"distributor/bench/subscriber"
	"distributor/wsproto"
)

// Clients that never read are connected and get what is sent; those that read
// get all of it.
func TestBurstBesideTheDeaf(t *testing.T) {
	b := testBench(t)
	st := testStage(t, b.dir+"/stage", 200)
	m, kernel, err := b.burstBeside(t.Context(), st, 5, 3)
	if err != nil || m.Server <= 0 || m.Private <= 0 || kernel < 0 {
		t.Fatal(m, err)
	}
	s, err := raw.Start(t.Context(), b.server, raw.Options{File: st.frames, Slice: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer b.finish(s.Close)
	for _, deaf := range []bool{true, false} {
		fleet, err := subscriber.Start(t.Context(), b.generator)
		if err != nil {
			t.Fatal(err)
		}
		defer b.finish(fleet.Close)
		if err := fleet.Connect(subscriber.Target{Address: s.Address, Bare: true, Deaf: deaf}, 2); err != nil {
			t.Fatal(err)
		}
		if !deaf {
			if _, err := fleet.Until(st.FrameBytes); err != nil {
				t.Error(err)
			}
			continue
		}
		for end := time.Now().Add(patience); ; { // until the socket's buffer has some
			sent, err := s.Sent()
			if err != nil || time.Now().After(end) {
				t.Fatal(sent, err)
			}
			if sent.Bytes > 64<<10 {
				break
			}
		}
		if c, err := fleet.Counts(); err != nil || c.Bytes != 0 || c.Clients != 2 {
			t.Errorf("%+v, %v", c, err)
		}
	}
}

func TestPaceBesideReplay(t *testing.T) {
	b := testBench(t)
	size := replaySize{latencySize: latencySize{clients: sampled + 2, rate: 50, warm: 50 * time.Millisecond, measured: 300 * time.Millisecond}, fleet: 3, history: 300_000}
	m, got, err := b.paceBesideReplay(t.Context(), size, size.fleet)
	if err != nil || float64(len(m.latencies))*float64(size.clients) != m.deliveries*sampled {
		t.Fatal(len(m.latencies), m.deliveries, err)
	}
	if got.Bytes == 0 || got.Again == 0 {
		t.Errorf("nothing was replayed meanwhile: %+v", got)
	}
}

// Those that come back do so where they are told, and what they got before
// counts.
func TestFleetComesBack(t *testing.T) {
	b := testBench(t)
	d, err := b.distributor(b.server, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.finish(d.close)
	if err := d.write(t.Context(), 100_000); err != nil {
		t.Fatal(err)
	}
	fleet, err := subscriber.Start(t.Context(), b.generator)
	if err != nil {
		t.Fatal(err)
	}
	defer b.finish(fleet.Close)
	second, err := d.frames.FrameEnd(1)
	if err != nil {
		t.Fatal(err)
	}
	target := subscriber.Target{Address: d.Address, HashKey: hashKey(), Again: d.Head() - second}
	for _, at := range []uint64{0, second} {
		target.Positions = append(target.Positions, wsproto.Position{Log: d.frames.ID(), Offset: at}.String())
	}
	if err := fleet.Connect(target, 2); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; {
		c, err := fleet.Counts()
		if err != nil {
			t.Fatal(err)
		}
		if c.Again >= 10 && c.Bytes >= 10*target.Again && c.Clients <= 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", c)
		}
	}
	target.Positions = []string{"nonsense"}
	if err := fleet.Connect(target, 1); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error("a position that is none was taken:", err)
	}
	b.failure = nil
}

func TestStorm(t *testing.T) {
	b := testBench(t)
	for _, stay := range []bool{false, true} {
		m, r, err := b.storm(t.Context(), storm.Options{Clients: 50, AtOnce: 8, Stay: stay}, b.server, b.generator)
		if err != nil || r.Upgraded != 50 || r.Refused != 0 || r.Seconds <= 0 || m.Primary <= 0 {
			t.Errorf("%+v, %+v, %v", m, r, err)
		}
	}
}

// Refusals are counted and told.
func TestStormTellsOfRefusals(t *testing.T) {
	b := testBench(t)
	d, err := b.distributor(b.server, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.finish(d.close)
	wrong := hashKey()
	wrong[0]++
	s, err := storm.Start(t.Context(), b.generator, storm.Options{Target: subscriber.Target{Address: d.Address, HashKey: wrong}, Clients: 5, AtOnce: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer b.finish(s.Close)
	if r, err := s.Go(); err != nil || r.Upgraded != 0 || r.Refused != 5 || !strings.Contains(r.First, "HTTP/1.1 401") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFootprintsGrow(t *testing.T) {
	b := testBench(t)
	f, err := b.footprints(t.Context(), memorySize{clients: 20, rate: 20, active: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range f {
		if now.Worker <= 0 || now.Resident < now.Worker || now.Primary <= 0 {
			t.Errorf("%+v", f)
		}
	}
}

func TestTwoWorkersShareTheClients(t *testing.T) {
	b := testBench(t)
	d, err := b.distributorOf(setup{cpus: b.all, workers: 2, each: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer b.finish(d.close)
	if len(d.Workers) != 2 || d.Workers[0] == d.Workers[1] {
		t.Error(d.Workers)
	}
	if _, err := b.live(t.Context(), d, testStage(t, b.dir+"/stage", 50), 4); err != nil {
		t.Error(err)
	}
	fleet, err := subscriber.Start(t.Context(), b.generator)
	if err != nil {
		t.Fatal(err)
	}
	defer b.finish(fleet.Close)
	// The four of live may still be leaving: those two workers hold four, not five.
	if err := fleet.Connect(subscriber.Target{Address: d.Address, From: "live", HashKey: hashKey()}, 5); err == nil {
		t.Error("two workers of two clients each took five")
	}
}
