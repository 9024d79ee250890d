package worker

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/compressedlog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// option sets an option of c's socket.
func option(t testing.TB, c net.Conn, level, name, value int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), level, name,
			value)
	}); e != nil || err != nil {
		t.Fatal(e, err)
	}
}

// queue returns how many bytes are in a queue of c's socket.
func queue(t testing.TB, c net.Conn, which uint) (n int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), which) }); e != nil ||
		err != nil {
		t.Fatal(e, err)
	}
	return n
}

// The end of a client's side is found even if it arrives in the segment of the last bytes, which
// the poller reports once. This holds for any last bytes, and for more of them than one event
// reads.
func TestEndBehindTheLastBytes(t *testing.T) {
	closing := masked(ws.OpClose, ws.NewCloseFrameBody(1000, ""))
	for name, last := range map[string]struct {
		bytes []byte
		why   wsproto.Disconnect
	}{
		"pong":          {masked(ws.OpPong, []byte("x")), wsproto.ClientGone},
		"half a frame":  {masked(ws.OpText, make([]byte, 100))[:50], wsproto.ClientGone},
		"whole buffers": {masked(ws.OpText, make([]byte, 2*readBytes-8)), wsproto.ClientGone},
		"burst":         {masked(ws.OpText, make([]byte, 3*readsAtOnce*readBytes)), wsproto.ClientGone},
		"close":         {closing, wsproto.ClientClosed},
		"burst, close": {append(masked(ws.OpText, make([]byte, 3*readsAtOnce*readBytes)), closing...),
			wsproto.ClientClosed},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, handoff.Settings{InputBytes: 1 << 20, InputRate: 1 << 20}, framelog.Options{})
			p := b.connect(0, nil, false)
			option(t, p.Conn, unix.IPPROTO_TCP, unix.TCP_CORK, 1)
			if _, err := p.Write(last.bytes); err != nil {
				t.Fatal(err)
			}
			if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			b.closed(p.id, last.why)
			if last.why == wsproto.ClientClosed {
				p.closing(1000)
			}
		})
	}
}

// Input that arrived before a worker had the socket is read to its end, though the poller reports
// it once: more than one event reads, and also bytes after an urgent byte, where a read ends early.
func TestInputBeforeTheWorker(t *testing.T) {
	ping := masked(ws.OpPing, []byte("here?"))
	for name, write := range map[string]func(*testing.T, *net.TCPConn){
		"burst": func(t *testing.T, c *net.TCPConn) {
			if _, err := c.Write(append(masked(ws.OpText, make([]byte, 5*readsAtOnce*readBytes/2)),
				ping...)); err != nil {
				t.Fatal(err)
			}
		},
		"urgent": func(t *testing.T, c *net.TCPConn) {
			raw, err := c.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []struct {
				b     []byte
				flags int
			}{{masked(ws.OpText, []byte("before")), 0}, {[]byte("!"), unix.MSG_OOB}, {ping, 0}} {
				raw.Control(func(fd uintptr) { err = unix.Send(int(fd), part.b, part.flags) })
				if err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, handoff.Settings{InputBytes: 1 << 20, InputRate: 1 << 20}, framelog.Options{})
			ours, theirs := dial(t, false)
			defer theirs.Close()
			if err := theirs.SetReadBuffer(1 << 20); err != nil {
				t.Fatal(err)
			}
			write(t, ours)
			until(t, func() bool { return queue(t, ours, unix.SIOCOUTQ) == 0 }) // all has arrived
			p := b.hand(ours, theirs, 0, nil)
			if h, payload := p.frame(); h.OpCode != ws.OpPong || string(payload) != "here?" {
				t.Fatalf("%+v %q", h, payload)
			}
		})
	}
}

// One turn reads about readBudget bytes from clients that have sent more than is read at once, each
// in its turn. More turns follow until everything is read.
func TestReadingOnIsBounded(t *testing.T) {
	t.Run("more than one read of each", func(t *testing.T) { readOn(t, 10, 200_000) })
	t.Run("one read of each", func(t *testing.T) { readOn(t, 20, 100_000) })
}

