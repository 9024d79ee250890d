package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// FleetOptions describe the collectors of a Fleet.
type FleetOptions struct {
	URL  string
	Size int   // number of collectors, each with a key of its own
	Book *Book // the expected messages from the oldest frame on

	// Forgetful collectors send no position, as unmodified ones do. They begin live, and resume from
	// the position that the distributor has saved. Messages may be repeated, but must be in order
	// and complete.
	Forgetful bool
	// Compress is how many collectors, the last ones, offer permessage-deflate.
	Compress int
}

// Fleet is a number of collectors. They begin at the oldest frame, check every message against the
// book, and reconnect from their own last position whenever they are cut. The first collector also
// verifies every signature. Methods may be called from any goroutine, except where they fail the
// test.
type Fleet struct {
	t       testing.TB
	members []*member
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// dialAtOnce is how many collectors of a fleet dial at a time. A thousand at once would overflow
// the listener's backlog.
const dialAtOnce = 64

// NewFleet connects all collectors. Stop, or the end of the test, disconnects them.
func NewFleet(t testing.TB, o FleetOptions) *Fleet {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &Fleet{t: t, cancel: cancel}
	t.Cleanup(f.Stop)
	floor, _ := Bounds(t, o.URL)
	turn := make(chan struct{}, dialAtOnce)
	for i := range o.Size {
		m := &member{
			options: o, from: floor, key: newKey(t), verifyAll: i == 0,
			compress: i >= o.Size-o.Compress, turn: turn, reading: Reading{book: o.Book},
		}
		f.members = append(f.members, m)
		f.running.Go(func() { m.run(ctx) })
	}
	Until(t, "every collector is connected", func() bool {
		connected := f.count(func(m *member) bool { return m.connections.Load() > 0 })
		return connected == o.Size || f.fault() != nil
	}, f.String)
	f.check()
	return f
}

// WaitTotal waits until every collector has n messages.
func (f *Fleet) WaitTotal(n int) {
	f.t.Helper()
	all := int64(n) * int64(len(f.members))
	UntilAt(f.t, fmt.Sprintf("every collector has %d messages", n), all, func() (sum int64) {
		if f.fault() != nil {
			return all
		}
		for _, m := range f.members {
			sum += min(m.got.Load(), int64(n))
		}
		return sum
	}, f.String)
	f.check()
}

// WaitSum waits until all collectors together have n messages.
func (f *Fleet) WaitSum(n int64) {
	f.t.Helper()
	Until(f.t, fmt.Sprintf("the fleet has %d messages", n), func() bool {
		return f.Sum() >= n || f.fault() != nil
	}, f.String)
	f.check()
}

// Least returns how many messages the collector with the fewest has.
func (f *Fleet) Least() int {
	least := f.members[0].got.Load()
	for _, m := range f.members {
		least = min(least, m.got.Load())
	}
	return int(least)
}

// Sum returns how many messages all collectors together have.
func (f *Fleet) Sum() (n int64) {
	for _, m := range f.members {
		n += m.got.Load()
	}
	return n
}

// Repeats returns how many messages were repeated to forgetful collectors. It is called after Stop.
func (f *Fleet) Repeats() (n int) {
	for _, m := range f.members {
		n += m.reading.repeats
	}
	return n
}

// Cut returns how many collectors have lost a connection.
func (f *Fleet) Cut() int { return f.count(func(m *member) bool { return m.cuts.Load() > 0 }) }

// Connected returns how many collectors have a connection now.
func (f *Fleet) Connected() int {
	return f.count(func(m *member) bool { return m.connections.Load() > m.cuts.Load() })
}

// Ends returns the reasons why connections ended, with their counts.
func (f *Fleet) Ends() map[string]int {
	ends := make(map[string]int)
	for _, m := range f.members {
		m.mu.Lock()
		for _, e := range m.ends {
			ends[e]++
		}
		m.mu.Unlock()
	}
	return ends
}

// Stop ends all connections and waits for the collectors. The counts do not change afterwards.
func (f *Fleet) Stop() {
	f.cancel()
	f.running.Wait()
}

// CheckSame stops the fleet. It fails the test if a collector has not got the whole book, or if the
// order of the messages of all streams differs between collectors.
func (f *Fleet) CheckSame() {
	f.t.Helper()
	f.Stop()
	f.check()
	first := &f.members[0].reading
	for i, m := range f.members {
		if n, due := int(m.got.Load()), first.book.Total(); n != due {
			f.t.Errorf("collector %d: got %d messages, want %d", i, n, due)
		}
		if m.reading.chain != first.chain && !m.options.Forgetful {
			f.t.Errorf("collector %d: got another order of messages than the first collector", i)
		}
	}
}

func (f *Fleet) count(is func(*member) bool) (n int) {
	for _, m := range f.members {
		if is(m) {
			n++
		}
	}
	return n
}

func (f *Fleet) fault() error {
	for i, m := range f.members {
		if err := m.fault.Load(); err != nil {
			return fmt.Errorf("collector %d, after %d messages: %w", i, m.got.Load(), *err)
		}
	}
	return nil
}

func (f *Fleet) check() {
	f.t.Helper()
	if err := f.fault(); err != nil {
		f.t.Fatal(err)
	}
}

// String describes the state for a failure.
func (f *Fleet) String() string {
	got := func(a, b *member) int { return cmp.Compare(a.got.Load(), b.got.Load()) }
	least, most := slices.MinFunc(f.members, got), slices.MaxFunc(f.members, got)
	return fmt.Sprintf("%d of %d collectors connected, %d to %d messages each, %d cut, ends: %v",
		f.Connected(), len(f.members), least.got.Load(), most.got.Load(), f.Cut(), f.Ends())
}

// member is one collector of a fleet. All fields but the atomics and ends belong to the goroutine
// of run.
type member struct {
	options   FleetOptions
	from      wsproto.Position
	key       shardus.SecretKey
	verifyAll bool
	compress  bool
	turn      chan struct{} // a semaphore for dialling
	reading   Reading

	got         atomic.Int64
	connections atomic.Int64
	cuts        atomic.Int64          // connections that were lost or closed by the server
	fault       atomic.Pointer[error] // why the collector has stopped

	mu   sync.Mutex
	ends []string // the error of each cut
}

// redial is the pause before a collector that was cut or refused dials again.
const redial = 20 * time.Millisecond
