package worker

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
	gnet "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

func TestDrainRemaining(t *testing.T) {
	began := time.Now()
	d := draining{began: began, spread: time.Second, deadline: began.Add(2 * time.Second),
		clients: 1000}
	for after, want := range map[time.Duration]int{
		0: 1000, time.Millisecond: 999, 10 * time.Millisecond: 990, 500 * time.Millisecond: 500,
		999 * time.Millisecond: 1, time.Second: 0, time.Hour: 0,
	} {
		if got := d.remaining(began.Add(after)); got < want-1 || got > want {
			t.Errorf("after %v: got %d of 1000 clients, want %d", after, got, want)
		}
	}
	d.deadline = began
	if got := d.remaining(began); got != 0 {
		t.Errorf("after the deadline: got %d clients, want 0", got)
	}
}

// leave does what a client's library does at the end: it answers pings and the close frame.
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

// Clients are disconnected one by one over the spread, not all at once.
func TestDrainIsStaggered(t *testing.T) {
	const clients, spread = 20, time.Second
	h := newManualLoop(t)
	for range clients {
		h.join(newWire(t).theirs, 0)
	}
	if err := h.turn(); err != nil {
		t.Fatal(err)
	}
	began := h.now
	drain := handoff.Drain{WithinMS: 3_600_000, SpreadMS: spread.Milliseconds()}
	if err := h.beginDrain(drain); err != nil {
		t.Fatal(err)
	}
	for past := time.Duration(0); past <= spread; past += drainEvery {
		h.now = began.Add(past)
		h.endDrained()
		want := float64(clients) * (1 - past.Seconds()/spread.Seconds())
		if left := float64(h.countStaying()); left < want-1 || left > want+1 {
			t.Errorf("after %v: %v clients are left, want %.1f", past, left, want)
		}
	}
	if left := h.countStaying(); left != 0 {
		t.Errorf("after the spread: %d clients are left, want 0", left)
	}
}

// A drained worker ends when the clients have answered the close frame and closed their sockets: at
// once, without a timer.
func TestDrainEndsWithItsSockets(t *testing.T) {
	h := newManualLoop(t)
	h.append([]byte("first"))
	var all []*client
	var peers []*net.TCPConn
	for range 5 {
		ours, theirs := dial(t, false)
		all, peers = append(all, h.join(theirs, 0)), append(peers, ours)
		theirs.Close()
	}
	if err := h.turn(); err != nil {
		t.Fatal(err)
	}
	why := wsproto.ServerShutdown
	drain := handoff.Drain{Head: h.frames.Head(), WithinMS: 3_600_000, Disconnect: why.Name}
	if err := h.beginDrain(drain); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(askWait) // they answer no ping
	h.endDrained()
	event := func(c *client, over func() bool) (err error) {
		fd := c.fd
		until(t, func() bool {
			err = h.event(fd, netpoll.ReadEvents|unix.EPOLLRDHUP, 0)
			return over()
		})
		return err
	}
	answer := ws.NewCloseFrameBody(ws.StatusCode(why.Code), "")
	for i, c := range all {
		if _, err := peers[i].Write(masked(ws.OpClose, answer)); err != nil {
			t.Fatal(err)
		}
		if err := event(c, func() bool { return c.parted }); err != nil {
			t.Fatalf("it ended before its clients: %v", err)
		}
	}
	for i, c := range all {
		if _, err := io.Copy(io.Discard, peers[i]); err != nil { // to the end of our side
			t.Fatal(err)
		}
		peers[i].Close()
		err := event(c, func() bool { return c.fd < 0 })
		if over := errors.Is(err, gnet.ErrEngineShutdown); over != (i == len(all)-1) {
			t.Errorf("after the end of %d of %d sockets: %v", i+1, len(all), err)
		}
	}
}

// setAskWait sets askWait. Call it before a worker is started.
func setAskWait(t *testing.T, wait time.Duration) {
	before := askWait
	askWait = wait
	t.Cleanup(func() { askWait = before })
}

