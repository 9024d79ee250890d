package enginetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Tally sums up trials.
type Tally struct {
	written     atomic.Int64 // records
	delivered   atomic.Int64 // messages, to all witnesses together
	compressed  atomic.Int64 // of them
	repeated    atomic.Int64 // of them, what the witness had already: only as the promise allows
	missed      atomic.Int64 // records between two connections of a witness that began live, as the promise allows
	lost        atomic.Int64 // trials that did not end well
	connections atomic.Int64
	unwritten   atomic.Int64 // bytes of the frame log that losses of power took
	restored    atomic.Int64 // data logs were put back from an older copy so often
	gone        atomic.Int64 // positions that were refused because the log had given them up

	mu     sync.Mutex // guards what follows
	trials int
	faults map[string]int
}

func (t *Tally) done(p *Plan, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trials++
	if failed {
		t.lost.Add(1)
	}
	if t.faults == nil {
		t.faults = make(map[string]int)
	}
	for _, s := range p.Turns {
		t.faults[s.Action]++
	}
}

// String is the sum in one line.
func (t *Tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	faults := 0
	for _, n := range t.faults {
		faults += n
	}
	return fmt.Sprintf("%d scenarios, %d faults; records: %d written, %d delivered (%d compressed) over %d connections, %d repeated as allowed, %d passed over as allowed; %d KiB of frames were not on disk when the power went, and came again; data logs put back from an older copy %d times; %d scenarios failed",
		t.trials, faults, t.written.Load(), t.delivered.Load(), t.compressed.Load(), t.connections.Load(), t.repeated.Load(), t.missed.Load(), t.unwritten.Load()>>10, t.restored.Load(), t.lost.Load())
}

// Faults lists how often each action was taken.
func (t *Tally) Faults() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t.faults)) {
		fmt.Fprintf(&b, "%6d  %s\n", t.faults[name], name)
	}
	return b.String()
}
