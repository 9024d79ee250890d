package enginetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Tally has the sums of many trials. It is safe for concurrent use.
type Tally struct {
	written     atomic.Int64 // records
	delivered   atomic.Int64 // messages, to all witnesses together
	compressed  atomic.Int64 // compressed messages among delivered
	repeated    atomic.Int64 // repeated messages among delivered, as the promise allows
	missed      atomic.Int64 // records between two connections of a witness, as the promise allows
	lost        atomic.Int64 // failed trials
	connections atomic.Int64
	unwritten   atomic.Int64 // bytes of the frame log that losses of power removed
	restored    atomic.Int64 // how often data logs were restored from an older copy
	gone        atomic.Int64 // refusals of positions below the floor

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

// String returns the sums in one line.
func (t *Tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	faults := 0
	for _, n := range t.faults {
		faults += n
	}
	return fmt.Sprintf("%d scenarios, %d faults; "+
		"records: %d written, %d delivered (%d compressed) over %d connections, "+
		"%d repeated as allowed, %d missed as allowed; "+
		"%d KiB of frames lost in losses of power, and read again; "+
		"data logs restored from an older copy %d times; %d scenarios failed",
		t.trials, faults, t.written.Load(), t.delivered.Load(), t.compressed.Load(),
		t.connections.Load(), t.repeated.Load(), t.missed.Load(), t.unwritten.Load()>>10,
		t.restored.Load(), t.lost.Load())
}

// Faults returns a line for each action with how often it ran.
func (t *Tally) Faults() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t.faults)) {
		fmt.Fprintf(&b, "%6d  %s\n", t.faults[name], name)
	}
	return b.String()
}
