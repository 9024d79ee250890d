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
	"distributor/engine/problem"
	"distributor/engine/supervisor"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// Every is the interval in which a Board collects a Status.
const Every = time.Second

// Sources are the components from which a Board collects. Each function is called by one goroutine
// at a time, until Run has returned.
type Sources struct {
	Version  string
	Started  time.Time
	Source   func(datalog.Stream) datalog.Stats
	Encoder  func(datalog.Stream) encoder.StreamStats
	FrameLog func() framelog.Stats
	LogID    string       // id of the frame log
	LogDir   string       // directory of the frame log
	Blocked  func() error // why the frame log accepts no frames, or nil
	Workers  func() supervisor.Snapshot
	Gateway  func() gateway.Snapshot
	Deflate  func() deflate.Stats
	API      func() API
	Health   func() (problems []problem.Problem, since time.Time)
	Events   *Events
}

// Board provides the newest Status. Its methods may be called from any goroutine.
type Board struct {
	sources   Sources
	backlogs  datalog.PerStream[backlog]
	window    window
	processes processes
	disk      disk
	shown     atomic.Pointer[shown]
}

// shown is a Status with its JSON and the signal of its replacement.
type shown struct {
	status *Status
	json   func() []byte // encodes once
	over   chan struct{} // closed when there is a newer one
}

// NewBoard returns a Board with a first Status.
func NewBoard(s Sources) *Board {
	b := &Board{sources: s}
	b.update(time.Now())
	return b
}

// Run collects a new Status every second until ctx ends.
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

// Status returns the newest Status. It must not be changed.
func (b *Board) Status() *Status { return b.shown.Load().status }

// JSON returns the newest Status in JSON, without a line end. It must not be changed.
func (b *Board) JSON() []byte { return b.shown.Load().json() }

// Watch returns the JSON, and a channel that is closed when there is a newer one. A slow viewer
// misses some; nothing is stored for it.
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
