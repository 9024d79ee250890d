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

// FleetOptions say who connects where.
type FleetOptions struct {
	URL  string
	Size int   // number of collectors, each with a key of its own
	Book *Book // what is due from the oldest frame kept on

	// Forgetful collectors keep no position, as unmodified ones: they begin
	// live, go on where the distributor remembers them, and may get again what
	// they had; but in order, and nothing may be missing.
	Forgetful bool
	// Compress is how many of them offer permessage-deflate, the last ones.
	Compress int
}

// Fleet is a number of collectors that begin at the oldest frame kept, judge
// every message by the book and, whenever they are cut off, come back from their
// own last position. The first one verifies every signature too.
type Fleet struct {
	t       testing.TB
	members []*member
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// dialAtOnce is how many of a fleet connect at a time, at first: a thousand at
// the same instant would wait in the listener's backlog for one another.
const dialAtOnce = 64

// NewFleet connects all collectors. They stop with Stop or the test.
func NewFleet(t testing.TB, o FleetOptions) *Fleet {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &Fleet{t: t, cancel: cancel}
	t.Cleanup(f.Stop)
	floor, _ := Bounds(t, o.URL)
	turn := make(chan struct{}, dialAtOnce)
	for i := range o.Size {
		m := &member{options: o, from: floor, key: newKey(t), verifyAll: i == 0, compress: i >= o.Size-o.Compress, turn: turn, reading: Reading{book: o.Book}}
		f.members = append(f.members, m)
		f.running.Go(func() { m.run(ctx) })
	}
	Until(t, "every collector is connected", func() bool {
		return f.count(func(m *member) bool { return m.connections.Load() > 0 }) == o.Size || f.fault() != nil
	}, f.String)
	f.check()
	return f
}

// WaitTotal waits until every collector has so many messages.
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

// WaitSum waits until all collectors together have so many messages.
func (f *Fleet) WaitSum(n int64) {
	f.t.Helper()
	Until(f.t, fmt.Sprintf("%d messages in all", n), func() bool { return f.Sum() >= n || f.fault() != nil }, f.String)
	f.check()
}

// Least is how many messages the collector has that is furthest behind.
func (f *Fleet) Least() int {
	least := f.members[0].got.Load()
	for _, m := range f.members {
		least = min(least, m.got.Load())
	}
	return int(least)
}

// Sum is how many messages were received, by all together.
func (f *Fleet) Sum() (n int64) {
	for _, m := range f.members {
		n += m.got.Load()
	}
	return n
}

// Repeats is how many messages came again to forgetful collectors, after Stop.
func (f *Fleet) Repeats() (n int) {
	for _, m := range f.members {
		n += m.reading.repeats
	}
	return n
}

// Cut is how many collectors have lost a connection.
func (f *Fleet) Cut() int { return f.count(func(m *member) bool { return m.cuts.Load() > 0 }) }

// Connected is how many collectors have a connection now.
func (f *Fleet) Connected() int {
	return f.count(func(m *member) bool { return m.connections.Load() > m.cuts.Load() })
}

// Ends tells why connections ended, each reason with its count.
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

// Stop ends all connections. After it the fleet's counts stand still.
func (f *Fleet) Stop() {
	f.cancel()
	f.running.Wait()
}

// CheckSame stops the fleet and fails the test unless every collector has got
// the whole book, and the same messages in the same order, over all streams.
func (f *Fleet) CheckSame() {
	f.t.Helper()
	f.Stop()
	f.check()
	first := &f.members[0].reading
	for i, m := range f.members {
		if n, due := int(m.got.Load()), first.book.Total(); n != due {
			f.t.Errorf("collector %d got %d messages, %d were due", i, n, due)
		}
		if m.reading.chain != first.chain && !m.options.Forgetful {
			f.t.Errorf("collector %d got the messages in another order than the first", i)
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

// String tells where the fleet stands.
func (f *Fleet) String() string {
	got := func(a, b *member) int { return cmp.Compare(a.got.Load(), b.got.Load()) }
	least, most := slices.MinFunc(f.members, got), slices.MaxFunc(f.members, got)
	return fmt.Sprintf("%d of %d collectors connected, %d to %d messages each, %d cut, ends: %v",
		f.Connected(), len(f.members), least.got.Load(), most.got.Load(), f.Cut(), f.Ends())
}

// member is one collector of a fleet. All but the atomics and ends belong to
// the goroutine of run.
type member struct {
	options   FleetOptions
	from      wsproto.Position
	key       shardus.SecretKey
	verifyAll bool
	compress  bool
	turn      chan struct{} // to dial
	reading   Reading

	got         atomic.Int64
	connections atomic.Int64
	cuts        atomic.Int64          // connections that were lost or closed by the server
	fault       atomic.Pointer[error] // why it has given up

	mu   sync.Mutex
	ends []string // how each of cuts came
}

// redial is the pause before a collector that was cut or refused tries again.
const redial = 20 * time.Millisecond
