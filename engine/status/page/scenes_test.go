package page_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"syscall"
	"time"

	"distributor/engine/encoder"
	"distributor/engine/problem"
	"distributor/engine/status"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// A scene is the life of a distributor as a series of statuses. It is the same for the same seed,
// whatever the time of day.
type scene struct {
	workers, clients int
	seed             uint64
	last             func(*status.Status) // what is special about its present
}

// keys are collectors' keys, as long as real ones.
func key(n int) string { return fmt.Sprintf("%016x%048x", uint64(n)*0x9e3779b97f4a7c15, n) }

// play returns the last n statuses up to end, one every step. The browser treats 15 minutes in
// steps of 5 s like 15 minutes in steps of 1 s, but needs less time.
func (sc scene) play(end time.Time, n int, step time.Duration) []status.Status {
	random := rand.New(rand.NewPCG(sc.seed, 1))
	started := end.Add(-77*time.Hour - 13*time.Minute)
	var records, bytes, frameBytes [3]float64
	var out float64
	sent := make([]float64, sc.workers)
	cpu := make([]float64, sc.workers+1)
	all := make([]status.Status, 0, n)
	for i := range n {
		now := end.Add(time.Duration(i-n+1) * step)
		s := int(step.Seconds()) * i // of the scene
		wave := 1 + 0.35*math.Sin(float64(s)/90) + 0.12*random.NormFloat64()
		for i, perSecond := range []float64{0.016, 420, 700} {
			more := math.Max(0, perSecond*wave*step.Seconds())
			records[i] += more
			bytes[i] += more * 4400
			frameBytes[i] += more * 4620
		}
		in := 1120 * 4620 * math.Max(0, wave*step.Seconds())
		head := uint64(48e9 + frameBytes[0] + frameBytes[1] + frameBytes[2])
		p50 := 0.0006 * (1 + 0.2*random.Float64())
		p99 := 0.004 * (1 + random.ExpFloat64())
		st := status.Status{
			Time: now, Started: started, Version: "distributor 1.4.0", Healthy: true,
			Problems: []problem.Problem{},
			FrameLog: status.FrameLog{
				ID: "3f1c9a4e5b7d42c8a0e6d1f2b3c4d5e6", DiskSize: 1_140_850_688,
				Stats: framelog.Stats{
					Head: head, Floor: head - 1_048_000_000, Segments: 17, Synced: head - 11_500_000,
				},
			},
			Clients: status.Clients{
				Connected: sc.clients, HandedOver: 48_112 + int64(s),
				Disconnects: map[string]int64{"client_closed": 1204,
					"duplicate_connection": 311 + int64(s/120), "ping_timeout": 18, "too_slow": 4},
				Slowest: []status.Client{},
			},
			Latency: status.Latency{P50: p50, P99: p99, Max: p99 * 3},
			Tables: []status.Table{{Name: "accounts", Rows: 91_022}, {Name: "cycles", Rows: 18_220},
				{Name: "originalTxsData", Rows: 5511}, {Name: "receipts", Rows: 96_404},
				{Name: "transactions"}},
			Refused: map[string]int64{"unknown_subscriber": 92, "timestamp_too_old": 7 + int64(s/300)},
			API: []status.Endpoint{
				{Path: "/account", Statuses: map[string]int64{}},
				{Path: "/cycleinfo", Statuses: map[string]int64{"200": 18_220 + int64(s), "400": 31},
					P50: 0.0011, P99: 0.0093},
				{Path: "/is-healthy", Statuses: map[string]int64{"200": 27_741 + int64(s/10)}, P50: 0.00008,
					P99: 0.0004},
				{Path: "/receipt", Statuses: map[string]int64{"200": 96_404 + int64(7*s), "400": 12,
					"401": 210, "429": 54}, P50: 0.0042, P99: 0.0481},
			},
			Events: []status.Event{
				{Time: end.Add(-26 * time.Hour), Level: "warn",
					Text: "client is closed: too slow, worker 1, key 4cf5ad43…", Count: 3},
				{Time: end.Add(-3 * time.Hour), Level: "info",
					Text: "configuration reloaded: NUMBER_OF_WORKERS 1 → 2", Count: 1},
				{Time: end.Add(-41 * time.Minute), Level: "info",
					Text: "receipt: rotation, receipt-log117.txt → receipt-log118.txt", Count: 1},
				{Time: end.Add(-12 * time.Minute), Level: "info",
					Text: "originalTx: rotation, originalTx-log62.txt → originalTx-log63.txt", Count: 1},
			},
		}
		for i, name := range []string{"cycle", "originalTx", "receipt"} {
			grown := now.Add(-time.Duration(random.IntN(900)) * time.Millisecond)
			if i == 0 {
				grown = now.Add(-time.Duration(s%60) * time.Second)
			}
			st.Streams = append(st.Streams, status.Stream{
				Name: name,
				StreamStats: encoder.StreamStats{
					Records: uint64(records[i]), Bytes: uint64(bytes[i]), Frames: uint64(records[i]),
					FrameBytes: uint64(frameBytes[i]), Rejected: map[string]uint64{},
				},
				Stats: datalog.Stats{
					File:       fmt.Sprintf("%s-log%d.txt", name, []int{4, 63, 118}[i]),
					LastGrowth: grown, Rotations: uint64(i * 3), Watching: true,
				},
			})
		}
		st.Streams[2].Rejected["not_json"] = 2
		for w := range sc.workers {
			clients := sc.clients / sc.workers
			sent[w] += in * float64(clients)
			cpu[w+1] += (0.31 + 0.02*random.Float64()) * step.Seconds()
			st.Workers = append(st.Workers, status.Worker{Number: w + 1, PID: 4100 + w, State: "ready",
				Since: started.Add(2 * time.Second), Clients: clients,
				SentBytes: int64(sent[w]), Sends: int64(s) * int64(clients) * 40})
			st.Processes = append(st.Processes, status.Process{Name: fmt.Sprintf("worker %d", w+1),
				PID: 4100 + w, CPUSeconds: cpu[w+1], RSS: 812e6,
				Private: 14_600_000 + int64(w)*1000, FDs: clients + 19, Threads: 7})
		}
		out += in * float64(sc.clients)
		st.Clients.SentBytes = int64(out)
		cpu[0] += (0.42 + 0.02*random.Float64()) * step.Seconds()
		st.Processes = append([]status.Process{{Name: "primary", PID: 4099, CPUSeconds: cpu[0],
			RSS: 402e6, Private: 61_300_000, FDs: 84, Threads: 11}}, st.Processes...)
		all = append(all, st)
	}
	if sc.last != nil {
		sc.last(&all[n-1])
	}
	return all
}

