package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/gateway"
	"distributor/engine/handoff"
	"distributor/engine/problem"
	"distributor/engine/supervisor"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// sources returns those of a distributor with n workers, all of which are this process.
func sources(t testing.TB, n int) Sources {
	snap := supervisor.Snapshot{
		Clients: 7, Waiting: 1, Deflate: 4, Handoffs: 20, Spawns: 5, Ended: 2,
		Refusals:    map[supervisor.Refusal]uint64{supervisor.RefusedFull: 3},
		Disconnects: map[string]uint64{"too_slow": 4, "ping_timeout": 0},
		Failures:    map[supervisor.Failure]uint64{supervisor.FailedExit: 1},
		Sent: handoff.Counters{SentBytes: 900, Sends: 9, Pings: 2,
			CompressedBytes: 26, PlainBytes: 27},
	}
	for i := range n {
		w := supervisor.Worker{Number: i + 1, PID: os.Getpid(), State: "ready", Clients: 3}
		w.Stats = handoff.Stats{
			Counters: handoff.Counters{SentBytes: 100, Sends: 4}, Blocked: 1, Head: 1000, MinCursor: 400,
		}
		for j := range handoff.MaxSlowest {
			w.Stats.Slowest = append(w.Stats.Slowest,
				handoff.Slow{Key: fmt.Sprint(i, "-", j), Cursor: uint64(400 + 2*j + i), Seconds: 1.5,
					Blocked: j == 0})
		}
		snap.Workers = append(snap.Workers, w)
	}
	return Sources{
		Version: "v", Started: time.Now().Add(-time.Minute), LogID: "id", LogDir: t.TempDir(),
		Source: func(s datalog.Stream) datalog.Stats {
			return datalog.Stats{File: "f", BytesBehind: int64(s), Rotations: 6, Watching: true}
		},
		Encoder: func(datalog.Stream) encoder.StreamStats {
			return encoder.StreamStats{Records: 10, Bytes: 11, Frames: 12, FrameBytes: 13, BeyondStop: 14,
				Rejected: map[string]uint64{"not_json": 2}}
		},
		FrameLog: func() framelog.Stats { return framelog.Stats{Head: 1000, Floor: 100, Segments: 2} },
		Blocked:  func() error { return errors.New("no room") },
		Workers:  func() supervisor.Snapshot { return snap },
		Gateway: func() gateway.Snapshot {
			return gateway.Snapshot{Connections: 4, Refused: map[string]uint64{"a": 0, "b": 2},
				Malformed: 3, Missed: 5}
		},
		Deflate: func() deflate.Stats {
			return deflate.Stats{Alive: true, Frames: 20, InBytes: 21, OutBytes: 22, Same: 23, Lag: 24,
				Ends: map[deflate.End]uint64{deflate.EndBehind: 25}}
		},
		API: func() API { return API{Endpoints: []Endpoint{}, Tables: []Table{}} },
		Health: func() ([]problem.Problem, time.Time) {
			found := problem.Problem{ID: "i", Since: time.Unix(2, 0)}
			return []problem.Problem{found}, time.Unix(1, 0)
		},
		Events: NewEvents(),
	}
}

