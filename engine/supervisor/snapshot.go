package supervisor

import (
	"context"
	"errors"
	"maps"
	"time"

	"distributor/engine/handoff"
	"distributor/engine/ipc"
	"distributor/wsproto"
)

// Refusal is why a Connect failed: a metric label and log key.
type Refusal string

// The reasons why a Connect fails.
const (
	RefusedFull     Refusal = "full"      // ErrFull
	RefusedStopping Refusal = "stopping"  // ErrStopping
	RefusedClosed   Refusal = "closed"    // ErrClosed
	RefusedLate     Refusal = "no_worker" // ErrNoWorker: none was ready within the context
	RefusedGone     Refusal = "gave_up"   // the context was cancelled
	RefusedHandoff  Refusal = "handoff"   // the socket or its data could not be passed
)

// Unknown stands for disconnects whose name wsproto does not know.
const Unknown = "unknown"

// Snapshot is the state of a supervisor at one time. Counters are since New.
type Snapshot struct {
	Workers []Worker // by number
	Clients int      // handed over, or about to be
	Waiting int      // Connects that wait for a worker
	Deflate int      // clients that negotiated permessage-deflate, waiting ones included
	Limits  Limits
	Backoff ipc.Backoff // of starts of workers

	Handoffs    uint64             // clients that were given to a worker
	Refusals    map[Refusal]uint64 // failed Connects
	Disconnects map[string]uint64  // ended connections, by Name of wsproto.Disconnect or Unknown
	Spawns      uint64             // starts of processes, failed ones included
	Ended       uint64             // workers that ended as asked: retired or stopped
	Failures    map[Failure]uint64 // workers that failed
	// Sent adds up all workers, ended ones included. It lacks what a worker that failed sent
	// after its last report.
	Sent handoff.Counters
}

// States are all states of a Worker.
var States = []State{starting, ready, draining, gone}

// Worker is the state of one worker process.
type Worker struct {
	Number  int
	PID     int // 0: not started yet
	State   State
	Since   time.Time // of the state
	Clients int
	Closing int           // of Clients, those that were told to close
	Queue   int           // messages not yet written to its channel
	Stats   handoff.Stats // its last report
}

// Ready returns how many workers take clients, if they have free slots. If there are none for
// longer than a start takes, and some are wanted, starts fail: see Backoff.
func (s Snapshot) Ready() (n int) {
	for _, w := range s.Workers {
		if w.State == ready {
			n++
		}
	}
	return n
}

// Snapshot returns the state now.
func (s *Supervisor) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backoff.Forget(time.Now())
	snap := Snapshot{
		Workers: make([]Worker, 0, len(s.workers)), Waiting: s.waiting.Len(), Deflate: s.deflate,
		Limits: s.limits, Backoff: s.backoff,
		Handoffs: s.counts.handoffs, Refusals: maps.Clone(s.counts.refusals),
		Disconnects: maps.Clone(s.counts.disconnects),
		Spawns:      s.counts.spawns, Ended: s.counts.ended,
		Failures: maps.Clone(s.counts.failures), Sent: s.counts.past,
	}
	for _, w := range s.workers {
		info := Worker{
			Number: w.number, State: w.state, Since: w.since, Stats: w.stats,
			Clients: len(w.clients), Closing: w.closing, Queue: len(w.queue),
		}
		if w.process != nil {
			info.PID = w.process.cmd.Process.Pid
		}
		snap.Workers = append(snap.Workers, info)
		snap.Clients += len(w.clients)
		snap.Sent.Add(w.stats.Counters)
	}
	return snap
}

// counts are the counters of Snapshot, guarded by Supervisor.mu.
type counts struct {
	handoffs, spawns, ended uint64
	refusals                map[Refusal]uint64
	disconnects             map[string]uint64
	failures                map[Failure]uint64
	past                    handoff.Counters // of workers that have ended
}

// newCounts returns counts with every label, so that metrics have each from the start.
func newCounts() counts {
	c := counts{
		refusals: make(map[Refusal]uint64), disconnects: map[string]uint64{Unknown: 0},
		failures: make(map[Failure]uint64),
	}
	refusals := []Refusal{
		RefusedFull, RefusedStopping, RefusedClosed, RefusedLate, RefusedGone, RefusedHandoff,
	}
	for _, r := range refusals {
		c.refusals[r] = 0
	}
	for _, d := range wsproto.Disconnects {
		c.disconnects[d.Name] = 0
	}
	for _, f := range failures {
		c.failures[f] = 0
	}
	return c
}

func (c *counts) disconnect(name string) {
	if _, ok := c.disconnects[name]; !ok {
		name = Unknown
	}
	c.disconnects[name]++
}

func (c *counts) refuse(err error) {
	r := RefusedHandoff
	switch {
	case errors.Is(err, ErrFull):
		r = RefusedFull
	case errors.Is(err, ErrStopping):
		r = RefusedStopping
	case errors.Is(err, ErrClosed):
		r = RefusedClosed
	case errors.Is(err, context.Canceled):
		r = RefusedGone
	case errors.Is(err, ErrNoWorker):
		r = RefusedLate
	}
	c.refusals[r]++
}
