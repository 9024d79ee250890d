package main

import (
	"fmt"
	"io"
)

// target is what a figure has to be. Targets are ratios where they can be, so
// that they hold on any machine; the others are for one like that of README.md.
type target struct {
	scenario, figure string
	least            bool // the bound is a lower one
	bound            float64
}

func atMost(bound float64, figure string, scenarios ...string) (ts []target) {
	for _, s := range scenarios {
		ts = append(ts, target{s, figure, false, bound})
	}
	return ts
}

func atLeast(bound float64, figure string, scenarios ...string) (ts []target) {
	ts = atMost(bound, figure, scenarios...)
	for i := range ts {
		ts[i].least = true
	}
	return ts
}

var targets = [][]target{
	atMost(1/0.90, "live, worker : raw, CPU", "fanout-100", "fanout-1000"),
	atMost(1/0.60, "live, primary + worker : raw, CPU", "fanout-100"),
	atMost(1/0.88, "live, primary + worker : raw, CPU", "fanout-1000"),
	atLeast(5, "gorilla : live worker, CPU", "fanout-100"),
	atLeast(5, "gws : live worker, CPU", "fanout-100"),
	atLeast(8, "gorilla : live worker, CPU", "fanout-1000"),
	atLeast(8, "gws : live worker, CPU", "fanout-1000"),
	atLeast(9, "npm ws : live worker, CPU", "fanout-100", "fanout-1000"),
	atMost(1, "append to receipt, p50", "latency-100"),
	atMost(5, "append to receipt, p99", "latency-100"),
	atMost(1.20, "worker : raw, CPU", "latency-1000", "latency-5000"),
	atMost(1, "worker : best Go peer, CPU", "latency-1000", "latency-5000"),
	atMost(0.9, "append to receipt, p99 : best Go peer's", "latency-1000", "latency-5000"),
	atMost(0.42, "bytes, compressed : plain", "compressed-100", "compressed-1000"),
	atMost(0.75, "worker : raw, CPU", "linger-1000"),
	atLeast(0.95, "live throughput, with : without", "stalled"),
	atMost(4, "worker's private memory, a stalled client", "stalled"), // no more than an idle one
	atMost(1.5, "append to receipt, p99, beside : without", "replay-beside"),
	atLeast(40_000, "one core, per CPU second of the primary", "encode"),
	atLeast(1.8, "two cores : one core, records/s", "encode"),
	atLeast(5000, "leaving, all cores", "storm"),
	atLeast(5000, "staying, all cores", "storm"),
	atMost(4, "worker and primary, an idle client", "memory"),
	atMost(20, "worker without clients, resident", "memory"),
	atLeast(5000, "/receipt, 1, rows", "api"),
}

func (t target) met(median float64) bool {
	if t.least {
		return median >= t.bound
	}
	return median <= t.bound
}

// verdicts says for each target of a figure that was measured whether its
// median meets it.
func (r *report) verdicts() (lines [][]string) {
	for _, ts := range targets {
		for _, t := range ts {
			f, ok := r.find(t.scenario, t.figure)
			if !ok {
				continue
			}
			bound := either(t.least, "≥ ", "≤ ") + digits(t.bound)
			lines = append(lines, []string{t.scenario, t.figure, bound, f.short(), f.Unit, either(t.met(f.Median), "met", "MISSED")})
		}
	}
	return lines
}

func (r *report) targetTable(w io.Writer) {
	lines := r.verdicts()
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "targets\n")
	for _, l := range lines {
		fmt.Fprintf(w, "  %-7s %-14s %-42s %9s: %s %s\n", l[5], l[0], l[1], l[2], l[3], l[4])
	}
	fmt.Fprintln(w)
}

// find returns the figure of that name.
func (r *report) find(scenario, name string) (figure, bool) {
	for _, f := range r.figures {
		if f.Scenario == scenario && f.Name == name {
			return f, true
		}
	}
	return figure{}, false
}

// short is median and range.
func (f figure) short() string {
	if f.Rounds < 2 {
		return digits(f.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", digits(f.Median), digits(f.Min), digits(f.Max))
}