func TestCollect(t *testing.T) {
	b := NewBoard(sources(t, 2))
	b.update(time.Now())
	s := b.Status()
	if s.Healthy || s.HealthSince != time.Unix(1, 0) || len(s.Problems) != 1 ||
		len(s.Streams) != 3 || len(s.Workers) != 2 || len(s.Processes) != 3 {
		t.Fatalf("%+v", s)
	}
	if got := s.Streams[2]; got.Name != "receipt" || got.StreamStats.Records != 10 ||
		got.Frames != 12 ||
		got.BytesBehind != 3 || got.Rejected["not_json"] != 2 || got.Rotations != 6 {
		t.Errorf("%+v", got)
	}
	if got := s.Workers[1]; got.Number != 2 || got.Lag != 600 || got.Blocked != 1 ||
		got.State != "ready" {
		t.Errorf("%+v", got)
	}
	slowest := s.Clients.Slowest
	if len(slowest) != handoff.MaxSlowest || slowest[0] != (Client{"0-0", 1, 600, 1.5, true}) ||
		slowest[1] != (Client{"1-0", 2, 599, 1.5, true}) || slowest[19].Lag != 581 {
		t.Errorf("%+v", slowest)
	}
	if s.FrameLog.Blocked != "no room" || s.FrameLog.Head != 1000 || s.Starts.Failed["exit"] != 1 ||
		s.Clients.Refused["full"] != 3 || s.HTTP.Malformed != 3 || s.HTTP.Missed != 5 {
		t.Errorf("%+v %+v", s.FrameLog, s.Starts)
	}
	if got := s.Compression; got.Clients != 4 || !got.Alive || got.Frames != 20 ||
		got.InBytes != 21 || got.OutBytes != 22 || got.Same != 23 || got.Lag != 24 ||
		got.SentBytes != 26 || got.PlainBytes != 27 || got.Ends["behind"] != 25 {
		t.Errorf("%+v", got)
	}
	var text map[string]any
	if err := json.Unmarshal(b.JSON(), &text); err != nil {
		t.Fatal(err)
	}
	if refused := text["refused"].(map[string]any); len(refused) != 1 || refused["b"] != 2.0 {
		t.Errorf("zeros are to be left out: %v", refused)
	}
}

// No list is null, because the page iterates over all lists.
func TestNothingIsNull(t *testing.T) {
	o := sources(t, 0)
	o.Health = func() ([]problem.Problem, time.Time) { return nil, time.Now() }
	b := NewBoard(o)
	for range 2 {
		if text := string(b.JSON()); strings.Contains(text, "null") ||
			!strings.Contains(text, `"slowest":[]`) {
			t.Error(text)
		}
		b.update(time.Now())
	}
}

// A viewer that watches is told of each newer Status while everything else continues.
func TestWatch(t *testing.T) {
	o := sources(t, 3)
	b := NewBoard(o)
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { b.Run(ctx) })
	for range 4 {
		parts.Go(func() {
			for ctx.Err() == nil {
				if text, over := b.Watch(); json.Valid(text) {
					select {
					case <-over:
					case <-ctx.Done():
					}
				}
			}
		})
	}
	former := b.Status()
	for i := range 50 {
		_, over := b.Watch()
		b.sources.Events.add(entry{Event{time.Now(), "warn", fmt.Sprint(i), 1}, fmt.Sprint(i)})
		if i == 0 { // the rest only races
			<-over
		}
		_ = b.Status()
	}
	if b.Status() == former {
		t.Error("nothing new")
	}
	cancel()
	parts.Wait()
}

func TestBacklog(t *testing.T) {
	start := time.Now()
	type look struct{ second, passed, waiting, want int }
	for name, looks := range map[string][]look{
		"at rest":              {{0, 0, 0, 0}, {1, 500, 0, 0}},
		"always something new": {{0, 0, 10, 0}, {1, 20, 10, 0}, {2, 40, 10, 0}, {3, 60, 10, 0}},
		"stuck":                {{0, 0, 10, 0}, {1, 0, 20, 1}, {9, 0, 20, 9}},
		"three seconds late": {{0, 0, 10, 0}, {1, 0, 20, 1}, {2, 0, 30, 2}, {3, 10, 30, 2},
			{4, 20, 30, 2}, {5, 30, 30, 2}},
		"catches up": {{0, 0, 100, 0}, {5, 0, 100, 5}, {6, 99, 1, 6}, {7, 100, 0, 0},
			{8, 100, 1, 0}},
		"log was replaced": {{0, 50, 100, 0}, {1, 60, 3, 1}, {2, 63, 0, 0}},
	} {
		var b backlog
		for _, l := range looks {
			got := b.age(start.Add(time.Duration(l.second)*time.Second), int64(l.passed), int64(l.waiting))
			if got != time.Duration(l.want)*time.Second {
				t.Errorf("%s, second %d: %s", name, l.second, got)
			}
		}
	}
}

func TestBacklogIsBounded(t *testing.T) {
	var b backlog
	start := time.Now()
	for i := range 5 * maxSightings {
		now := start.Add(time.Duration(i) * time.Second)
		if got := b.age(now, 0, int64(10+i)); got != now.Sub(start) {
			t.Fatalf("second %d: %s", i, got)
		}
	}
	if len(b.seen) > maxSightings ||
		!slices.IsSortedFunc(b.seen, func(a, b sighting) int { return a.at.Compare(b.at) }) {
		t.Fatalf("%d sightings", len(b.seen))
	}
}

