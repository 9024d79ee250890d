package worker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// numbered returns the payload of the n-th frame of a river. It shows its number, and every byte
// can be checked.
func numbered(n int) []byte {
	size := 20 + n*37%300
	if n%50 == 0 {
		size = 5000
	}
	b := fmt.Appendf(make([]byte, 0, size+12), "%012d", n)
	for i := range size {
		b = append(b, byte('a'+(n+i)%26))
	}
	return b
}

// river is a frame log that grows continuously.
type river struct {
	b     *bench
	count atomic.Int64 // frames so far
	once  sync.Once
	stop  chan struct{} // closed by end
	ended chan struct{}
}

// flow starts a river with a frame every interval. It ends with end, or before the bench does.
func (b *bench) flow(every time.Duration) *river {
	r := &river{b: b, stop: make(chan struct{}), ended: make(chan struct{})}
	b.t.Cleanup(r.end)
	go func() {
		defer close(r.ended)
		pace := time.NewTicker(every)
		defer pace.Stop()
		for n := 0; ; n++ {
			frame := wsproto.AppendTextFrame(nil, numbered(n))
			if err := errors.Join(b.frames.Append(frame, framelog.Meta{Stream: 1, Cycle: -1, Time: 1}),
				b.frames.Commit()); err != nil {
				b.t.Error(err)
				return
			}
			r.count.Store(int64(n + 1))
			b.ring()
			select {
			case <-pace.C:
			case <-r.stop:
				return
			}
		}
	}()
	return r
}

func (r *river) end() {
	r.once.Do(func() { close(r.stop) })
	<-r.ended
}

// seen is the state of a peer that checks the frames of a river.
type seen struct {
	next   int // number of the next frame; -1: any frame may be first
	pongs  []string
	closed bool
	code   uint16
}

// read reads one frame from p, and checks that it is whole and in order.
func (s *seen) read(p *peer) error {
	h, payload, err := p.tryFrame()
	if err != nil {
		return err
	}
	if h.Masked || !h.Fin || h.Rsv != 0 || s.closed {
		return fmt.Errorf("after frame %d, closed: %v, came a header of %+v", s.next-1, s.closed, h)
	}
	switch h.OpCode {
	case ws.OpText:
		if s.next < 0 {
			if _, err := fmt.Sscanf(string(payload[:12]), "%d", &s.next); err != nil {
				return err
			}
		}
		if !bytes.Equal(payload, numbered(s.next)) {
			return fmt.Errorf("instead of frame %d: %.40q… of %d bytes", s.next, payload, len(payload))
		}
		s.next++
	case ws.OpPing:
	case ws.OpPong:
		s.pongs = append(s.pongs, string(payload))
	case ws.OpClose:
		s.closed, s.code = true, wsproto.NoStatus
		if len(payload) >= 2 {
			s.code = binary.BigEndian.Uint16(payload)
		}
	default:
		return fmt.Errorf("operation %d", h.OpCode)
	}
	return nil
}

// attack is input that no correct client sends, and the disconnect that it must cause.
type attack struct {
	name  string
	bytes []byte
	why   wsproto.Disconnect
	code  uint16 // expected code of the close frame; 0: that of why
}

func frame(first byte, payload string) []byte {
	f := ws.Frame{Header: ws.Header{Fin: first&0x80 != 0, Rsv: first >> 4 & 7,
		OpCode: ws.OpCode(first & 0xf), Length: int64(len(payload))}, Payload: []byte(payload)}
	return ws.MustCompileFrame(ws.MaskFrameInPlace(f))
}

