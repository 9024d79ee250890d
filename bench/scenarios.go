package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// scenario is one thing to measure. Peers to compare with are to come as
// further senders of a scenario, programs in a module of their own.
type scenario struct {
	name, about string
	onDemand    bool // only when it is named
	run         func(ctx context.Context, b *bench, name string, quick bool) error
}

var scenarios = []scenario{
	encodeScenario("encode", encodeSize{records: 150_000, rounds: 5}, encodeSize{records: 40_000, rounds: 2}),
	fanoutScenario(100, fanoutSize{rounds: 5, total: 20e9}, fanoutSize{rounds: 2, total: 4e9}),
	fanoutScenario(1000, fanoutSize{rounds: 5, total: 20e9}, fanoutSize{rounds: 2, total: 4e9}),
	onDemand(fanoutScenario(5000, fanoutSize{rounds: 3, total: 20e9}, fanoutSize{rounds: 1, total: 4e9})),
	latencyScenario(100, 500, latencySize{rounds: 3, warm: 1500 * time.Millisecond, measured: 8 * time.Second}, latencySize{rounds: 1, warm: 500 * time.Millisecond, measured: 3 * time.Second}),
	latencyScenario(1000, 50, latencySize{rounds: 3, warm: 1500 * time.Millisecond, measured: 8 * time.Second}, latencySize{rounds: 1, warm: 500 * time.Millisecond, measured: 3 * time.Second}),
	onDemand(latencyScenario(5000, 10, latencySize{rounds: 3, warm: 1500 * time.Millisecond, measured: 8 * time.Second}, latencySize{rounds: 1, warm: 500 * time.Millisecond, measured: 3 * time.Second})),
	apiScenario(apiSize{records: 28_600, rounds: 3, warm: 200 * time.Millisecond, measured: 1500 * time.Millisecond}, apiSize{records: 6000, rounds: 1, warm: 50 * time.Millisecond, measured: 250 * time.Millisecond}),
	besideScenario(100, 200,
		besideSize{records: 10_000, latencySize: latencySize{rounds: 3, warm: 1500 * time.Millisecond, measured: 8 * time.Second}},
		besideSize{records: 6000, latencySize: latencySize{rounds: 1, warm: 300 * time.Millisecond, measured: 1500 * time.Millisecond}}),
}

func apiScenario(full, quick apiSize) scenario {
	return scenario{name: "api", about: "the HTTP API: requests a second, times and CPU, at 1 and 16 connections", run: func(ctx context.Context, b *bench, name string, short bool) error {
		return api(ctx, b, name, either(short, quick, full))
	}}
}

func besideScenario(clients int, rate float64, full, quick besideSize) scenario {
	full.clients, quick.clients = clients, clients
	full.rate, quick.rate = rate, rate
	return scenario{
		name: "api-beside", about: fmt.Sprintf("%g records a second to %d clients, alone and beside HTTP API and database writer at full speed", rate, clients),
		run: func(ctx context.Context, b *bench, name string, short bool) error {
			return beside(ctx, b, name, either(short, quick, full))
		},
	}
}

func encodeScenario(name string, full, quick encodeSize) scenario {
	return scenario{name: name, about: "records of data logs to signed frames in the frame log, without clients", run: func(ctx context.Context, b *bench, name string, short bool) error {
		return encode(ctx, b, name, either(short, quick, full))
	}}
}

func fanoutScenario(clients int, full, quick fanoutSize) scenario {
	full.clients, quick.clients = clients, clients
	return scenario{
		name: fmt.Sprintf("fanout-%d", clients), about: fmt.Sprintf("as fast as it goes to %d clients: live, replay, raw write", clients),
		run: func(ctx context.Context, b *bench, name string, short bool) error {
			return fanout(ctx, b, name, either(short, quick, full))
		},
	}
}

func latencyScenario(clients int, rate float64, full, quick latencySize) scenario {
	full.clients, quick.clients = clients, clients
	full.rate, quick.rate = rate, rate
	return scenario{
		name: fmt.Sprintf("latency-%d", clients), about: fmt.Sprintf("%g records a second to %d clients: time from append to receipt, and CPU beside raw write", rate, clients),
		run: func(ctx context.Context, b *bench, name string, short bool) error {
			return latency(ctx, b, name, either(short, quick, full))
		},
	}
}

func onDemand(s scenario) scenario {
	s.onDemand = true
	return s
}

func either[T any](cond bool, yes, no T) T {
	if cond {
		return yes
	}
	return no
}

func (s scenario) title() string {
	return fmt.Sprintf("%-13s%s %s", s.name, either(s.onDemand, "*", " "), s.about)
}

// choose returns the scenarios of these names, or those that run without being
// named.
func choose(names []string) (chosen []scenario, err error) {
	for _, s := range scenarios {
		if slices.Contains(names, s.name) || len(names) == 0 && !s.onDemand {
			chosen = append(chosen, s)
		}
	}
	if len(names) > len(chosen) && len(names) > 0 {
		var all []string
		for _, s := range scenarios {
			all = append(all, s.name)
		}
		return nil, fmt.Errorf("scenarios are %s; not all of %s are", strings.Join(all, ", "), strings.Join(names, ", "))
	}
	return chosen, nil
}
