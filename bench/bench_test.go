package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/bench/proc"
	"distributor/mmaplog/framelog"
)

var binaryDir string

// TestMain lets the test binary act as the child processes that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && roles[os.Args[1]] != nil {
		main()
		return
	}
	var err error
	if binaryDir, err = os.MkdirTemp("", "bench-test-"); err != nil {
		panic(err)
	}
	status := m.Run()
	_ = os.RemoveAll(binaryDir)
	os.Exit(status)
}

// binary builds the distributor, once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaryDir, "distributor")
	cmd := exec.Command("go", "-C", "..", "build", "-o", path, "./cmd/distributor")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// testBench returns a bench with the real binary, whose processes share all available CPUs.
func testBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	all, err := proc.Allowed()
	if err != nil {
		t.Fatal(err)
	}
	r, err := newReport(filepath.Join(dir, "out"), time.Now(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		binary: path, dir: filepath.Join(dir, "work"), all: all, server: all[:1],
		generator: all[len(all)-1:], report: r, wsDir: "ws",
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func testStage(t *testing.T, b *bench, records int) (stage, part) {
	t.Helper()
	st, err := b.stage(t.Context(), "stage", records, 0)
	if err != nil {
		t.Fatal(err)
	}
	all, err := st.first(st.FrameBytes)
	if err != nil || all.records != st.Records || all.bytes != st.FrameBytes {
		t.Fatalf("%+v of %d records in %d bytes: %v", all, st.Records, st.FrameBytes, err)
	}
	return st, all
}

// once runs a single round of a scenario.
func (b *bench) once(ctx context.Context, one func(*turn)) (*comparison, error) {
	return b.compare(ctx, "test", 1, true, one)
}

// Every server delivers the frames of the stage to each client. Checkers read every message. There
// are more messages than fit into a burst's window.
func TestFanoutDeliversTheSameBytes(t *testing.T) {
	b := testBench(t)
	st, all := testStage(t, b, 400)
	c, err := b.once(t.Context(), func(turn *turn) {
		turn.measure("raw", func() (measurement, error) {
			return b.peerBurst(t.Context(), baseline, st, all, 7, true)
		})
		turn.run(func() error { return turn.distribute(t.Context(), st, 7, true) })
		turn.eachPeer(t.Context(), func(ctx context.Context, p *peer) (measurement, error) {
			return b.peerBurst(ctx, p, st, all, 7, true)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{"raw", "live", "replay", "gorilla", "gws", "npm ws"} {
		if way == "npm ws" && len(b.peers) == 2 {
			continue // it cannot be installed here
		}
		if len(c.ways[way]) != 1 {
			t.Fatalf("%s was left out: %v", way, b.report.notes)
		}
		m, ours := c.ways[way][0], way == "live" || way == "replay"
		if m.Server <= 0 || m.Generator <= 0 || m.Primary > 0 != ours || m.Private <= 0 {
			t.Errorf("%s: %+v", way, m)
		}
	}
}

func TestEncodeMeasuresAllRecords(t *testing.T) {
	b := testBench(t)
	st, _ := testStage(t, b, 2000)
	if m, err := b.encodeOnce(t.Context(), st, b.all); err != nil || m.Primary <= 0 || m.Seconds <= 0 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestPaceMeasuresEveryRecord(t *testing.T) {
	b := testBench(t)
	st, _ := testStage(t, b, 500)
	size := size{clients: sampled + 5, rate: 100, warm: time.Second / 10, measured: time.Second / 2}
	c, err := b.once(t.Context(), func(turn *turn) {
		turn.measure("distributor", func() (measurement, error) {
			return b.pacedDistributor(t.Context(), size, nil)
		})
		for _, p := range []*peer{baseline, libraries[0]} {
			turn.measure(p.name, func() (measurement, error) {
				return b.pacedPeer(t.Context(), p, st, size)
			})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for way, ms := range c.ways {
		x := ms[0].Extra
		records := x["deliveries"] / float64(size.clients)
		if records < 1 || x["samples"] != records*sampled || x["p50_ms"] <= 0 || x["records_a_read"] < 1 {
			t.Errorf("%s: %v", way, x)
		}
	}
}

// A frame that differs from the broadcast one, or an extra frame, is an error.
func TestFrameClientCompares(t *testing.T) {
	b := testBench(t)
	st, all := testStage(t, b, 20)
	changed := bytes.Clone(st.data)
	changed[len(changed)/2] ^= 1
	for want, data := range map[string][]byte{
		"not what was broadcast": changed, "no whole frame": nil,
	} {
		s, err := b.startPeer(t.Context(), libraries[0], st)
		if err != nil {
			t.Fatal(err)
		}
		s.stage.data = data
		wait, err := check(t.Context(), true, all.records, s.dial)
		if err := errors.Join(err, s.await(checkers), s.burst(all.records)); err != nil {
			t.Fatal(err)
		}
		if err := wait(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
		if err := b.end(); err != nil {
			t.Error(err)
		}
	}
}

// A peer that fails is left out from then on, and the report says so; the others are measured.
func TestPeersThatFailAreSkipped(t *testing.T) {
	b := testBench(t)
	b.wsDir = t.TempDir() // without a program
	c, err := b.compare(t.Context(), "test", 2, true, func(turn *turn) {
		turn.eachPeer(t.Context(), func(_ context.Context, p *peer) (m measurement, err error) {
			if p.name == "gws" && turn.round == 1 {
				err = errors.New("it drops messages")
			}
			return m, err
		})
	})
	notes := strings.Join(b.report.notes, "\n")
	if err != nil || len(b.peers) != 1 ||
		c.of("gorilla", sender) == nil || c.of("gws", sender) != nil ||
		!strings.Contains(notes, "npm ws is left out: it cannot be installed") ||
		!strings.Contains(notes, "gws is left out: it drops messages") {
		t.Error(b.peers, notes, err)
	}
}

// A fleet reports a lost connection and a refusal, and does not hang.
func TestFleetTellsOfWhatFails(t *testing.T) {
	b := testBench(t)
	st, _ := testStage(t, b, 10)
	s, err := b.startPeer(t.Context(), baseline, st)
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.distributor(b.server)
	if err != nil {
		t.Fatal(err)
	}
	left, err := b.fleet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	refused, err := b.fleet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(left.Connect(s.target, 3), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := left.Until(1); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Error("more came than there was:", err)
	}
	target := d.target("live")
	target.HashKey[0]++
	if err := refused.Connect(target, 1); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error("a wrong signature was taken:", err)
	}
	if err := b.end(); err != nil {
		t.Error(err)
	}
}

// The scenarios with more than fan-out run to their end, and report positive figures.
func TestScenarios(t *testing.T) {
	b := testBench(t)
	small := size{
		rounds: 1, clients: sampled + 2, others: 3, history: 300_000, rate: 50,
		warm: time.Second / 20, measured: time.Second / 3,
	}
	for name, want := range map[string]string{
		"stalled": "append to receipt, p99, with", "storm": "staying, all cores",
		"memory": "worker without clients, resident",
	} {
		chosen, err := choose([]string{name}, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := chosen[0].run(t.Context(), b, name, small); err != nil {
			t.Fatal(name, err)
		}
		if f, ok := b.report.find(name, want); !ok || f.Median <= 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// Ctrl-C during a run is an error, and leaves no process and no file.
func TestStoppedInTheMiddle(t *testing.T) {
	b := testBench(t)
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(700*time.Millisecond, stop)
	long := size{clients: sampled + 1, rounds: 1, rate: 50, warm: time.Minute, measured: time.Minute}
	if err := latency(ctx, b, "latency", long); err == nil || ctx.Err() == nil {
		t.Fatal("it ended by itself:", err)
	}
	_ = b.end() // a child may have been killed
	if children := proc.Children(os.Getpid(), ""); len(children) > 0 {
		t.Error("left over:", children)
	}
}

func TestDistributorLeavesNothing(t *testing.T) {
	b := testBench(t)
	d, err := b.distributor(b.server)
	if err != nil {
		t.Fatal(err)
	}
	r, err := framelog.OpenReader(filepath.Join(d.dir, "state", "frames"))
	if err != nil || r.Head() != d.frames.Head() {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), b.end()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.dir); !os.IsNotExist(err) {
		t.Error("its directory is still there:", err)
	}
	if _, err := proc.CPU(d.worker); err == nil {
		t.Error("its worker is still there")
	}
}
