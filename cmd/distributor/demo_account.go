package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"distributor/engine/simulator"
	"distributor/wsproto/collector"
)

// account compares every record that was written with the records that were received.
type account struct {
	out   io.Writer
	live  bool // out is a terminal: each table overwrites the last one
	start time.Time

	mu      sync.Mutex
	onWay   map[uint64]time.Time // by hash of the record: the time of its append
	early   map[uint64]arrival   // received before written reported them
	streams [len(simulator.Streams)]streamAccount
	drawn   bool
}

// arrival is a received record.
type arrival struct {
	stream string
	at     time.Time
}

// streamAccount holds counts since the start. The counts in last are those of the last printed
// table.
type streamAccount struct {
	written, received, verified, bytes int64
	latencies                          []time.Duration // since the last table
	all                                []time.Duration // since the start, at most maxLatencies
	last                               struct{ written, received int64 }
}

// maxLatencies bounds the memory of a long demonstration.
const maxLatencies = 1 << 20

func newAccount(out io.Writer) *account {
	a := &account{out: out, start: time.Now(), onWay: make(map[uint64]time.Time),
		early: make(map[uint64]arrival)}
	if f, ok := out.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		a.live = err == nil
	}
	return a
}

// written records that a line was appended to its data log.
func (a *account) written(stream string, line []byte, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stream(stream).written++
	h := xxhash.Sum64(line)
	if early, ok := a.early[h]; ok {
		delete(a.early, h)
		a.stream(early.stream).took(early.at.Sub(at))
		return
	}
	a.onWay[h] = at
}

// received records a verified message.
func (a *account) received(m collector.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stream(m.Stream)
	s.received++
	s.bytes += int64(len(m.Text))
	if m.Verified {
		s.verified++
	}
	h := xxhash.Sum64(m.Record)
	if at, ok := a.onWay[h]; ok {
		delete(a.onWay, h)
		s.took(m.Received.Sub(at))
		return
	}
	a.early[h] = arrival{m.Stream, m.Received}
}

func (a *account) stream(name string) *streamAccount {
	return &a.streams[slices.Index(simulator.Streams[:], name)]
}

func (s *streamAccount) took(latency time.Duration) {
	latency = max(0, latency)
	s.latencies = append(s.latencies, latency)
	if len(s.all) < maxLatencies {
		s.all = append(s.all, latency)
	}
}

// open returns how many written records were not received, and how many received records were not
// written or came twice.
func (a *account) open() (missing, extra int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.onWay), len(a.early)
}

// show prints a table every second until ctx ends.
func (a *account) show(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			a.line()
		}
	}
}

const accountHeader = "%-12s %10s %10s %10s %10s %9s %20s\n"

func (a *account) header() {
	fmt.Fprintf(a.out, accountHeader, "stream", "written/s", "received/s", "verified", "MB",
		"on way", "latency p50 / p99")
}

// line prints the table of the last second.
func (a *account) line() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live && a.drawn {
		fmt.Fprintf(a.out, "\x1b[%dA\x1b[J", len(a.streams)+2)
	}
	a.drawn = true
	fmt.Fprintf(a.out, "after %v\n", time.Since(a.start).Round(time.Second))
	a.header()
	for i := range a.streams {
		s := &a.streams[i]
		fmt.Fprintf(a.out, accountHeader, simulator.Streams[i], fmt.Sprint(s.written-s.last.written),
			fmt.Sprint(s.received-s.last.received),
			fmt.Sprint(s.verified), fmt.Sprintf("%.1f", float64(s.bytes)/1e6),
			fmt.Sprint(s.written-s.received), latency(s.latencies))
		s.last.written, s.last.received, s.latencies = s.written, s.received, s.latencies[:0]
	}
}

// total prints the table of the whole run.
func (a *account) total() {
	a.mu.Lock()
	defer a.mu.Unlock()
	took := time.Since(a.start)
	fmt.Fprintf(a.out, "\nin all, %v:\n", took.Round(time.Second))
	fmt.Fprintf(a.out, accountHeader, "stream", "written", "received", "verified", "MB", "missing",
		"latency p50 / p99")
	var written, received int64
	for i := range a.streams {
		s := &a.streams[i]
		written, received = written+s.written, received+s.received
		fmt.Fprintf(a.out, accountHeader, simulator.Streams[i], fmt.Sprint(s.written),
			fmt.Sprint(s.received), fmt.Sprint(s.verified),
			fmt.Sprintf("%.1f", float64(s.bytes)/1e6), fmt.Sprint(s.written-s.received), latency(s.all))
	}
	fmt.Fprintf(a.out, "%d records written, %d received, each verified once, %.0f records/s\n",
		written, received, float64(received)/took.Seconds())
}

// latency formats the percentiles of d, which it sorts.
func latency(d []time.Duration) string {
	if len(d) == 0 {
		return "-"
	}
	slices.Sort(d)
	round := func(q float64) time.Duration {
		return d[int(q*float64(len(d)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%v / %v", round(0.5), round(0.99))
}