func TestLatencyOfTheLastTenSeconds(t *testing.T) {
	var w window
	var h handoff.Histogram
	now := time.Now()
	observe := func(v float64, n int) {
		for range n {
			h.Observe(&handoff.LatencyBounds, v)
		}
	}
	observe(4, 1000) // long ago
	if got := w.latency(now, h, 0); got.P50 != 0 || got.Max != 0 ||
		got.Counts[len(got.Counts)-1] != 1000 {
		t.Errorf("nothing was sent in the window: %+v", got)
	}
	observe(0.0015, 98)
	observe(0.3, 2)
	got := w.latency(now.Add(time.Second), h, 0.31)
	if got.P50 <= 0.001 || got.P50 > 0.002 || got.P99 <= 0.2 || got.P99 > 0.31 || got.Max != 0.31 ||
		got.SumSecs != h.Sum {
		t.Errorf("%+v", got)
	}
	for i := 2; i <= 11; i++ {
		got = w.latency(now.Add(time.Duration(i)*time.Second), h, 0)
	}
	if got.P50 != 0 || got.P99 != 0 {
		t.Errorf("what is over ten seconds ago still counts: %+v", got)
	}
	if len(w.past) > 12 {
		t.Errorf("%d moments are kept", len(w.past))
	}
}

func TestQuantile(t *testing.T) {
	h := Histogram{Bounds: []float64{1, 2, 4}, Counts: []int64{0, 10, 10, 12}}
	for _, c := range []struct{ q, largest, want float64 }{
		{0, 0, 0}, {0.5, 0, 1.6}, {0.5, 1.5, 1.5}, {1, 0, 4}, {1, 9, 9}, {11.0 / 12, 9, 6.5},
	} {
		if got := h.Quantile(c.q, c.largest); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%g of all, largest %g: %g, want %g", c.q, c.largest, got, c.want)
		}
	}
	if got := (Histogram{}).Quantile(0.5, 3); got != 0 {
		t.Errorf("of nothing: %g", got)
	}
}

func TestProcess(t *testing.T) {
	held := make([]byte, 16<<20)
	for i := range held {
		held[i] = 1
	}
	var opened []*os.File
	for range 10 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, f)
	}
	// two ticks of the processor's clock
	for start := time.Now(); time.Since(start) < 30*time.Millisecond; {
	}
	p := &processes{}
	got := p.look([]named{{"primary", os.Getpid()}, {"worker 1", 1 << 30}})
	if len(got) != 1 {
		t.Fatalf("a process that is no more is shown: %+v", got)
	}
	one := got[0]
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	if one.Name != "primary" || one.CPUSeconds <= 0 || one.CPUSeconds > 600 || one.Threads < 2 ||
		one.Threads > 1000 ||
		one.Private < 16<<20 || one.RSS < one.Private || one.RSS > 1<<32 || one.FDs < 10 ||
		math.Abs(float64(one.FDs-len(entries))) > 4 {
		t.Errorf("%+v, %d descriptors", one, len(entries))
	}
	for _, f := range opened {
		f.Close()
	}
	runtime.KeepAlive(held)
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	var d disk
	now := time.Now()
	first := d.used(now, dir)
	if first < 1<<20 || first > 2<<20 {
		t.Errorf("%d bytes", first)
	}
	write("b")
	if d.used(now.Add(time.Second), dir) != first {
		t.Error("looked again at once")
	}
	if got := d.used(now.Add(time.Minute), dir); got < 2<<20 {
		t.Errorf("%d bytes later", got)
	}
}

// BenchmarkBoard measures the cost of one second: with the two workers of the defaults, and with
// the most workers that the defaults allow.
func BenchmarkBoard(b *testing.B) {
	for _, workers := range []int{2, 64} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			board := NewBoard(sources(b, workers))
			b.ReportAllocs()
			for b.Loop() {
				board.update(time.Now())
				_ = board.JSON()
			}
		})
	}
}
