package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/engine/deflate"
	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// share returns how much a client that is cut may have read without confirming it: about a
// confirmShare-th, or leastConfirm, and the frame in which that ends.
func share(read uint64, frame int) uint64 {
	return max(leastConfirm, read/confirmShare) + uint64(frame) + 100
}

// A client that never catches up confirms nearly all that it reads on each connection, so it makes
// progress when it reconnects.
func TestPingsAmongOldFrames(t *testing.T) {
	sizes := []int{300, 4500, 60_000}
	if testing.Short() {
		sizes = []int{4500}
	}
	for _, size := range sizes {
		for _, compressed := range []bool{false, true} {
			t.Run(fmt.Sprintf("size=%d,compressed=%v", size, compressed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 1))
				b := start(t, handoff.Settings{}, framelog.Options{})
				if compressed {
					z := b.compress(deflate.Options{})
					z.SetClients(1)
					z.waitAlive(true)
					z.begin(b, text(r, size))
				}
				for n := 0; n < 6<<20; n += size {
					b.appendText(text(r, size))
				}
				b.ring()
				ends := []uint64{0} // of the frames
				for _, f := range b.all {
					ends = append(ends, ends[len(ends)-1]+uint64(len(f)))
				}
				for from, read := range []uint64{30_000, 400_000, 2_000_000} { // from any frame
					options := handoff.Negotiated{Deflate: compressed}
					p := b.join(handoff.Client{From: ends[from], Negotiated: options}, true)
					confirmed, at := ends[from], from
					for ends[at]-ends[from] < read {
						h, payload := p.frame()
						if h.OpCode != ws.OpPing {
							at++
							continue
						}
						pos, err := wsproto.ParsePosition(payload)
						if err != nil || pos.Offset != ends[at] {
							t.Fatalf("a ping says %q at %d", payload, ends[at])
						}
						p.send(ws.OpPong, payload)
						confirmed = pos.Offset
					}
					if lost, most := ends[at]-confirmed, share(read, size); lost > most {
						t.Errorf("of %d bytes the last %d are not confirmed, more than %d",
							ends[at]-ends[from], lost, most)
					}
					p.flush()
					p.Close()
					if c := b.closed(p.id, wsproto.ClientGone); c.Acked != confirmed {
						t.Fatalf("told %d, confirmed %d", c.Acked, confirmed)
					}
				}
			})
		}
	}
}

// flush waits until the worker's TCP has all that was sent. Closing a connection with unread input
// would discard what is not sent yet.
func (p *peer) flush() {
	p.t.Helper()
	until(p.t, func() bool { return p.pending(unix.SIOCOUTQ) == 0 })
}

// pending returns how many bytes are in a queue of the socket, unix.SIOCOUTQ or unix.SIOCINQ.
func (p *peer) pending(queue uint) (n int) {
	p.t.Helper()
	raw, err := p.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), queue) })
	if err := errors.Join(err, failed); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// A client that reads as fast as it can is also pinged by bytes, and its answers do not count as
// input.
func TestPingsInFastReplays(t *testing.T) {
	b := start(t, handoff.Settings{
		InputBytes: 4096, InputRate: 1024, PingIntervalMS: 25_000, PingTimeoutMS: 60_000,
	}, framelog.Options{})
	for range 8000 {
		b.append(4500)
	}
	b.ring()
	p := b.connect(0, nil, false)
	pings, last, most, got := 0, uint64(0), uint64(0), uint64(0)
	for got < b.frames.Head() {
		h, payload := p.frame()
		switch h.OpCode {
		case ws.OpText:
			got += uint64(len(wsproto.AppendTextHeader(nil, len(payload))) + len(payload))
		case ws.OpPing:
			p.send(ws.OpPong, payload)
			pings, last, most = pings+1, got, max(most, got-last)
		default:
			t.Fatalf("%+v %q", h, payload)
		}
	}
	if most > confirmBytes+10_000 || pings < 50 || pings > 300 {
		t.Errorf("%d pings in %d bytes, up to %d apart", pings, got, most)
	}
	b.next(func(m handoff.Message) bool {
		return m.Confirmed != nil && m.Confirmed[0].Offset >= b.frames.Head()-confirmBytes-10_000
	})
	// More than the answers counts.
	_, _ = p.Write(bytes.Repeat(masked(ws.OpPong, make([]byte, 125)), 200))
	p.wantClose(wsproto.TooMuchData.Code)
}

// A client is pinged by time also while its socket is full. The ping is sent at the next boundary
// when the socket is writable.
func TestPingsWhileBlocked(t *testing.T) {
	h := newManualLoop(t)
	ours, theirs := dial(t, true)
	defer theirs.Close()
	for range 200 {
		h.append(make([]byte, 50_000))
	}
	c := h.join(theirs, 0)
	h.later(tickEvery)
	if c.state != blocked {
		t.Fatalf("state %d", c.state)
	}
	c.from -= 1 << 30 // as if the connection had brought a lot: its pings are a MiB apart
	for range 3 {
		before := h.stats.Pings
		h.later(confirmEvery + tickEvery)
		h.readUntilWritable(c, ours)
		if h.stats.Pings != before+1 {
			t.Fatalf("%d pings to a blocked client that has read something after %v",
				h.stats.Pings-before, confirmEvery)
		}
	}
}

