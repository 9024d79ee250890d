package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/bench/proc"
)

// built are those that this machine can build, once for all tests. The others
// are left out, as in the benchmark.
var built = sync.OnceValues(func() ([]*peer, error) {
	all, err := proc.Allowed()
	if err != nil {
		return nil, err
	}
	out, err := newReport(binaryDir, time.Now(), io.Discard)
	if err != nil {
		return nil, err
	}
	b := &bench{dir: binaryDir, all: all, peersDir: "peers", report: out}
	if err := errors.Join(b.buildPeers(context.Background()), out.close()); err != nil {
		return nil, err
	}
	if len(b.peers) < 4 {
		return nil, fmt.Errorf("the Go peers cannot be built: %v", out.notes)
	}
	return b.peers, nil
})

func withPeers(t *testing.T) *bench {
	t.Helper()
	b := testBench(t)
	var err error
	if b.peers, err = built(); err != nil {
		t.Fatal(err)
	}
	return b
}

// Every peer delivers every message, once and in order, to each client: those
// that count bytes and those that compare. There are more messages than fit into
// the window.
func TestPeersDeliverTheSameMessages(t *testing.T) {
	b := withPeers(t)
	st := testStage(t, filepath.Join(b.dir, "stage"), 400)
	all, err := st.first(st.FrameBytes)
	if err != nil || all.records != st.Records || all.frames != st.FrameBytes || all.payloads != st.FrameBytes-uint64(4*st.Records) {
		t.Fatalf("%+v of %d records in %d bytes: %v", all, st.Records, st.FrameBytes, err)
	}
	for _, p := range b.peers {
		if m, err := b.peerBurst(t.Context(), p, st, all, 5, true); err != nil || m.Server <= 0 || m.Generator <= 0 || m.Primary != 0 {
			t.Errorf("%s: %+v, %v", p.name, m, err)
		}
		if slices.Contains(compressing, p.name) {
			size := latencySize{clients: sampled + 3, rate: 100, warm: 50 * time.Millisecond, measured: 200 * time.Millisecond, compress: true}
			m, err := b.pacedPeer(t.Context(), p, st, size)
			if err != nil || m.bytes < 0.2 || m.bytes > 0.7 {
				t.Errorf("%s, compressed: %v of the bytes, %v", p.name, m.bytes, err)
			}
		}
		if p.name != "centrifuge" && p.name != "npm ws" { // the other programs have what is told in common
			continue
		}
		size := latencySize{clients: sampled + 3, rate: 100, warm: 50 * time.Millisecond, measured: 200 * time.Millisecond}
		m, err := b.pacedPeer(t.Context(), p, st, size)
		if records := m.deliveries / float64(size.clients); err != nil || float64(len(m.latencies)) != records*sampled || records > 0 && m.latencies[0] <= 0 {
			t.Errorf("%s, paced: %d latencies of %v records, %v", p.name, len(m.latencies), records, err)
		}
	}
}

// What is not what was broadcast, a message too few or too many, is an error.
func TestPeerClientCompares(t *testing.T) {
	b := withPeers(t)
	st := testStage(t, filepath.Join(b.dir, "stage"), 20)
	for name, change := range map[string]func(data []byte) ([]byte, int){
		"is not what was broadcast": func(d []byte) ([]byte, int) { d[len(d)/2] ^= 1; return d, st.Records },
		"there are no more":         func(d []byte) ([]byte, int) { return d[:0], 1 },
	} {
		ctx, stop := context.WithTimeout(t.Context(), patience)
		defer stop()
		s, err := b.startPeer(ctx, b.peers[0], st, false)
		if err != nil {
			t.Fatal(err)
		}
		defer b.finish(s.Close)
		data, n := change(append([]byte(nil), st.data...))
		c, err := dialPeer(s, data)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := errors.Join(s.await(1), s.Tell(peerCommand{Burst: st.Records})); err != nil {
			t.Fatal(err)
		}
		if err := c.all(ctx, n); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, not %q", err, name)
		}
	}
}

// One that cannot be built, or fails, is skipped and said so; the others are
// measured.
func TestPeersThatFailAreSkipped(t *testing.T) {
	b := testBench(t)
	b.peersDir = t.TempDir() // no module
	if err := b.buildPeers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.peers) != 0 || len(b.report.notes) != len(peers()) || !strings.Contains(b.report.notes[0], "gorilla is left out: it cannot be built: go build") {
		t.Error(b.peers, b.report.notes)
	}

	b.peers = peers()[:3]
	results := others[int]{}
	for round := range 2 {
		now, err := eachPeer(t.Context(), b, func(p *peer) (int, error) {
			if p.name == "gws" && round == 1 {
				return 0, errors.New("it drops messages")
			}
			return round, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		results.add(now)
	}
	if got := strings.Join(results.complete(2), " "); got != "gorilla nbio" || len(b.peers) != 2 {
		t.Error(got, b.peers)
	}
	if last := b.report.notes[len(b.report.notes)-1]; last != "gws is left out: it drops messages" {
		t.Error(last)
	}
}