// closingFrame returns a client's close frame.
func closingFrame(code uint16, reason string) []byte {
	return frame(0x88, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// attacks returns what RFC 6455 forbids a client, section by section.
func attacks() []attack {
	mask := []byte{1, 2, 3, 4}
	broken := func(name string, b ...[]byte) attack {
		return attack{name, join(b...),
			wsproto.ProtocolError, 0}
	}
	all := []attack{
		// §5.1: a client masks.
		broken("text without a mask", []byte{0x81, 2, 'h', 'i'}),
		broken("empty text without a mask", []byte{0x81, 0}),
		broken("ping without a mask", []byte{0x89, 0}),
		broken("close without a mask", []byte{0x88, 2, 0x03, 0xe8}),
		// §5.2: no reserved bits, no reserved operations.
		broken("RSV1", frame(0xc1, "x")), broken("RSV2", frame(0xa1, "x")),
		broken("RSV3", frame(0x91, "x")),
		broken("RSV1 on a ping", frame(0xc9, "x")), broken("RSV2 on a close", frame(0xa8, "")),
		broken("RSV1 on a continuation", frame(0x01, "a"), frame(0xc0, "b")),
		// §5.2: the length.
		broken("highest length bit", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1}, mask, []byte{'x'}),
		broken("all length bits", []byte{0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255}, mask),
		{"length of 2^63-1", join([]byte{0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255}, mask),
			wsproto.MessageTooBig, 0},
		{"a byte over the limit", join([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1}, mask, []byte("xyz")), wsproto.MessageTooBig, 0},
		{"over the limit in fragments", join(frame(0x01, "ab"), []byte{0x80, 0xfe, 0xff, 0xff}, mask),
			wsproto.MessageTooBig, 0},
		broken("length of a ping in 16 bits", []byte{0x89, 0xfe, 0, 1}, mask, []byte{'x'}),
		broken("length of a pong in 64 bits", []byte{0x8a, 0xff, 0, 0, 0, 0, 0, 0, 0, 1}, mask,
			[]byte{'x'}),
		// §5.4: fragments.
		broken("continuation of nothing", frame(0x80, "x")),
		broken("fragment of nothing", frame(0x00, "x")),
		broken("continuation after the end", frame(0x01, "a"), frame(0x80, "b"), frame(0x80, "c")),
		broken("text inside a message", frame(0x01, "a"), frame(0x81, "b")),
		broken("binary inside a message", frame(0x02, "a"), frame(0x89, "p"), frame(0x82, "b")),
		broken("fragment of a new message inside a message", frame(0x02, "a"), frame(0x01, "b")),
		// §5.5: control frames are whole and short.
		broken("ping in fragments", frame(0x09, "x")), broken("pong in fragments", frame(0x0a, "x")),
		broken("close in fragments", frame(0x08, "")),
		broken("ping of 126 bytes", frame(0x89, strings.Repeat("x", 126))),
		broken("pong of 126 bytes", frame(0x8a, strings.Repeat("x", 126))),
		broken("close of 126 bytes", closingFrame(1000, strings.Repeat("x", 124))),
		broken("ping of 70,000 bytes", []byte{0x89, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70}, mask),
		// §5.5.1, §7.4: close frames.
		broken("close with one byte", frame(0x88, "x")),
		{"text is not UTF-8", frame(0x81, "\xff\xc0\x80"), wsproto.InvalidPayload, 0},
		{"text ends inside a character", frame(0x81, "a\xe2\x82"), wsproto.InvalidPayload, 0},
		{"length longer than needed", []byte{0x82, 0xfe, 0, 1, 1, 2, 3, 4, 'x'}, wsproto.ProtocolError,
			0},
		{"length much longer", []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 'x'},
			wsproto.ProtocolError, 0},
		{"reason is not UTF-8", closingFrame(1000, "\xc3\x28"), wsproto.InvalidPayload, 0},
		{"reason ends inside a character", closingFrame(1000, "ok\xe2\x82"), wsproto.InvalidPayload, 0},
		{"reason is a surrogate", closingFrame(1000, "\xed\xa0\x80"), wsproto.InvalidPayload, 0},
		{"reason in an overlong form", closingFrame(1000, "\xc0\x80"), wsproto.InvalidPayload, 0},
		{"close twice", join(closingFrame(1000, ""), closingFrame(1001, "")), wsproto.ClientClosed, 1000},
		{"data after close", join(closingFrame(4000, "bye"), frame(0x81, "more")), wsproto.ClientClosed,
			4000},
		{"junk after close", join(frame(0x88, ""), []byte{0xff, 0xff, 0xff}), wsproto.ClientClosed,
			wsproto.NoStatus},
		{"close inside a message", join(frame(0x01, "a"), closingFrame(1001, "")), wsproto.ClientClosed,
			1001},
		// Other protocols.
		broken("HTTP", []byte("GET / HTTP/1.1\r\n\r\n")),
		broken("TLS", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}),
		broken("zeros", make([]byte, 16)), broken("ones", bytes.Repeat([]byte{0xff}, 16)),
		broken("text", []byte("hello there")),
		// Too much data.
		{"flood of pings", bytes.Repeat(frame(0x89, strings.Repeat("p", 125)), 600),
			wsproto.TooMuchData, 0},
		{"flood of pongs", bytes.Repeat(frame(0x8a, strings.Repeat("p", 125)), 600),
			wsproto.TooMuchData, 0},
		{"flood of empty pings", bytes.Repeat(frame(0x89, ""), 12_000), wsproto.TooMuchData, 0},
		{"flood of text", bytes.Repeat(frame(0x81, strings.Repeat("t", 1000)), 80), wsproto.TooMuchData,
			0},
		{"flood of empty fragments", join(frame(0x01, ""), bytes.Repeat(frame(0x00, ""), 12_000)),
			wsproto.TooMuchData, 0},
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		all = append(all, broken(fmt.Sprintf("operation %d", op), frame(0x80|op, "x")))
	}
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000,
		65535} {
		all = append(all, broken(fmt.Sprintf("close code %d", code), closingFrame(code, "")))
	}
	return all
}