// Before a draining worker disconnects a client, it pings it, and waits for the answer, which is
// then reported. So the client gets nothing twice elsewhere. Frames that are committed meanwhile
// are sent too, and confirmed by a ping with the close frame.
func TestDrainPingsBeforeClosing(t *testing.T) {
	setAskWait(t, time.Hour)
	b := start(t, handoff.Settings{PingIntervalMS: 3_600_000, PingTimeoutMS: 7_200_000},
		framelog.Options{})
	p := b.connect(0, nil, false)
	b.publish(1000)
	p.want(b, 0, 1)
	first := b.frames.Head()
	b.send(handoff.Message{Drain: &handoff.Drain{Head: first, WithinMS: 3_600_000,
		Disconnect: wsproto.ServerShutdown.Name}})
	h, asked := p.frame()
	if h.OpCode != ws.OpPing {
		t.Fatalf("got %+v", h)
	}
	b.publish(1000)
	for h.OpCode == ws.OpPing { // an earlier ping, after a quiet time, is possible
		var payload []byte
		if h, payload = p.frame(); h.OpCode == ws.OpPing {
			asked = payload
		}
	}
	if h.OpCode != ws.OpText {
		t.Fatalf("before it has answered, it gets %+v", h)
	}
	p.send(ws.OpPong, asked)
	if m := b.next(isConfirmed); m.Confirmed[0].Offset < first {
		t.Errorf("told %+v, want %d", m.Confirmed, first)
	}
	p.leave()
	if c := b.closed(p.id, wsproto.ServerShutdown); c.Acked != b.frames.Head() {
		t.Errorf("%d of %d bytes were confirmed", c.Acked, b.frames.Head())
	}
}

// A client that does not answer is closed nevertheless.
func TestDrainClosesWithoutAPong(t *testing.T) {
	setAskWait(t, time.Millisecond)
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, nil, false)
	b.publish(1000)
	p.want(b, 0, 1)
	b.send(handoff.Message{Drain: &handoff.Drain{Head: b.frames.Head(), WithinMS: 3_600_000,
		Disconnect: wsproto.ServerShutdown.Name}})
	p.wantClose(wsproto.ServerShutdown.Code) // no pong
}

// A disconnect is logged at level info if one side did something wrong, whatever its close code.
func TestOrdinaryEnds(t *testing.T) {
	quiet := map[string]bool{"duplicate_connection": true, "subscription_expired": true,
		"server_shutdown": true, "client_closed": true, "client_gone": true}
	for _, why := range wsproto.Disconnects {
		if why != wsproto.WorkerLost && ordinary(why) != quiet[why.Name] {
			t.Errorf("%s: quiet is %v", why.Name, ordinary(why))
		}
	}
}

// The answer to our close frame confirms all that was sent before it, if the client answers no
// pings. For a client that answers pings only its pongs count, because its own close frame may have
// crossed ours.
func TestAnsweredCloseConfirms(t *testing.T) {
	for name, c := range map[string]struct {
		pongs    bool
		code     ws.StatusCode
		confirms bool
	}{
		"the answer":                           {false, 1000, true},
		"another close frame":                  {false, 1001, false},
		"a close frame of one that has ponged": {true, 1000, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, handoff.Settings{PingIntervalMS: 3_600_000, PingTimeoutMS: 7_200_000},
				framelog.Options{})
			p := b.connect(0, nil, false)
			text := func() { // without an answer to pings
				for h, _ := p.frame(); h.OpCode != ws.OpText; h, _ = p.frame() {
				}
			}
			b.publish(1000)
			text()
			first := b.frames.Head()
			if c.pongs {
				for h, payload := p.frame(); ; h, payload = p.frame() {
					if h.OpCode == ws.OpPing {
						p.send(ws.OpPong, payload)
						break
					}
				}
				b.next(isConfirmed)
			}
			b.publish(1000)
			text()
			b.send(handoff.Message{Close: &handoff.Close{ID: p.id,
				Disconnect: wsproto.DuplicateConnection.Name}})
			p.wantClose(wsproto.DuplicateConnection.Code)
			p.send(ws.OpClose, ws.NewCloseFrameBody(c.code, ""))
			want := uint64(0)
			switch {
			case c.confirms:
				want = b.frames.Head()
			case c.pongs:
				want = first
			}
			if closed := b.closed(p.id, wsproto.DuplicateConnection); closed.Acked != want {
				t.Errorf("%d of %d bytes are confirmed, want %d", closed.Acked, b.frames.Head(), want)
			}
		})
	}
}
