package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// scenario is one kind of measurement.
type scenario struct {
	name, about string
	onDemand    bool // a quick run includes it only if it is named
	run         func(ctx context.Context, b *bench, name string, size size) error
	full, quick size
}

// size has the quantities of a scenario. Each scenario uses some of them.
type size struct {
	rounds, clients, records int

	total   uint64 // bytes to all clients together
	peers   uint64 // the same for each peer, which needs more time; 0: no peers are measured
	history uint64 // bytes that were sent before
	others  int    // clients that stall

	rate           float64 // records a second
	warm, measured time.Duration
}

// Times of the steady rates, full and quick.
const (
	warm, measured           = 1500 * time.Millisecond, 4 * time.Second
	warmQuick, measuredQuick = 300 * time.Millisecond, 1500 * time.Millisecond
	// probed is a warm-up for clients that have just stopped reading. The kernel probes their windows
	// all at the same time, after 0.2, 0.4, 0.8 s and so on. After the warm-up there is less than one
	// probe in a measurement.
	probed = 8 * time.Second
)

// steady is a steady rate to some clients. With peers 1 it is for peers too.
func steady(clients int, rate float64, peers uint64) (full, quick size) {
	full = size{clients: clients, rate: rate, peers: peers, rounds: 3, warm: warm, measured: measured}
	quick = full
	quick.rounds, quick.peers, quick.warm, quick.measured = 1, 0, warmQuick, measuredQuick
	return full, quick
}

var scenarios = makeScenarios()

func makeScenarios() []scenario {
	stall, stallQuick := steady(900, 50, 0)
	stall.warm, stall.measured = probed, 2*measured
	stall.others, stall.history, stallQuick.others, stallQuick.history = 100, 16e6, 100, 16e6

	return []scenario{
		{"encode", "records of data logs to signed frames in the frame log, without clients",
			false, encode, size{records: 150_000, rounds: 5}, size{records: 20_000, rounds: 1}},
		fanoutOf(1, size{rounds: 5, total: 1e9}, size{rounds: 1, total: 200e6}),
		fanoutOf(100, size{rounds: 5, total: 20e9, peers: 2e9},
			size{rounds: 1, total: 2e9, peers: 250e6}),
		fanoutOf(1000, size{rounds: 5, total: 20e9, peers: 2e9},
			size{rounds: 1, total: 2e9, peers: 250e6}),
		fanoutOf(5000, size{rounds: 2, total: 20e9}, size{rounds: 1, total: 4e9}).starred(),
		latencyOf(100, 500, 0),
		latencyOf(1000, 50, 1),
		latencyOf(5000, 10, 1).starred(),
		{"stalled", "50 records a second to 900 clients, alone and beside 100 that never read: " +
			"latency, memory", false, stalled, stall, stallQuick},
		{"storm", "signed upgrades a second: clients that leave, and that stay",
			false, storm, size{clients: 10_000, rounds: 3}, size{clients: 2000, rounds: 1}},
		{"memory", "memory of worker and primary for an idle client", false, memory,
			size{clients: 5000, rounds: 3}, size{clients: 1000, rounds: 1}},
	}
}

func (s scenario) starred() scenario {
	s.onDemand = true
	return s
}

func fanoutOf(clients int, full, quick size) scenario {
	full.clients, quick.clients = clients, clients
	about := fmt.Sprintf("as fast as it goes to %d clients: live, replay, raw write%s",
		clients, either(full.peers > 0, ", peers", ""))
	return scenario{fmt.Sprintf("fanout-%d", clients), about, false, fanout, full, quick}
}

func latencyOf(clients int, rate float64, peers uint64) scenario {
	full, quick := steady(clients, rate, peers)
	full.measured = either(clients == 5000, 7*time.Second, measured)
	about := fmt.Sprintf("%g records a second to %d clients: time from append to receipt, and CPU "+
		"beside raw write%s", rate, clients, either(peers > 0, " and peers", ""))
	return scenario{fmt.Sprintf("latency-%d", clients), about, false, latency, full, quick}
}

func either[T any](cond bool, yes, no T) T {
	if cond {
		return yes
	}
	return no
}

func (s scenario) title() string {
	return fmt.Sprintf("%-15s%s %s", s.name, either(s.onDemand, "*", " "), s.about)
}

// choose returns the scenarios with these names; without names, the default ones.
func choose(names []string, quick bool) (chosen []scenario, err error) {
	var all []string
	for _, s := range scenarios {
		all = append(all, s.name)
		if slices.Contains(names, s.name) || len(names) == 0 && !(s.onDemand && quick) {
			chosen = append(chosen, s)
		}
	}
	if len(names) > len(chosen) {
		return nil, fmt.Errorf("not a scenario among %s; there are %s",
			strings.Join(names, ", "), strings.Join(all, ", "))
	}
	return chosen, nil
}