// If the socket takes data and pings in part, sending continues where it stopped.
func TestPartialPings(t *testing.T) {
	const frame, frames = 1000, 3000
	h := newManualLoop(t)
	for range frames {
		h.append(make([]byte, frame-4))
	}
	ours, theirs := dial(t, true)
	defer theirs.Close()
	c := h.join(theirs, 0)
	got := make(chan error, 1)
	go func() { got <- checkPings(ours, frame, frames*frame) }()
	rng := rand.New(rand.NewPCG(7, 7))
	for end := time.Now().Add(2 * time.Minute); c.cursor < h.frames.Head() || c.sendBlocked; {
		// Each round has another send buffer size, so that the socket is full at other places.
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4000+rng.IntN(60_000))
		h.waitWritable(c)
		h.clientEvent(c, unix.EPOLLOUT)
		if err := h.turn(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("it does not come to an end")
		}
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// checkPings reads frames of one size up to an offset, and checks the positions in the pings
// between them.
func checkPings(r io.Reader, frame int, to uint64) error {
	if _, err := io.CopyN(io.Discard, r, int64(len(response))); err != nil {
		return err
	}
	for at := uint64(0); at < to; {
		h, err := ws.ReadHeader(r)
		if err != nil {
			return err
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(r, payload); err != nil {
			return err
		}
		switch h.OpCode {
		case ws.OpText:
			if len(payload) != frame-4 {
				return fmt.Errorf("a frame of %d bytes at %d", len(payload), at)
			}
			at += uint64(frame)
		case ws.OpPing:
			if p, err := wsproto.ParsePosition(payload); err != nil || p.Offset != at {
				return fmt.Errorf("a ping says %q at %d", payload, at)
			}
		default:
			return fmt.Errorf("%+v at %d", h, at)
		}
	}
	return nil
}

// closing reads to the end of the stream, which must follow a close frame with that code, without a
// reset.
func (p *peer) closing(code uint16) {
	p.t.Helper()
	p.wantClose(code)
	if n, err := io.Copy(io.Discard, p); n != 0 || err != nil {
		p.t.Fatalf("behind the close frame: %d bytes, then %v", n, err)
	}
}

// Input after a client's close frame, or after its answer to ours, does not destroy what is still
// on its way to the client.
func TestInputBehindTheClose(t *testing.T) {
	for name, begin := range map[string]func(*bench, *peer){
		"the client closes": func(b *bench, p *peer) {
			p.send(ws.OpClose, ws.NewCloseFrameBody(1000, ""))
		},
		"we close": func(b *bench, p *peer) {
			end := handoff.Close{ID: p.id, Disconnect: wsproto.DuplicateConnection.Name}
			b.send(handoff.Message{Close: &end})
			p.send(ws.OpClose, ws.NewCloseFrameBody(1000, ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, handoff.Settings{}, framelog.Options{})
			p := b.connect(0, nil, false)
			b.publish(60_000)
			p.want(b, 0, 1)
			b.publish(120_000) // more than the client's socket takes at once
			until(t, func() bool { return p.pending(unix.SIOCINQ) > 0 })
			begin(b, p)
			b.next(isClosed) // the frame is under way
			p.send(ws.OpPong, []byte("late"))
			p.send(ws.OpText, []byte("later"))
			p.want(b, 1, 2)
			p.closing(1000)
		})
	}
}

// A client that shuts down its side after its close frame gets all that was begun, and our close
// frame.
func TestHalfClosed(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, nil, true)
	b.publish(5 << 20)
	b.next(func(m handoff.Message) bool { return m.Stats != nil && m.Stats.Blocked == 1 })
	p.send(ws.OpClose, ws.NewCloseFrameBody(1000, ""))
	if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	p.want(b, 0, 1)
	p.closing(1000)
	b.closed(p.id, wsproto.ClientClosed)
}

// The number of sockets that wait for the peer's end is bounded, and so is their time.
func TestPartingIsBounded(t *testing.T) {
	h := newManualLoop(t)
	var peers []*net.TCPConn
	for range maxParting + 3 {
		ours, theirs := dial(t, false)
		c := h.join(theirs, 0)
		theirs.Close()
		h.later(tickEvery)
		h.parse(c, masked(ws.OpClose, ws.NewCloseFrameBody(1000, "")))
		if !c.parted || h.byID[c.id] != nil {
			t.Fatalf("parted: %v", c.parted)
		}
		peers = append(peers, ours)
		h.now = h.now.Add(-tickEvery) // all at the same time
	}
	if len(h.parting) != maxParting || len(h.clients) != 0 {
		t.Errorf("%d sockets, %d clients", len(h.parting), len(h.clients))
	}
	peers[len(peers)-1].Close() // the peer's end releases its socket
	until(t, func() bool {
		h.read(h.parting[len(h.parting)-1])
		return len(h.parting) == maxParting-1
	})
	for range 10 { // each acknowledgement extends the time
		h.later(closeWait)
	}
	if len(h.parting) != 0 {
		t.Errorf("%d sockets after ten times closeWait", len(h.parting))
	}
}

// A client to which a slow link brings our close frame late is given time while its TCP
// acknowledges something.
func TestCloseOnASlowLink(t *testing.T) {
	h := newManualLoop(t)
	ours, theirs := dialSlow(t)
	defer theirs.Close()
	for range 100 {
		h.append(make([]byte, 50_000))
	}
	c := h.join(theirs, 0)
	h.later(tickEvery)
	h.disconnect(c, wsproto.DuplicateConnection, "")
	for range 4 {
		h.waitUntilSent(c)
		h.later(closeWait * 2 / 3)
		if c.fd < 0 {
			t.Fatal("the client was dropped")
		}
		h.readUntilAcknowledged(c, ours)
	}
	h.waitUntilSent(c)
	h.later(2 * closeWait)
	if c.fd >= 0 {
		t.Fatal("the client was not dropped, though nothing is acknowledged")
	}
}