var well = scene{workers: 2, clients: 1024, seed: 1}

// troubled is a scene in which the disk is full, receipts pile up, sockets are full and a worker
// has died.
var troubled = scene{workers: 3, clients: 1536, seed: 2, last: func(st *status.Status) {
	now := st.Time
	st.Healthy, st.HealthSince = false, now.Add(-5*time.Minute)
	full := fmt.Errorf("framelog: no space for the next segment: %w", syscall.ENOSPC)
	st.Problems = []problem.Problem{
		problem.FrameLogBlocked.Found("frame log", full, "/var/lib/distributor").Details,
		problem.NoGrowth.Found("data logs", problem.Said("for 10m4s"), "/archiver/data-logs").Details,
	}
	st.Problems[0].Since, st.Problems[1].Since = now.Add(-5*time.Minute), now.Add(-4*time.Second)
	st.FrameLog.Blocked = "no space left on device"
	receipts := &st.Streams[2]
	receipts.BytesBehind, receipts.SecondsBehind, receipts.Gaps = 184_400_120, 41.7, 1
	receipts.Rejected = map[string]uint64{"not_json": 1204, "too_deep": 3}
	st.Streams[0].LastGrowth = time.Time{}
	st.Streams[0].Watching = false
	st.Workers[1].State, st.Workers[1].Since, st.Workers[1].Clients, st.Workers[1].PID = "starting",
		now.Add(-2*time.Second), 0, 5223
	st.Processes[2].PID, st.Processes[2].CPUSeconds = 5223, 0.4
	st.Tables[3].Failing, st.Tables[3].Damaged = "receipts: database disk image is malformed", 12
	st.Starts.Failed = status.Counts{"killed": 1}
	st.Workers[0].Blocked, st.Workers[0].Lag = 17, 312_900_000
	for i := range 20 {
		st.Clients.Slowest = append(st.Clients.Slowest,
			status.Client{Key: key(i + 1), Worker: 1 + 2*(i%2), Lag: 312_900_000 / int64(i+1),
				Seconds: 64.2 / float64(i+1), Blocked: i%2 == 0})
	}
	st.Clients.Disconnects["worker_lost"] = 512
	st.Refused["full"] = 88
	st.API[3].Statuses["500"] = 4
	st.Events = append(st.Events,
		status.Event{Time: now.Add(-95 * time.Second), Level: "warn",
			Text:  `receipt: line is no record: not JSON: "<script>alert('line of a stranger')</script>"`,
			Count: 1202},
		status.Event{Time: now.Add(-42 * time.Second), Level: "error",
			Text: "frame log: no space left on device; reading stops until there is room", Count: 1},
		status.Event{Time: now.Add(-3 * time.Second), Level: "error",
			Text: "worker 2 (pid 4101) ended: signal: killed; 512 collectors lost", Count: 1})
}}

var crowd = scene{workers: 200, clients: 200_000, seed: 3, last: func(st *status.Status) {
	st.Workers[136].Lag, st.Workers[136].Blocked = 9_100_000, 3
	st.Workers[41].State = "draining"
	st.Streams[2].StreamStats.Records, st.FrameLog.Head, st.FrameLog.Floor = math.MaxInt64,
		math.MaxUint64, math.MaxUint64-2<<40
	for i := range 100 {
		st.Events = append(st.Events,
			status.Event{Time: st.Time.Add(time.Duration(i-100) * time.Second), Level: "info",
				Text: fmt.Sprintf("worker %d is ready", i+1), Count: 1})
	}
	for i := range 20 {
		st.Clients.Slowest = append(st.Clients.Slowest,
			status.Client{Key: key(i + 1), Worker: 137, Lag: 9_100_000 - int64(i), Seconds: 1.9})
	}
}}
