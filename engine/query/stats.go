package query

import (
	"sync"
	"sync/atomic"
	"time"
)

// Bounds are the upper bounds of the latency histogram's buckets: from an answer without rows to
// the default request time.
var Bounds = [...]time.Duration{
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// meter counts the requests of one path.
type meter struct {
	statuses sync.Map // int → *atomic.Uint64
	buckets  [len(Bounds) + 1]atomic.Uint64
	nanos    atomic.Int64
}

func (m *meter) count(status int, took time.Duration) {
	n, known := m.statuses.Load(status)
	if !known {
		n, _ = m.statuses.LoadOrStore(status, new(atomic.Uint64))
	}
	n.(*atomic.Uint64).Add(1)
	i := 0
	for i < len(Bounds) && took > Bounds[i] {
		i++
	}
	m.buckets[i].Add(1)
	m.nanos.Add(int64(took))
}

// Snapshot holds the counters since New.
type Snapshot struct {
	PID       int                         // of the query process; 0: it is not running
	Endpoints map[string]EndpointSnapshot // by path; all of them from the start
	Tables    map[string]TableSnapshot    // by name; since the start of the query process
	Held      int64                       // bytes of bodies and answers that count for Settings.Memory
}

// EndpointSnapshot holds the counters of the requests of a path.
type EndpointSnapshot struct {
	Status map[int]uint64 // requests by HTTP status; 499: the client left before its answer
	// Buckets counts requests by time taken, reading and writing included: up to Bounds[i], and more.
	Buckets [len(Bounds) + 1]uint64
	Total   time.Duration // time of all requests
}

// TableSnapshot holds the counters of the rows of a table.
type TableSnapshot struct {
	Rows    uint64 // answered
	Damaged uint64 // left out of answers, counted each time
	Failing string // error of the last query; empty: none
}

func (m *meter) snapshot() EndpointSnapshot {
	e := EndpointSnapshot{Status: make(map[int]uint64), Total: time.Duration(m.nanos.Load())}
	m.statuses.Range(func(status, n any) bool {
		e.Status[status.(int)] = n.(*atomic.Uint64).Load()
		return true
	})
	for i := range m.buckets {
		e.Buckets[i] = m.buckets[i].Load()
	}
	return e
}

func (a *API) tables() map[string]TableSnapshot {
	tables := make(map[string]TableSnapshot)
	for _, t := range a.all() {
		one := TableSnapshot{Rows: t.rows.Load(), Damaged: t.damaged.Load()}
		if failing := t.failing.Load(); failing != nil {
			one.Failing = failing.Error()
		}
		tables[t.name] = one
	}
	return tables
}
