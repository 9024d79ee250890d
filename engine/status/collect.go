package status

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"distributor/engine/deflate"
	"distributor/engine/handoff"
	"distributor/engine/supervisor"
	"distributor/mmaplog/datalog"
)

// collect reads all sources into a new Status.
func (b *Board) collect(now time.Time) *Status {
	o := &b.sources
	workers, front := o.Workers(), o.Gateway()
	s := &Status{
		Time: now.Round(0), Started: o.Started.Round(0), Version: o.Version,
		FrameLog: b.frameLog(now),
		Workers:  make([]Worker, 0, len(workers.Workers)),
		Clients:  clients(workers),
		Events:   o.Events.Last(),
		Logged:   o.Events.counts(),
		Refused:  counts(front.Refused),
		HTTP: HTTP{
			Connections: front.Connections, Waiting: front.Waiting,
			Missed: int64(front.Missed), Malformed: int64(front.Malformed),
		},
		Starts: Starts{Started: int64(workers.Spawns), Ended: int64(workers.Ended),
			Failed: counts(workers.Failures)},
	}
	s.Compression = compression(o.Deflate(), workers)
	problems, since := o.Health()
	s.Problems, s.Healthy, s.HealthSince = nonNil(problems), len(problems) == 0, since
	for _, stream := range datalog.Streams {
		s.Streams = append(s.Streams, b.stream(now, stream))
	}
	names := []named{{"primary", ownPID}}
	var slowest float64
	for _, w := range workers.Workers {
		s.Workers = append(s.Workers, worker(w))
		slowest = max(slowest, w.Stats.LatencyMax)
		if w.PID != 0 {
			names = append(names, named{"worker " + strconv.Itoa(w.Number), w.PID})
		}
	}
	s.Latency = b.window.latency(now, workers.Sent.Latency, slowest)
	api := o.API()
	s.API, s.Tables = api.Endpoints, api.Tables
	if api.PID != 0 {
		names = append(names, named{"query", api.PID})
	}
	s.Processes = b.processes.look(names)
	return s
}

func lastGap(read datalog.Stats) *Gap {
	g := read.LastGap
	if g.Reason == "" {
		return nil
	}
	return &Gap{
		Time: g.Time.Round(0), Reason: string(g.Reason), File: read.Stream.FileName(g.After.Number),
		Offset: int64(g.After.Offset),
		Next:   read.Stream.FileName(g.Next), Bytes: int64(g.Bytes),
	}
}

func (b *Board) stream(now time.Time, s datalog.Stream) Stream {
	read, made := b.sources.Source(s), b.sources.Encoder(s)
	// BytesBehind includes line ends, and Bytes does not.
	passed := int64(read.Bytes + read.Records)
	out := Stream{
		Name: s.String(), StreamStats: made, Stats: read, LastGap: lastGap(read),
		SecondsBehind: b.backlogs[s].age(now, passed, read.BytesBehind).Seconds(),
	}
	out.LastGrowth = read.LastGrowth.Round(0)
	return out
}

func (b *Board) frameLog(now time.Time) FrameLog {
	out := FrameLog{
		ID: b.sources.LogID, Stats: b.sources.FrameLog(), DiskSize: b.disk.used(now, b.sources.LogDir),
	}
	if err := b.sources.Blocked(); err != nil {
		out.Blocked = err.Error()
	}
	return out
}

func worker(w supervisor.Worker) Worker {
	out := Worker{
		Number: w.Number, PID: w.PID, State: string(w.State), Since: w.Since.Round(0), Clients: w.Clients,
		Blocked: w.Stats.Blocked, SentBytes: int64(w.Stats.SentBytes), Sends: int64(w.Stats.Sends),
	}
	if w.Stats.MinCursor != 0 {
		out.Lag = int64(w.Stats.Head - w.Stats.MinCursor)
	}
	return out
}

func clients(s supervisor.Snapshot) Clients {
	out := Clients{
		Connected: s.Clients, Waiting: s.Waiting, HandedOver: int64(s.Handoffs),
		Disconnects: counts(s.Disconnects), Refused: counts(s.Refusals),
		SentBytes: int64(s.Sent.SentBytes), Sends: int64(s.Sent.Sends), Pings: int64(s.Sent.Pings),
		Slowest: []Client{}, Lags: histogram(handoff.LagBounds, s.Sent.Lag),
	}
	for _, w := range s.Workers {
		for _, c := range w.Stats.Slowest {
			out.Slowest = append(out.Slowest, Client{
				Key: c.Key, Worker: w.Number, Lag: int64(w.Stats.Head - c.Cursor), Seconds: c.Seconds,
				Blocked: c.Blocked,
			})
		}
	}
	slices.SortStableFunc(out.Slowest, func(a, b Client) int { return cmp.Compare(b.Lag, a.Lag) })
	out.Slowest = slices.Clip(out.Slowest[:min(len(out.Slowest), handoff.MaxSlowest)])
	return out
}

func compression(d deflate.Stats, w supervisor.Snapshot) Compression {
	return Compression{
		Clients: w.Deflate, Stats: d, Ends: counts(d.Ends),
		SentBytes: int64(w.Sent.CompressedBytes), PlainBytes: int64(w.Sent.PlainBytes),
	}
}

func histogram(bounds handoff.Bounds, h handoff.Histogram) Histogram {
	out := Histogram{Bounds: bounds[:], Counts: make([]int64, len(h.Counts)), Sum: h.Sum}
	var sum int64
	for i, n := range h.Counts {
		sum += int64(n)
		out.Counts[i] = sum
	}
	return out
}

func counts[K ~string](in map[K]uint64) Counts {
	out := make(Counts, len(in))
	for label, n := range in {
		out[string(label)] = int64(n)
	}
	return out
}

// nonNil makes an empty list [] in JSON instead of null.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