// readOn checks that with a number of clients that have each sent size bytes.
func readOn(t *testing.T, clients, size int) {
	h := newManualLoop(t)
	var all []*client
	for range clients {
		ours, theirs := dial(t, false)
		defer theirs.Close()
		if err := theirs.SetReadBuffer(1 << 20); err != nil {
			t.Fatal(err)
		}
		c := h.join(theirs, 0)
		all = append(all, c)
		if err := h.turn(); err != nil {
			t.Fatal(err)
		}
		c.inputClosed = true // its input is discarded
		if _, err := ours.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { return h.left(c) == size })
	}
	for _, c := range all {
		c.unread = true
		h.unread.push(c)
	}
	for turns := 1; !h.unread.empty(); turns++ {
		h.armed = false
		if err := h.turn(); err != nil {
			t.Fatal(err)
		}
		total, least, most := 0, size, 0
		for _, c := range all {
			read := size - h.left(c)
			total, least, most = total+read, min(least, read), max(most, read)
		}
		if total > turns*(readBudget+readsAtOnce*readBytes) {
			t.Fatalf("%d bytes read in %d turns", total, turns)
		}
		if turns == 2 && least == 0 {
			t.Fatalf("nothing read of one, and %d bytes of another", most)
		}
		if total < clients*size && !h.armed {
			t.Fatalf("%d of %d bytes read, and no more turns follow", total, clients*size)
		}
		if turns == clients*size/readBytes {
			t.Fatal("it does not come to an end")
		}
	}
	for _, c := range all {
		if h.left(c) != 0 {
			t.Errorf("%d bytes left", h.left(c))
		}
	}
}

// left returns how many bytes that c has sent were not read.
func (h *manualLoop) left(c *client) int {
	h.t.Helper()
	n, err := unix.IoctlGetInt(c.fd, unix.SIOCINQ)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// When a send finds the connection reset, all input that came before the reset is handled.
func TestInputBeforeTheReset(t *testing.T) {
	h := newManualLoop(t)
	h.settings.InputBytes, h.settings.InputRate = 1<<20, 1<<20
	ours, theirs := dial(t, false)
	defer theirs.Close()
	if err := theirs.SetReadBuffer(2 << 20); err != nil {
		t.Fatal(err)
	}
	h.append([]byte("first"))
	c := h.join(theirs, 0)
	c.reader.MaxMessage = 1 << 20
	if err := h.turn(); err != nil {
		t.Fatal(err)
	}
	input := masked(ws.OpText, make([]byte, 2*readsAtOnce*readBytes))
	token := wsproto.Position{Log: h.loop.frames.ID(), Offset: h.frames.Head()}
	input = append(input, masked(ws.OpPong, token.AppendTo(nil))...)
	if _, err := ours.Write(input); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return h.left(c) == len(input) })
	if err := ours.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	until(t, func() bool {
		p := []unix.PollFd{{Fd: int32(c.fd)}}
		n, _ := unix.Poll(p, 100)
		return n == 1 && p[0].Revents&unix.POLLHUP != 0
	})
	h.append([]byte("second"))
	for range 10 {
		if err := h.turn(); err != nil {
			t.Fatal(err)
		}
	}
	m := h.sentToPrimary(isClosed)
	if m.Closed.Disconnect != wsproto.ClientGone.Name || m.Closed.Acked != token.Offset {
		t.Fatalf("%+v, want it to have confirmed %d", m.Closed, token.Offset)
	}
}

// If a file is cut within the mapped range that one send gives, the client is disconnected at once
// with InternalError. The send took less, but the socket is not full.
func TestCutInsideASend(t *testing.T) {
	for name, sizes := range map[string][]int{
		"one frame": {200_000},
		"pings among": {4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000,
			4000, 4000, 4000, 4000},
		"frames, no ping": {2000, 2000, 60_000},
	} {
		for _, notices := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", notices ", notices), func(t *testing.T) {
				settings := handoff.Settings{}
				if notices {
					settings.Notices = t.TempDir()
				}
				b := start(t, settings, framelog.Options{})
				b.notices = notices
				b.append(sizes...)
				p := b.connect(0, nil, false)
				p.want(b, 0, len(sizes)) // the worker has mapped the segment
				cut(t, b.settings.FrameLog, 8*int64(pageBytes))
				b.closed(b.connect(0, nil, false).id, wsproto.InternalError)
			})
		}
	}
}

// pageBytes is the size of a page. The rest of the last page, after the end of a file, can be read.
var pageBytes = os.Getpagesize()

// cut truncates the first segment in dir.
func cut(t testing.TB, dir string, bytes int64) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, fmt.Sprintf("%016x.frames", 0)), bytes); err != nil {
		t.Fatal(err)
	}
}