// odd is input that is unusual but allowed: the stream continues, and a ping after it is answered.
var odd = map[string][]byte{
	"binary":                     frame(0x82, "\x00\x01"),
	"empty fragments":            join(frame(0x01, ""), frame(0x00, ""), frame(0x80, "")),
	"ping inside a message":      join(frame(0x01, "a"), frame(0x89, "inside"), frame(0x80, "b")),
	"pong that nobody asked for": frame(0x8a, "so what"),
	"pong of a position to come": frame(0x8a, "000102030405060708090a0b0c0d0eff-99999999999999"),
	"text and control frames mix": join(frame(0x01, "a"), frame(0x8a, ""), frame(0x00, "b"),
		frame(0x89, ""), frame(0x80, "c"), frame(0x82, "")),
}

// taken waits until the worker has read all n bytes that were sent.
func taken(t testing.TB, theirs *net.TCPConn, n int) {
	t.Helper()
	raw, err := theirs.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Microsecond) {
		waiting, arrived := 0, uint64(0)
		raw.Control(func(fd uintptr) {
			if info, e := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); e == nil {
				arrived = info.Bytes_received
			}
			waiting, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		})
		switch {
		case err != nil:
			t.Fatal(err)
		case arrived >= uint64(n) && waiting == 0:
			return
		case time.Now().After(end):
			t.Fatalf("the worker has not read: %d of %d arrived, %d wait", arrived, n, waiting)
		}
	}
}

// splits returns divisions of b: whole, in two at every byte, and byte by byte; for long input, and
// in short mode, only some of them.
func splits(b []byte) (out [][]int) {
	out = append(out, nil)
	step := 1 + len(b)/200
	if testing.Short() {
		step += 4
	}
	for at := 1; at < len(b); at += step {
		out = append(out, []int{at})
		if len(b) > 1000 {
			at += len(b) / 3
		}
	}
	if len(b) <= 32 {
		var each []int
		for at := 1; at < len(b); at++ {
			each = append(each, at)
		}
		out = append(out, each)
	}
	return out
}

// closeRecorder is a wsproto.Handler that records whether a close frame came.
type closeRecorder struct{ closed bool }

func (*closeRecorder) Ping([]byte) error            { return nil }
func (*closeRecorder) Pong([]byte) error            { return nil }
func (c *closeRecorder) Close(uint16, []byte) error { c.closed = true; return nil }
func (*closeRecorder) Data(int, bool) error         { return nil }

// closes reports whether input holds a close frame; nothing after it is read.
func closes(input []byte) bool {
	var r wsproto.Reader
	var c closeRecorder
	return r.Feed(bytes.Clone(input), &c) == nil && c.closed
}

// assault is one connection that sends its bytes in pieces, each when the one before was read.
type assault struct {
	attack
	at     []int // where the bytes are cut
	answer bool  // the input is allowed: a ping "after" is answered, and the stream continues

	ours, theirs *net.TCPConn
	p            *peer
	sent         int
}

// runAssaults runs assaults in parallel, and checks the result of each.
func (b *bench) runAssaults(all []*assault) {
	b.t.Helper()
	byID := make(map[uint64]*assault)
	for _, a := range all {
		a.ours, a.theirs = dial(b.t, false)
		a.p = b.hand(a.ours, a.theirs, b.frames.Head(), nil)
		byID[a.p.id] = a
	}
	for piece, left := 0, true; left; piece++ {
		left = false
		for _, a := range all {
			if a.sent == len(a.bytes) {
				continue
			}
			end := len(a.bytes)
			if piece < len(a.at) {
				end = a.at[piece]
			}
			left = left || end < len(a.bytes)
			a.p.setDeadline()
			_, err := a.p.Write(a.bytes[a.sent:end])
			if gone := errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET); err != nil &&
				!(gone && closes(a.bytes[:a.sent])) {
				b.t.Errorf("%s, cut at %v: %v", a.name, a.at, err)
			}
			a.sent = end
		}
		for _, a := range all {
			if !closes(a.bytes[:a.sent]) {
				taken(b.t, a.theirs, a.sent)
			}
		}
	}
	for _, a := range all {
		a.theirs.Close()
		if err := a.check(); err != nil {
			b.t.Errorf("%s, cut at %v: %v", a.name, a.at, err)
		}
		a.p.Close()
	}
	for len(byID) > 0 {
		c := b.next(func(m handoff.Message) bool {
			return m.Closed != nil && byID[m.Closed.ID] != nil
		}).Closed
		if a := byID[c.ID]; c.Disconnect != a.why.Name {
			b.t.Errorf("%s, cut at %v: ended as %s, want %s", a.name, a.at, c.Disconnect, a.why.Name)
		}
		delete(byID, c.ID)
	}
}

