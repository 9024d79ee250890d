package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// scenario is one thing to measure.
type scenario struct {
	name, about string
	onDemand    bool // a quick run has it only when it is named
	run         func(ctx context.Context, b *bench, name string, quick bool) error
}

// Times of the steady rates, full and quick.
const (
	warm, measured = 1500 * time.Millisecond, 4 * time.Second
	// probed is a warm-up in which the kernel has asked clients that have just
	// stopped reading for room, all of them at the same time: after 0.2, 0.4, 0.8 s
	// and so on. After that it does so less than once in a measurement.
	probed = 8 * time.Second

	warmQuick, measuredQuick = 300 * time.Millisecond, 1500 * time.Millisecond
)

var scenarios = []scenario{
	sized("encode", "records of data logs to signed frames in the frame log, without clients", encode,
		encodeSize{records: 150_000, rounds: 5}, encodeSize{records: 20_000, rounds: 1}),
	sized("encode-sizes", "the same for records of one stream at a time: by size", encodeSizes,
		encodeSize{records: 40_000, rounds: 3}, encodeSize{records: 8_000, rounds: 1}),
	fanoutScenario(1, fanoutSize{rounds: 5, total: 1e9}, fanoutSize{rounds: 1, total: 200e6}),
	fanoutScenario(100, fanoutSize{rounds: 5, total: 20e9, peers: 2e9}, fanoutSize{rounds: 1, total: 2e9, peers: 250e6}),
	fanoutScenario(1000, fanoutSize{rounds: 5, total: 20e9, peers: 2e9}, fanoutSize{rounds: 1, total: 2e9, peers: 250e6}),
	onDemandIfQuick(fanoutScenario(5000, fanoutSize{rounds: 2, total: 20e9}, fanoutSize{rounds: 1, total: 4e9})),
	latencyScenario(100, 500, latencySize{rounds: 3}, latencySize{rounds: 1}),
	latencyScenario(1000, 50, latencySize{rounds: 3, peers: true}, latencySize{rounds: 1}),
	onDemandIfQuick(latencyScenario(5000, 10, latencySize{rounds: 3, peers: true, measured: 7 * time.Second}, latencySize{rounds: 1})),
	onDemandIfQuick(compressionScenario(100, 50, latencySize{rounds: 3}, latencySize{rounds: 1})),
	onDemandIfQuick(compressionScenario(1000, 5, latencySize{rounds: 3}, latencySize{rounds: 1})),
	sized("linger-1000", "50 records a second to 1000 clients with LINGER_MS 50, without, raw write: CPU, and time from append to receipt", linger,
		roundsOf(3, paceOf(1000, 50, warm, measured)), roundsOf(1, paceOf(1000, 50, warmQuick, measuredQuick))),
	onDemandIfQuick(sized("sendfile", "raw: write from a mapping and sendfile, to 1, 100 and 1000 clients, and a record at a time", sendfile,
		sendfileSize{[]fanoutSize{{clients: 1, total: 500e6}, {clients: 100, total: 5e9}, {clients: 1000, total: 5e9}}, roundsOf(3, paceOf(1000, 50, warm, measured))},
		sendfileSize{[]fanoutSize{{clients: 1, total: 200e6}, {clients: 100, total: 2e9}, {clients: 1000, total: 2e9}}, roundsOf(1, paceOf(1000, 50, warmQuick, measuredQuick))})),
	sized("stalled", "900 clients that read, alone and beside 100 that never do: throughput, latency, memory", stalled,
		stalledSize{fanoutSize: fanoutSize{clients: 900, rounds: 3, total: 15e9}, stalled: 100, history: 16e6, pace: paceOf(900, 50, probed, 2*measured)},
		stalledSize{fanoutSize: fanoutSize{clients: 900, rounds: 1, total: 2e9}, stalled: 100, history: 16e6, pace: paceOf(900, 50, warmQuick, measuredQuick)}),
	sized("replay-beside", "900 live clients at 50 records a second, alone and beside 100 that reconnect and replay", replayBeside,
		replaySize{latencySize: latencySize{clients: 900, rate: 50, rounds: 3, warm: warm, measured: measured}, fleet: 100, history: 100e6},
		replaySize{latencySize: latencySize{clients: 900, rate: 50, rounds: 1, warm: warmQuick, measured: measuredQuick}, fleet: 100, history: 30e6}),
	sized("storm", "signed upgrades a second: clients that leave, and that stay", handshakes,
		stormSize{clients: 10_000, atOnce: 128, rounds: 3}, stormSize{clients: 2000, atOnce: 128, rounds: 1}),
	sized("memory", "memory of worker and primary for an idle and for an active client", memory,
		memorySize{clients: 5000, rounds: 3, rate: 20, active: 3 * time.Second}, memorySize{clients: 1000, rounds: 1, rate: 20, active: time.Second}),
	sized("workers", "as fast as it goes to 1000 clients, by one worker and by two", workers,
		fanoutSize{clients: 1000, rounds: 5, total: 20e9}, fanoutSize{clients: 1000, rounds: 1, total: 2e9}),
	sized("api", "the HTTP API: requests a second, times and CPU, at 1 and 16 connections", api,
		apiSize{records: 28_600, rounds: 3, warm: 200 * time.Millisecond, measured: 1500 * time.Millisecond}, apiSize{records: 6000, rounds: 1, warm: 50 * time.Millisecond, measured: 200 * time.Millisecond}),
	sized("api-beside", "200 records a second to 100 clients, alone and beside HTTP API and database writer at full speed", beside,
		besideSize{records: 10_000, latencySize: latencySize{clients: 100, rate: 200, rounds: 3, warm: warm, measured: measured}},
		besideSize{records: 6000, latencySize: latencySize{clients: 100, rate: 200, rounds: 1, warm: warmQuick, measured: measuredQuick}}),
}