// If the file of a compressed log is cut within what one send gives, no client waits. A client at a
// frame boundary continues with plain frames, and a client inside a frame is disconnected at once.
func TestCutInsideACompressedLog(t *testing.T) {
	for _, c := range []struct {
		name         string
		size, frames int
		left         int // pages
		inside       bool
	}{{"between frames", 10*pageBytes - 4, 3, 10, false}, {"inside a frame", 200_000, 1, 30, true}} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, handoff.Settings{}, framelog.Options{})
			w, dir := byHand(t, framelog.Options{})
			for i := range c.frames { // not compressed, so that they are not shorter
				b.append(c.size)
				frame := wsproto.AppendTextFrame(nil, make([]byte, c.size))
				frame[0] |= 0x40
				if err := compressedlog.Append(w, frame, compressedlog.Other,
					compressedlog.Span{Start: b.offset(i), End: b.offset(i + 1)}); err != nil {
					t.Fatal(err)
				}
				if err := w.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			b.announce(dir)
			compressed := func(p *peer) (n int, err error) {
				for texts := 0; texts < c.frames && err == nil; {
					var h ws.Header
					if h, _, err = p.tryFrame(); err == nil && h.OpCode == ws.OpText {
						texts++
						n += int(h.Rsv >> 2)
					}
				}
				return n, err
			}
			if n, err := compressed(b.join(handoff.Client{Negotiated: deflated}, false)); n != c.frames ||
				err != nil {
				t.Fatalf("%d of %d frames came from the compressed log, %v", n, c.frames, err)
			}
			cut(t, dir, int64(c.left*pageBytes))
			p := b.join(handoff.Client{Negotiated: deflated}, false)
			if n, err := compressed(p); !c.inside && (n != 1 || err != nil) {
				t.Fatalf("%d frames came from the compressed log, %v", n, err)
			}
			if c.inside {
				b.closed(p.id, wsproto.InternalError)
			}
		})
	}
}

// A message that is too long ends the connection with MessageTooBig, even if the read that brings
// its header exceeds the allowance.
func TestLongMessageInTooMuchInput(t *testing.T) {
	b := start(t, handoff.Settings{InputBytes: 4096, InputRate: 1024}, framelog.Options{})
	for name, input := range map[string][]byte{
		"at the end": join(bytes.Repeat(frame(0x82, strings.Repeat("x", 1000)), 5),
			[]byte{0x82, 0xfe, 0x10, 0x01, 1, 2, 3, 4}),
		"at the beginning": masked(ws.OpBinary, make([]byte, 5000)),
	} {
		t.Run(name, func(t *testing.T) {
			p := b.connect(b.frames.Head(), input, false) // one piece
			p.wantClose(wsproto.MessageTooBig.Code)
			p.Close()
			b.closed(p.id, wsproto.MessageTooBig)
		})
	}
}

// Input that an event leaves in the socket is read in later turns. This holds for every burst.
func TestBurstAfterBurst(t *testing.T) {
	h := newManualLoop(t)
	ours, theirs := dial(t, false)
	defer theirs.Close()
	if err := theirs.SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	c := h.join(theirs, 0)
	if err := h.turn(); err != nil {
		t.Fatal(err)
	}
	c.inputClosed = true // its input is discarded
	const size = 2*readsAtOnce*readBytes + 1000
	for burst := range 3 {
		if _, err := ours.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { return h.left(c) == size })
		h.armed = false
		h.clientEvent(c, unix.EPOLLIN)
		for h.armed {
			if err := h.event(h.wake, netpoll.ReadEvents, 0); err != nil {
				t.Fatal(err)
			}
		}
		if n := h.left(c); n != 0 {
			t.Fatalf("burst %d: %d bytes are left, and no turn follows", burst, n)
		}
	}
}

// A socket is writable when it takes more, not when it is full.
func TestWritable(t *testing.T) {
	h := newManualLoop(t)
	ours, theirs := dial(t, true)
	defer theirs.Close()
	c := h.join(theirs, 0)
	if !writable(c.fd) {
		t.Error("a socket that nothing was sent to is full")
	}
	for sent := 0; !c.sendBlocked; {
		n, err := h.send(c, step{bytes: make([]byte, sliceBytes)})
		if sent += n; err != nil || sent > 1<<30 {
			t.Fatalf("%d bytes sent: %v", sent, err)
		}
	}
	if writable(c.fd) {
		t.Error("a full socket is writable")
	}
	go io.Copy(io.Discard, ours)
	until(t, func() bool { return writable(c.fd) })
}
