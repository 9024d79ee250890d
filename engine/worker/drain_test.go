package worker

import (
	"testing"
	"time"

	"github.com/gobwas/ws"

	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

func TestStay(t *testing.T) {
	began := time.Now()
	d := draining{began: began, spread: time.Second, deadline: began.Add(2 * time.Second), clients: 1000}
	for after, want := range map[time.Duration]int{
		0: 1000, time.Millisecond: 999, 10 * time.Millisecond: 990, 500 * time.Millisecond: 500, 999 * time.Millisecond: 1, time.Second: 0, time.Hour: 0,
	} {
		if got := d.stay(began.Add(after)); got < want-1 || got > want {
			t.Errorf("after %v, %d of 1000 stay, want %d", after, got, want)
		}
	}
	d.deadline = began
	if got := d.stay(began); got != 0 {
		t.Errorf("%d stay beyond the deadline", got)
	}
}

// leave does what a client's library does at the end: it answers pings and the
// close frame.
func (p *peer) leave() {
	for {
		h, payload, err := p.tryFrame()
		switch {
		case err != nil:
			p.t.Error(err)
			return
		case h.OpCode == ws.OpPing:
			_, _ = p.Write(masked(ws.OpPong, payload))
		case h.OpCode == ws.OpClose:
			_, _ = p.Write(masked(ws.OpClose, payload[:2]))
			return
		}
	}
}

// Clients leave one by one over the spread, not all at once, and the worker's
// end does not wait for its deadline.
func TestDrainIsStaggered(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	const clients = 20
	var peers []*peer
	for range clients {
		peers = append(peers, b.connect(0, nil, false))
	}
	b.publish(1000)
	for _, p := range peers {
		p.want(b, 0, 1)
	}
	closed := make(chan time.Time, clients)
	for _, p := range peers {
		go func() {
			p.leave()
			closed <- time.Now()
		}()
	}
	const spread = time.Second
	b.send(handoff.Message{Drain: &handoff.Drain{Head: b.frames.Head(), WithinMS: 3_600_000, SpreadMS: spread.Milliseconds(), Disconnect: wsproto.ServerShutdown.Name}})
	first := <-closed
	last := first
	for range clients - 1 {
		last = <-closed
	}
	if took := last.Sub(first); took < spread/2 {
		t.Errorf("all clients were closed within %v, not over %v", took, spread)
	}
	if err := <-b.ended; err != nil {
		t.Fatal(err)
	}
	b.ended = nil
}

// A client that is sent away is asked, by a ping before the close frame, what it
// has read, so that it gets nothing twice elsewhere.
func TestDrainConfirms(t *testing.T) {
	b := start(t, handoff.Settings{PingIntervalMS: 3_600_000, PingTimeoutMS: 7_200_000}, framelog.Options{})
	p := b.connect(0, nil, false)
	for range 3 { // no ping comes by itself before the stream is quiet
		b.publish(1000)
	}
	b.send(handoff.Message{Drain: &handoff.Drain{Head: b.frames.Head(), WithinMS: 60_000, Disconnect: wsproto.ServerShutdown.Name}})
	p.want(b, 0, 3)
	p.leave()
	if c := b.closed(p.id, wsproto.ServerShutdown); c.Acked != b.frames.Head() {
		t.Errorf("%d of %d bytes were confirmed", c.Acked, b.frames.Head())
	}
}