// check checks what the client gets: whole frames in order, then the close frame, then the end; or,
// if the input is allowed, the pong and more frames.
func (a *assault) check() error {
	s := seen{next: -1}
	if a.answer {
		for first := -1; first < 0 || s.next <= first; {
			if err := s.read(a.p); err != nil || s.closed {
				return fmt.Errorf("it ended: %v, closed with %d", err, s.code)
			}
			if n := len(s.pongs); first < 0 && n > 0 && s.pongs[n-1] == "after" {
				first = s.next
			}
		}
		return nil
	}
	var err error
	for err == nil {
		err = s.read(a.p)
	}
	code := a.code
	if code == 0 {
		code = a.why.Code
	}
	// Bytes that the worker gets after a client's close frame may cause a reset.
	if reset := errors.Is(err, syscall.ECONNRESET); !errors.Is(err, io.EOF) &&
		!(reset && a.why == wsproto.ClientClosed) || !s.closed || s.code != code {
		return fmt.Errorf("close frame: %v, code %d, want %d; then %w", s.closed, s.code, code, err)
	}
	return nil
}

// Frames are sent to a client that breaks a rule, in any division of its input. It gets whole
// frames, then the close frame that the RFC demands, then the end. The other clients of the worker
// get everything.
func TestAttacks(t *testing.T) {
	// On a busy machine the pieces of an attack may come minutes apart. The worker must read them all.
	setCloseWait(t, time.Hour)
	// The witnesses answer no pings. The limits do not depend on how far apart the pieces come.
	b := start(t, handoff.Settings{
		PingIntervalMS: 3_600_000, PingTimeoutMS: 7_200_000, InputBytes: 64 << 10, InputRate: 1,
	}, framelog.Options{SegmentBytes: 8 << 20, RetainBytes: 256 << 20})
	r := b.flow(time.Millisecond)
	var witnesses sync.WaitGroup
	t.Cleanup(witnesses.Wait) // after a failure their connections are closed first
	for _, small := range []bool{false, true} {
		w := b.connect(0, nil, small)
		witnesses.Go(func() {
			s := seen{}
			for !s.closed {
				if err := s.read(w); err != nil {
					t.Errorf("a client that does nothing wrong, after frame %d: %v", s.next-1, err)
					return
				}
			}
			if all := int(r.count.Load()); s.next != all || s.code != wsproto.ServerShutdown.Code {
				t.Errorf("a client that does nothing wrong got %d of %d frames, then close code %d", s.next, all, s.code)
			}
			w.send(ws.OpClose, nil)
			w.Close()
		})
	}
	var all []*assault
	for _, a := range attacks() {
		for _, at := range splits(a.bytes) {
			all = append(all, &assault{attack: a, at: at})
		}
	}
	for name, bytes := range odd {
		bytes := join(bytes, frame(0x89, "after"))
		for _, at := range splits(bytes) {
			all = append(all, &assault{attack: attack{name, bytes, wsproto.ClientGone, 0}, at: at,
				answer: true})
		}
	}
	for few := range slices.Chunk(all, 64) {
		b.runAssaults(few)
	}
	r.end()
	why := wsproto.ServerShutdown.Name
	drain := handoff.Drain{Head: b.frames.Head(), WithinMS: 3_600_000, Disconnect: why}
	b.send(handoff.Message{Drain: &drain})
	witnesses.Wait()
	if err := <-b.ended; err != nil {
		t.Fatal(err)
	}
	b.ended = nil
	t.Logf("%d connections, %d frames", len(all), r.count.Load())
}

// setCloseWait sets closeWait. Call it before a worker is started.
func setCloseWait(t *testing.T, wait time.Duration) {
	before := closeWait
	closeWait = wait
	t.Cleanup(func() { closeWait = before })
}

// Half a frame, cut at every byte, has no effect: the client gets the stream until it leaves, with
// or without a reset.
func TestHalfFrames(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	r := b.flow(time.Millisecond)
	defer r.end()
	whole := join(frame(0x89, "half"), frame(0x81, strings.Repeat("x", 130)))
	for at := range len(whole) {
		if at > 20 && at < len(whole)-3 && at%20 != 0 {
			continue
		}
		ours, theirs := dial(t, false)
		p := b.hand(ours, theirs, b.frames.Head(), nil)
		if _, err := p.Write(whole[:at]); err != nil {
			t.Fatal(err)
		}
		taken(t, theirs, at)
		theirs.Close()
		s := seen{next: -1}
		for from := int(r.count.Load()); s.next <= from; {
			if err := s.read(p); err != nil || s.closed {
				t.Fatalf("after half a frame of %d bytes: %v", at, err)
			}
		}
		if at%2 == 0 {
			ours.SetLinger(0) // a reset
		}
		p.Close()
		b.closed(p.id, wsproto.ClientGone)
	}
}
