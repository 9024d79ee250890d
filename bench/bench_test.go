package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/bench/proc"
	"distributor/bench/raw"
	"distributor/bench/subscriber"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

var binaryDir string

// The children that the tests start are this test's program.
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
	if out, err := exec.Command("go", "build", "-o", path, "distributor/cmd/distributor").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// testBench has the real binary, and processes that share what CPUs there are.
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
	r, err := newReport(filepath.Join(dir, "out"), time.Now(), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{binary: path, dir: filepath.Join(dir, "work"), all: all, server: all[:1], generator: all[len(all)-1:], report: r}
	t.Cleanup(func() {
		if b.failure != nil {
			t.Error(b.failure)
		}
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func testStage(t *testing.T, dir string, records int) stage {
	t.Helper()
	st, err := newStage(t.Context(), dir, true, func(s stage) bool { return s.Records >= records })
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// All ways deliver the same bytes: the frames that the stage foretold, to each
// client. Who checks reads every record.
func TestFanoutDeliversTheSameBytes(t *testing.T) {
	b := testBench(t)
	st := testStage(t, filepath.Join(b.dir, "stage"), 300)
	if info, err := os.Stat(st.frames); err != nil || uint64(info.Size()) != st.FrameBytes {
		t.Fatalf("%d bytes of frames foretold, the file: %v, %v", st.FrameBytes, info.Size(), err)
	}
	const clients = 7
	for _, how := range []raw.Options{{}, {Faults: true}, {Sendfile: true}} {
		m, err := b.rawBurst(t.Context(), how, st, clients) // fails unless all bytes were sent
		if err != nil {
			t.Fatal(err)
		}
		if m.Server <= 0 || m.Generator <= 0 || m.Primary != 0 || m.Seconds <= 0 || m.Private <= 0 {
			t.Errorf("raw: %+v", m)
		}
	}
	live, replay, err := b.distribute(t.Context(), st, clients, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []measurement{live, replay} {
		if m.Server <= 0 || m.Primary <= 0 || m.Generator <= 0 || m.Seconds <= 0 || m.Private <= 0 {
			t.Errorf("distributor: %+v", m)
		}
	}
}

func TestEncodeMeasuresAllRecords(t *testing.T) {
	b := testBench(t)
	st := testStage(t, filepath.Join(b.dir, "stage"), 2000)
	m, err := b.encodeOnce(t.Context(), st, b.all)
	if err != nil {
		t.Fatal(err)
	}
	if m.Primary <= 0 || m.Seconds <= 0 {
		t.Errorf("%+v", m)
	}
	each, err := b.sign(t.Context(), st)
	if err != nil || each < time.Microsecond || each > 10*time.Millisecond {
		t.Error("signing a record takes", each, err)
	}
}

func TestPaceMeasuresEveryRecord(t *testing.T) {
	b := testBench(t)
	st := testStage(t, filepath.Join(b.dir, "stage"), 500)
	size := latencySize{clients: sampled + 5, rate: 100, warm: 100 * time.Millisecond, measured: 500 * time.Millisecond, least: 10}
	for name, measure := range map[string]func() (pace, error){
		"raw":         func() (pace, error) { return b.pacedRaw(t.Context(), raw.Options{}, st, size) },
		"sendfile":    func() (pace, error) { return b.pacedRaw(t.Context(), raw.Options{Sendfile: true}, st, size) },
		"distributor": func() (pace, error) { return b.pacedDistributor(t.Context(), size, "", nil) },
		"compressed": func() (pace, error) {
			size := size
			size.compress = true
			return b.pacedDistributor(t.Context(), size, "", nil)
		},
		"lingering": func() (pace, error) {
			size := size
			size.linger = lingerFor
			return b.pacedDistributor(t.Context(), size, "", nil)
		},
	} {
		m, err := measure()
		if err != nil {
			t.Fatal(name, err)
		}
		records := m.deliveries / float64(size.clients)
		if float64(len(m.latencies)) != records*sampled {
			t.Errorf("%s: %d latencies of %v records", name, len(m.latencies), records)
		}
		// 50 if the machine is not very busy.
		all := size.rate * (size.warm + size.measured + runOn).Seconds()
		if records < float64(size.least) || records > all {
			t.Errorf("%s: %v of %v records in half a second", name, records, all)
		}
		// Pings are among the bytes.
		if share := m.bytes; name == "distributor" && (share < 0.9 || share > 1.01) || name == "compressed" && (share < 0.2 || share > 0.7) {
			t.Errorf("%s: %v of the bytes", name, share)
		}
		if m.latencies[0] <= 0 || m.together < 1 || m.Server <= 0 {
			t.Errorf("%s: the fastest took %v ms, %v at a time; %+v", name, m.latencies[0], m.together, m.measurement)
		}
	}
}

// A server that goes before all is there is an error, and no hang.
func TestFleetTellsOfALostConnection(t *testing.T) {
	b := testBench(t)
	st := testStage(t, filepath.Join(b.dir, "stage"), 10)
	s, err := raw.Start(t.Context(), b.server, raw.Options{File: st.frames, Slice: 1000})
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := subscriber.Start(t.Context(), b.generator)
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	if err := fleet.Connect(subscriber.Target{Address: s.Address, Bare: true}, 3); err != nil {
		t.Fatal(err)
	}
	if c, err := fleet.Until(st.FrameBytes); err != nil || c.Clients != 3 || c.Fewest != st.FrameBytes || c.Bytes != 3*st.FrameBytes {
		t.Errorf("%+v, %v", c, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := fleet.Until(st.FrameBytes + 1); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("more came than there was: %+v, %v", c, err)
	}
	if err := fleet.Connect(subscriber.Target{Address: s.Address, Bare: true}, 1); err == nil {
		t.Error("connected to nobody")
	}
}

func TestFleetTellsOfARefusal(t *testing.T) {
	b := testBench(t)
	d, err := b.distributor(b.server, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.finish(d.close)
	fleet, err := subscriber.Start(t.Context(), b.generator)
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	wrong := hashKey()
	wrong[0]++
	if err := fleet.Connect(subscriber.Target{Address: d.Address, From: "live", HashKey: wrong}, 1); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error("a wrong signature was taken:", err)
	}
}

// The stage's logs are whole, and what a distributor makes of them are the
// frames foretold.
func TestStageForetellsTheFrames(t *testing.T) {
	b := testBench(t)
	st := testStage(t, filepath.Join(b.dir, "stage"), 1200)
	text, err := os.ReadFile(st.frames)
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for rest := text; len(rest) > 0; records++ {
		size, err := raw.FrameSize(rest)
		if err != nil || size > uint64(len(rest)) {
			t.Fatal(size, err)
		}
		rest = rest[size:]
	}
	if records != st.Records {
		t.Errorf("%d frames of %d records", records, st.Records)
	}
	lines, err := firstLines(filepath.Join(st.dir, "logs"), "receipt", 10_000)
	if err != nil || len(lines) < st.Records/2 || len(lines) > st.Records {
		t.Errorf("%d receipts of %d records, %v", len(lines), st.Records, err)
	}
	if _, err := raw.FrameSize(text[:9]); !errors.Is(err, raw.ErrNoFrame) {
		t.Error(err)
	}
}

func TestFrameSizes(t *testing.T) {
	for _, n := range []int{0, 125, 126, 0xffff, 0x10000} {
		frame := wsproto.AppendTextFrame(nil, make([]byte, n+10))
		if size, err := raw.FrameSize(frame); err != nil || size != uint64(len(frame)) {
			t.Errorf("payload of %d: %d, %v, not %d", n+10, size, err, len(frame))
		}
	}
}

// Ctrl-C in the middle: an error, no process and no file left over.
func TestStoppedInTheMiddle(t *testing.T) {
	b := testBench(t)
	ctx, stop := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer stop()
	err := latency(ctx, b, "latency", latencySize{clients: sampled + 1, rounds: 1, rate: 50, warm: time.Minute, measured: time.Minute})
	if err == nil || ctx.Err() == nil {
		t.Fatal("it ended by itself:", err)
	}
	b.failure = nil // a child may have been killed
	children, err := proc.Children(os.Getpid(), "")
	if err != nil || len(children) > 0 {
		t.Error("left over:", children, err)
	}
}

func TestDistributorLeavesNothing(t *testing.T) {
	b := testBench(t)
	d, err := b.distributor(b.server, "")
	if err != nil {
		t.Fatal(err)
	}
	r, err := framelog.OpenReader(filepath.Join(d.dir, "state", "frames"))
	if err != nil || r.Head() != d.Head() {
		t.Fatal(err)
	}
	_ = r.Close()
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.dir); !os.IsNotExist(err) {
		t.Error("its directory is still there:", err)
	}
	if _, err := proc.CPU(d.Workers[0]); err == nil {
		t.Error("its worker is still there")
	}
}
