package status

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/gateway"
	"distributor/engine/supervisor"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// Every is how often a Board asks.
const Every = time.Second

// Sources are whom a Board asks. Each is called by one goroutine at a time,
// until Run has returned.
type Sources struct {
	Version  string
	Started  time.Time
	Source   func(datalog.Stream) datalog.Stats
	Encoder  func(datalog.Stream) encoder.StreamStats
	FrameLog func() framelog.Stats
	LogID    string       // of the frame log
	LogDir   string       // of the frame log
	Blocked  func() error // why the frame log takes no frames
	Workers  func() supervisor.Snapshot
	Gateway  func() gateway.Snapshot
	Deflate  func() deflate.Stats
	API      func() API
	Health   func() (problems []Problem, since time.Time)
	Events   *Events
}

// Board shows the newest Status. Its methods may be called from any goroutine.
type Board struct {
	sources   Sources
	backlogs  datalog.PerStream[backlog]
	window    window
	processes processes
	disk      disk
	shown     atomic.Pointer[shown]
}

// shown is a Status with what belongs to it.
type shown struct {
	status *Status
	json   func() []byte // encodes once
	over   chan struct{} // closed when there is a newer one
}

// NewBoard asks for the first time.
func NewBoard(s Sources) *Board {
	b := &Board{sources: s}
	b.update(time.Now())
	return b
}

// Run keeps the Status new until ctx ends.
func (b *Board) Run(ctx context.Context) {
	t := time.NewTicker(Every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			b.update(now)
		}
	}
}

// Status is the newest one. It must not be changed.
func (b *Board) Status() *Status { return b.shown.Load().status }

// JSON is Status in JSON, without a line end. It must not be changed.
func (b *Board) JSON() []byte { return b.shown.Load().json() }

// Watch returns JSON, and a channel that is closed when there is a newer one.
// Whoever is slow misses some; nothing is kept for it.
func (b *Board) Watch() (text []byte, over <-chan struct{}) {
	s := b.shown.Load()
	return s.json(), s.over
}

func (b *Board) update(now time.Time) {
	status := b.collect(now)
	former := b.shown.Swap(&shown{
		status: status, over: make(chan struct{}),
		json: sync.OnceValue(func() []byte {
			text, err := json.Marshal(status)
			if err != nil {
				panic(err) // plain data: numbers are finite by construction
			}
			return text
		}),
	})
	if former != nil {
		close(former.over)
	}
}