// sized is a scenario with a size for a full and one for a quick run.
func sized[Size any](name, about string, run func(context.Context, *bench, string, Size) error, full, quick Size) scenario {
	return scenario{name: name, about: about, run: func(ctx context.Context, b *bench, name string, short bool) error {
		return run(ctx, b, name, either(short, quick, full))
	}}
}

func fanoutScenario(clients int, full, quick fanoutSize) scenario {
	full.clients, quick.clients = clients, clients
	return sized(fmt.Sprintf("fanout-%d", clients), fmt.Sprintf("as fast as it goes to %d clients: live, replay, raw write%s", clients, either(full.peers > 0, ", peers", "")),
		fanout, full, quick)
}

func latencyScenario(clients int, rate float64, full, quick latencySize) scenario {
	f, q := paceOf(clients, rate, warm, cmp.Or(full.measured, measured)), paceOf(clients, rate, warmQuick, measuredQuick)
	f.rounds, f.peers, q.rounds, q.peers = full.rounds, full.peers, quick.rounds, quick.peers
	return sized(fmt.Sprintf("latency-%d", clients), fmt.Sprintf("%g records a second to %d clients: time from append to receipt, and CPU beside raw write%s", rate, clients, either(full.peers, " and peers", "")),
		latency, f, q)
}

func compressionScenario(clients int, rate float64, full, quick latencySize) scenario {
	f, q := paceOf(clients, rate, warm, measured), paceOf(clients, rate, warmQuick, measuredQuick)
	f.rounds, f.peers, q.rounds, q.peers = full.rounds, true, quick.rounds, true
	return sized(fmt.Sprintf("compressed-%d", clients), fmt.Sprintf("%g records a second to %d clients, plain and with permessage-deflate: bytes, and CPU beside peers' compression", rate, clients),
		compression, f, q)
}

func paceOf(clients int, rate float64, warm, measured time.Duration) latencySize {
	return latencySize{clients: clients, rate: rate, warm: warm, measured: measured}
}

func roundsOf(n int, s latencySize) latencySize {
	s.rounds = n
	return s
}

func onDemandIfQuick(s scenario) scenario {
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
	return fmt.Sprintf("%-15s%s %s", s.name, either(s.onDemand, "*", " "), s.about)
}

// choose returns the scenarios of these names, or those that run without being
// named.
func choose(names []string, quick bool) (chosen []scenario, err error) {
	for _, s := range scenarios {
		if slices.Contains(names, s.name) || len(names) == 0 && !(s.onDemand && quick) {
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
