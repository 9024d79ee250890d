package main

import "strings"

// target is the required value of a figure in some scenarios. Most targets are ratios, so that they
// hold on any machine. The others are for a machine like that of README.md.
type target struct {
	figure    string
	least     bool // the bound is a lower one
	bound     float64
	scenarios string // names, separated by blanks
}

const atMost, atLeast = false, true

var targets = []target{
	{"live, worker : raw, CPU", atMost, 1 / 0.90, "fanout-100 fanout-1000"},
	{"live, primary + worker : raw, CPU", atMost, 1 / 0.60, "fanout-100"},
	{"live, primary + worker : raw, CPU", atMost, 1 / 0.88, "fanout-1000"},
	{"gorilla : live worker, CPU", atLeast, 5, "fanout-100"},
	{"gws : live worker, CPU", atLeast, 5, "fanout-100"},
	{"gorilla : live worker, CPU", atLeast, 8, "fanout-1000"},
	{"gws : live worker, CPU", atLeast, 8, "fanout-1000"},
	{"npm ws : live worker, CPU", atLeast, 9, "fanout-100 fanout-1000"},
	{"append to receipt, p50", atMost, 1, "latency-100"},
	{"append to receipt, p99", atMost, 5, "latency-100"},
	{"worker : raw, CPU", atMost, 1.20, "latency-1000 latency-5000"},
	{"worker : best Go peer, CPU", atMost, 1, "latency-1000 latency-5000"},
	{"append to receipt, p99 : best Go peer's", atMost, 0.9, "latency-1000 latency-5000"},
	// A stalled client costs no more than an idle one.
	{"worker's private memory, a stalled client", atMost, 4, "stalled"},
	{"one core, per CPU second of the primary", atLeast, 40_000, "encode"},
	{"two cores : one core, records/s", atLeast, 1.8, "encode"},
	{"leaving, all cores", atLeast, 5000, "storm"},
	{"staying, all cores", atLeast, 5000, "storm"},
	{"worker and primary, an idle client", atMost, 4, "memory"},
	{"worker without clients, resident", atMost, 20, "memory"},
}

func (t target) met(median float64) bool {
	return median == t.bound || median > t.bound == t.least
}

// verdict reports whether the median of a figure meets its target.
type verdict struct{ scenario, figure, limit, short, unit, met string }

// verdicts compares each measured figure that has a target with it.
func (r *report) verdicts() (all []verdict) {
	for _, t := range targets {
		for _, scenario := range strings.Fields(t.scenarios) {
			if f, ok := r.find(scenario, t.figure); ok {
				limit := either(t.least, "≥ ", "≤ ") + digits(t.bound)
				met := either(t.met(f.Median), "met", "MISSED")
				all = append(all, verdict{scenario, t.figure, limit, f.short(), f.Unit, met})
			}
		}
	}
	return all
}
