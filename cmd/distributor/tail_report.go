package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/collector"
)

// streamNames are in the order in which they are printed.
var streamNames = []string{"cycle", "originalTx", "receipt"}

// counts holds totals of what was received.
type counts struct {
	records  map[string]uint64 // by stream
	all      uint64
	verified uint64
	bytes    uint64 // of messages
	gaps     uint64 // reported by the server
}

// A tally adds up what was received. One goroutine adds; another one reports.
type tally struct {
	mu       sync.Mutex // guards all below
	now      counts
	position wsproto.Position
	known    bool // position is set
}

func (t *tally) add(m collector.Message, position wsproto.Position, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now.records == nil {
		t.now.records = map[string]uint64{}
	}
	t.now.records[m.Stream]++
	t.now.all++
	t.now.bytes += uint64(len(m.Text))
	if m.Verified {
		t.now.verified++
	}
	if known {
		t.position, t.known = position, known
	}
}

func (t *tally) gap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.gaps++
}

func (t *tally) total() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now.all
}

// snapshot returns a copy of the counts. where is empty while no position is known.
func (t *tally) snapshot() (now counts, where string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now = t.now
	now.records = map[string]uint64{}
	for stream, n := range t.now.records {
		now.records[stream] = n
	}
	if t.known {
		where = t.position.String()
	}
	return now, where
}

// whole returns the line that is printed at the end.
func (t *tally) whole() string {
	now, where := t.snapshot()
	var parts []string
	for _, s := range streamNames {
		parts = append(parts, fmt.Sprintf("%s %d", s, now.records[s]))
	}
	line := fmt.Sprintf("%d records (%s), %d verified, %.1f MB", now.all, strings.Join(parts, ", "),
		now.verified, float64(now.bytes)/1e6)
	if now.gaps > 0 {
		line += fmt.Sprintf(", gaps reported by the server: %d, where records may be missing", now.gaps)
	}
	if where != "" {
		line += ", continue with --from " + where
	}
	return line
}

// since returns the line that is printed every second.
func (t *tally) since(before counts, elapsed time.Duration) (line string, now counts) {
	now, where := t.snapshot()
	rate := func(n uint64) float64 { return float64(n) / elapsed.Seconds() }
	var parts []string
	for _, s := range streamNames {
		parts = append(parts, fmt.Sprintf("%s %.0f", s, rate(now.records[s]-before.records[s])))
	}
	line = fmt.Sprintf("%.0f records/s (%s), %.1f MB/s, %d of %d verified, %.1f MB",
		rate(now.all-before.all), strings.Join(parts, ", "),
		rate(now.bytes-before.bytes)/1e6, now.verified, now.all, float64(now.bytes)/1e6)
	if where != "" {
		line += ", at " + where
	}
	return line, now
}

// report prints one line per second if the options ask for it, until stop is called.
func (t *tail) report() (stop func()) {
	var out io.Writer
	switch {
	case t.format == formatSummary:
		out = t.stdout
	case t.summary:
		out = t.stderr
	default:
		return func() {}
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticks := time.NewTicker(time.Second)
		defer ticks.Stop()
		var before counts
		last := time.Now()
		for {
			select {
			case <-done:
				return
			case now := <-ticks.C:
				var line string
				line, before = t.seen.since(before, now.Sub(last))
				last = now
				fmt.Fprintln(out, line)
			}
		}
	})
	return func() { close(done); running.Wait() }
}
