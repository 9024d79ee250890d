package worker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// bench is a worker in this process with real surroundings: a frame log, a control channel, TCP
// sockets.
type bench struct {
	t       testing.TB
	frames  *framelog.Writer
	primary *handoff.Conn
	wake    int
	told    chan handoff.Message
	ended   chan error
	nextID  uint64
	notices bool // new clients ask for notices
	mu      sync.Mutex
	all     [][]byte // every frame appended; guarded by mu if clients read concurrently

	settings handoff.Settings // as sent to the worker
	grown    func()           // called when the frame log has grown
}

const response = "HTTP/1.1 101 Switching Protocols\r\n\r\n"

func start(t testing.TB, settings handoff.Settings, log framelog.Options) *bench {
	t.Helper()
	r, polled, err := os.Pipe() // opens the descriptors of the runtime's poller
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	polled.Close()
	before := descriptors(t)
	log.Dir = t.TempDir()
	log.Log = slog.New(slog.DiscardHandler)
	w, _, err := framelog.OpenWriter(log)
	if err != nil {
		t.Fatal(err)
	}
	primary, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	control, err := unix.Dup(int(theirs.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	workerWake, err := unix.Dup(wake)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		t: t, frames: w, primary: primary, wake: wake,
		told: make(chan handoff.Message, 1000), ended: make(chan error, 1),
	}
	go func() {
		b.ended <- Run(Options{Control: control, Wake: workerWake, Log: slog.New(slog.DiscardHandler)})
	}()
	received := make(chan struct{})
	go func() {
		defer close(received)
		for {
			m, err := primary.Receive()
			if err != nil {
				return
			}
			b.told <- m
		}
	}()
	t.Cleanup(func() {
		primary.Close()
		<-received
		if b.ended != nil {
			if err := <-b.ended; err != nil {
				t.Error(err)
			}
		}
		unix.Close(wake)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		end := time.Now().Add(time.Minute)
		for ; descriptors(t) != before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("%d descriptors before, %d after", before, descriptors(t))
				break
			}
		}
	})
	settings.FrameLog = log.Dir
	settings.LogLevel = "info"
	if settings.InputBytes == 0 {
		settings.InputBytes, settings.InputRate = 64<<10, 16<<10
	}
	if settings.PingIntervalMS == 0 {
		settings.PingIntervalMS, settings.PingTimeoutMS = 25000, 60000
	}
	b.settings = settings
	b.send(handoff.Message{Settings: &settings})
	if m := b.next(isReady); m.Ready.PID != os.Getpid() {
		t.Fatalf("%+v", m.Ready)
	}
	return b
}

func descriptors(t testing.TB) int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func (b *bench) send(m handoff.Message) {
	b.t.Helper()
	if err := b.primary.Send(m, time.Minute); err != nil {
		b.t.Fatal(err)
	}
}

// The messages that tests wait for.
func isReady(m handoff.Message) bool     { return m.Ready != nil }
func isConfirmed(m handoff.Message) bool { return m.Confirmed != nil }
func isClosed(m handoff.Message) bool    { return m.Closed != nil }

// next waits for a message of the worker to the primary.
func (b *bench) next(want func(handoff.Message) bool) handoff.Message {
	b.t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case m := <-b.told:
			if want(m) {
				return m
			}
		case <-deadline:
			b.t.Fatal("the worker did not send the message")
		}
	}
}

// closed waits until the worker reports the end of client id, and checks the reason.
func (b *bench) closed(id uint64, why wsproto.Disconnect) handoff.Closed {
	b.t.Helper()
	c := *b.next(func(m handoff.Message) bool { return m.Closed != nil && m.Closed.ID == id }).Closed
	if c.Disconnect != why.Name {
		b.t.Fatalf("client ended with %+v, want %s", c, why.Name)
	}
	return c
}

// append appends and commits frames of the given payload sizes, without a wake-up.
func (b *bench) append(sizes ...int) {
	b.t.Helper()
	for _, n := range sizes {
		payload := make([]byte, n)
		for i := range payload {
			payload[i] = byte('a' + (i+len(b.all))%26)
		}
		b.appendText(payload)
	}
}

func (b *bench) appendText(payloads ...[]byte) {
	b.t.Helper()
	for _, payload := range payloads {
		frame := wsproto.AppendTextFrame(nil, payload)
		if err := b.frames.Append(frame, framelog.Meta{Stream: 1, Cycle: -1, Time: 1}); err != nil {
			b.t.Fatal(err)
		}
		if err := b.frames.Commit(); err != nil {
			b.t.Fatal(err)
		}
		b.mu.Lock()
		b.all = append(b.all, frame)
		b.mu.Unlock()
	}
}

func (b *bench) ring() {
	one := binary.NativeEndian.AppendUint64(nil, 1)
	if _, err := unix.Write(b.wake, one); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) publish(sizes ...int) {
	b.t.Helper()
	b.append(sizes...)
	b.ring()
}

func (b *bench) publishText(payloads ...[]byte) {
	b.t.Helper()
	b.appendText(payloads...)
	b.ring()
	b.grown()
}

// What clients may negotiate.
var (
	deflated            = handoff.Negotiated{Deflate: true}
	deflatedWithNotices = handoff.Negotiated{Deflate: true, Notices: true}
)

// peer is the collector's end of a connection.
type peer struct {
	net.Conn
	id    uint64
	t     testing.TB
	pings [][]byte
}

func (b *bench) connect(from uint64, early []byte, small bool) *peer {
	b.t.Helper()
	ours, theirs := dial(b.t, small)
	defer theirs.Close()
	return b.hand(ours, theirs, from, early)
}

// join connects the client c, with a new socket.
func (b *bench) join(c handoff.Client, small bool) *peer {
	b.t.Helper()
	ours, theirs := dial(b.t, small)
	defer theirs.Close()
	return b.give(ours, theirs, c)
}

// dial makes a connection. It returns the collector's end and the end to hand over.
func dial(t testing.TB, small bool) (ours, theirs *net.TCPConn) {
	t.Helper()
	ours, theirs = dialBy(t, &net.Dialer{})
	if small { // small buffers, which fill soon
		ours.SetReadBuffer(64 << 10)
		theirs.SetWriteBuffer(64 << 10)
	}
	return ours, theirs
}

func dialBy(t testing.TB, d *net.Dialer) (ours, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return out.(*net.TCPConn), in.(*net.TCPConn)
}

// hand gives the worker a duplicate of theirs, and waits for the 101.
func (b *bench) hand(ours, theirs *net.TCPConn, from uint64, early []byte) *peer {
	b.t.Helper()
	return b.give(ours, theirs, handoff.Client{
		From: from, Early: early, Negotiated: handoff.Negotiated{Notices: b.notices},
	})
}

func (b *bench) give(ours, theirs *net.TCPConn, c handoff.Client) *peer {
	b.t.Helper()
	raw, err := theirs.SyscallConn()
	if err != nil {
		b.t.Fatal(err)
	}
	b.nextID++
	c.ID, c.Key, c.Response = b.nextID, fmt.Sprint("key-", b.nextID), []byte(response)
	raw.Control(func(fd uintptr) { err = b.primary.SendClient(c, int(fd), time.Minute) })
	if err != nil {
		b.t.Fatal(err)
	}
	p := &peer{Conn: ours, id: b.nextID, t: b.t}
	p.setDeadline()
	got := make([]byte, len(response))
	if _, err := io.ReadFull(p, got); err != nil || string(got) != response {
		b.t.Fatalf("instead of the 101: %q %v", got, err)
	}
	return p
}

// setDeadline sets a deadline of a minute for what p does next.
func (p *peer) setDeadline() { _ = p.SetDeadline(time.Now().Add(time.Minute)) }

// frame reads one frame, with its header.
func (p *peer) frame() (ws.Header, []byte) {
	p.t.Helper()
	h, payload, err := p.tryFrame()
	if err != nil {
		p.t.Fatal(err)
	}
	return h, payload
}

func (p *peer) tryFrame() (ws.Header, []byte, error) {
	p.setDeadline()
	h, err := ws.ReadHeader(p)
	if err != nil {
		return h, nil, err
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(p, payload)
	return h, payload, err
}

// data reads up to the next data frame. It keeps and answers pings.
func (p *peer) data() []byte {
	p.t.Helper()
	for {
		h, payload := p.frame()
		switch h.OpCode {
		case ws.OpText:
			if !h.Fin || h.Masked {
				p.t.Fatalf("bad header %+v", h)
			}
			return payload
		case ws.OpPing:
			p.pings = append(p.pings, payload)
			p.send(ws.OpPong, payload)
		default:
			p.t.Fatalf("unexpected frame %+v %q", h, payload)
		}
	}
}

// send sends a masked frame.
func (p *peer) send(op ws.OpCode, payload []byte) {
	p.t.Helper()
	if _, err := p.Write(masked(op, payload)); err != nil {
		p.t.Fatal(err)
	}
}

func masked(op ws.OpCode, payload []byte) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, true, bytes.Clone(payload))))
}

// want reads data frames, and compares them with the frames from…to-1.
func (p *peer) want(b *bench, from, to int) {
	p.t.Helper()
	for i := from; i < to; i++ {
		if got := p.data(); !bytes.HasSuffix(b.all[i], got) ||
			len(wsproto.AppendTextHeader(nil, len(got)))+len(got) != len(b.all[i]) {
			p.t.Fatalf("frame %d of client %d differs", i, p.id)
		}
	}
}

// wantClose reads up to a close frame, and checks its code.
func (p *peer) wantClose(code uint16) {
	p.t.Helper()
	for {
		h, payload := p.frame()
		if h.OpCode != ws.OpClose {
			continue
		}
		if len(payload) < 2 || binary.BigEndian.Uint16(payload) != code {
			p.t.Fatalf("closed with %v, want %d", payload, code)
		}
		return
	}
}

func (p *peer) wantEnd() {
	p.t.Helper()
	if _, err := io.Copy(io.Discard, p); err != nil && !strings.Contains(err.Error(), "reset") {
		p.t.Fatalf("connection did not end: %v", err)
	}
}

func TestLiveAndFromEarlier(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	b.publish(10, 200, 70000)
	early := b.connect(0, nil, false)
	late := b.connect(b.frames.Head(), nil, false)
	b.publish(5, 300000, 1)
	early.want(b, 0, 6)
	late.want(b, 3, 6)
}

func TestEarlyBytesAndPingPong(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, masked(ws.OpPing, []byte("at once")), false)
	if h, payload := p.frame(); h.OpCode != ws.OpPong || string(payload) != "at once" {
		t.Fatalf("%+v %q", h, payload)
	}
	p.send(ws.OpText, []byte("ignored"))
	p.send(ws.OpPing, nil)
	if h, payload := p.frame(); h.OpCode != ws.OpPong || len(payload) != 0 {
		t.Fatalf("%+v %q", h, payload)
	}
	p.Close()
	if c := b.closed(p.id, wsproto.ClientGone); c.Messages != 1 {
		t.Fatalf("%+v", c)
	}
}

func TestClientCloses(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	for _, code := range []uint16{1000, 1001, 4000, wsproto.NoStatus} {
		p := b.connect(0, nil, false)
		var body []byte
		if code != wsproto.NoStatus {
			body = ws.NewCloseFrameBody(ws.StatusCode(code), "bye")
		}
		p.send(ws.OpClose, body)
		h, payload := p.frame()
		if h.OpCode != ws.OpClose || !bytes.Equal(payload, body[:min(2, len(body))]) {
			t.Fatalf("%d: %+v %v", code, h, payload)
		}
		p.wantEnd()
		b.closed(p.id, wsproto.ClientClosed)
	}
}

// The close frame for a displaced connection is sent between data frames, also if the socket is
// full in the middle of one.
func TestPrimaryClosesBetweenFrames(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, nil, true)
	b.publish(5 << 20)
	b.next(func(m handoff.Message) bool { return m.Stats != nil && m.Stats.Blocked == 1 })
	b.send(handoff.Message{
		Close: &handoff.Close{ID: p.id, Disconnect: wsproto.DuplicateConnection.Name},
	})
	p.want(b, 0, 1)
	p.wantClose(1000)
	p.send(ws.OpClose, ws.NewCloseFrameBody(1000, ""))
	p.wantEnd()
	b.closed(p.id, wsproto.DuplicateConnection)
	// A Close for a client that has ended has no effect.
	b.send(handoff.Message{Close: &handoff.Close{ID: p.id, Disconnect: "too_slow"}})
	q := b.connect(b.frames.Head(), nil, false)
	b.publish(7)
	q.want(b, 1, 2)
}

func TestPositionPings(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, nil, false)
	b.publish(100, 100)
	p.want(b, 0, 2)
	h, payload := p.frame()
	pos, err := wsproto.ParsePosition(payload)
	if h.OpCode != ws.OpPing || err != nil || pos.Offset != b.frames.Head() ||
		pos.Log != b.frames.ID() {
		t.Fatalf("%+v %q %v", h, payload, err)
	}
	p.send(ws.OpPong, payload)
	if m := b.next(isConfirmed); len(m.Confirmed) != 1 ||
		m.Confirmed[0] != (handoff.Confirmed{ID: p.id, Offset: b.frames.Head()}) {
		t.Fatalf("%+v", m.Confirmed)
	}
	p.send(ws.OpPong, []byte("says nothing"))
	pos.Offset++ // more than was sent
	p.send(ws.OpPong, []byte(pos.String()))
	p.send(ws.OpClose, nil)
	if c := b.closed(p.id, wsproto.ClientClosed); c.Acked != b.frames.Head() ||
		c.Sent != b.frames.Head() {
		t.Fatalf("%+v", c)
	}
}

// A late pong confirms the offset that it says, not what was sent since.
func TestLatePong(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, nil, false)
	b.publish(100)
	p.want(b, 0, 1)
	h, first := p.frame()
	if h.OpCode != ws.OpPing {
		t.Fatalf("%+v", h)
	}
	at := b.frames.Head()
	b.publish(100)
	p.want(b, 1, 2) // so the frame is sent, and the cursor is after it
	p.send(ws.OpPong, first)
	if m := b.next(isConfirmed); m.Confirmed[0].Offset != at {
		t.Fatalf("%+v, where %d was confirmed of %d", m.Confirmed, at, b.frames.Head())
	}
	p.send(ws.OpClose, nil)
	if c := b.closed(p.id, wsproto.ClientClosed); c.Acked != at {
		t.Fatalf("%+v", c)
	}
}

// Many confirmations are sent in few messages, each of which fits a packet.
func TestManyConfirmations(t *testing.T) {
	l := &loop{control: -1, wake: -1, armed: true}
	const clients = 2*handoff.MaxConfirmed + 1
	for i := range clients {
		c := &client{id: 1<<62 + uint64(i), fd: 1, acked: 1<<63 + uint64(i)}
		l.confirm(c)
		l.confirm(c) // counts once
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	l.control = fds[0]
	l.sendConfirmed()
	buf := make([]byte, handoff.MaxMessage)
	told := 0
	for range 3 {
		m, _, err := handoff.Receive(fds[1], buf)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range m.Confirmed {
			if f != (handoff.Confirmed{ID: 1<<62 + uint64(told), Offset: 1<<63 + uint64(told)}) {
				t.Fatalf("%d: %+v", told, f)
			}
			told++
		}
	}
	if _, _, err := handoff.Receive(fds[1], buf); !errors.Is(err, handoff.ErrAgain) ||
		told != clients || len(l.confirmed) != 0 || l.failure != nil {
		t.Fatalf("%d told, then %v; %v", told, err, l.failure)
	}
}

func TestKeepAliveAndPingTimeout(t *testing.T) {
	b := start(t, handoff.Settings{PingIntervalMS: 300, PingTimeoutMS: 900}, framelog.Options{})
	p := b.connect(0, nil, false)
	for range 3 { // while it answers, it stays
		h, payload := p.frame()
		if h.OpCode != ws.OpPing {
			t.Fatalf("%+v", h)
		}
		p.send(ws.OpPong, payload)
	}
	p.wantClose(wsproto.PingTimeout.Code) // no longer answered
	p.Close()
	b.closed(p.id, wsproto.PingTimeout)
}

// A client that does not read costs nothing and delays no other client. When it reads again it gets
// everything.
func TestStalledClient(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{SegmentBytes: 8 << 20, RetainBytes: 128 << 20})
	stalled := b.connect(0, nil, true)
	reading := b.connect(0, nil, false)
	done := make(chan struct{})
	const records = 600
	go func() {
		defer close(done)
		for i := range records {
			if got := reading.data(); len(got) != 50000+i {
				t.Errorf("record %d has %d bytes", i, len(got))
				return
			}
		}
	}()
	for i := range records {
		b.publish(50000 + i)
	}
	<-done
	if s := b.next(func(m handoff.Message) bool {
		return m.Stats != nil && m.Stats.Blocked == 1
	}).Stats; s.Clients != 2 || s.MinCursor == 0 || s.MinCursor >= b.frames.Head() {
		t.Fatalf("%+v", s)
	}
	stalled.want(b, 0, records)
}

func TestBehindFloor(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{SegmentBytes: 4 << 20, RetainBytes: 8 << 20})
	p := b.connect(0, nil, true)
	for range 40 {
		b.publish(1 << 20)
	}
	c := b.closed(p.id, wsproto.BehindFloor)
	if c.Sent >= b.frames.Floor() {
		t.Fatalf("%+v with the floor at %d", c, b.frames.Floor())
	}
}

func TestDrain(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	slow := b.connect(0, nil, true)
	fast := b.connect(0, nil, false)
	b.publish(4<<20, 10)
	fast.want(b, 0, 2)
	b.send(handoff.Message{Drain: &handoff.Drain{Head: b.frames.Head(), WithinMS: 20000,
		Disconnect: wsproto.ServerShutdown.Name}})
	fast.wantClose(wsproto.ServerShutdown.Code)
	fast.send(ws.OpClose, ws.NewCloseFrameBody(ws.StatusCode(wsproto.ServerShutdown.Code), ""))
	slow.want(b, 0, 2)
	slow.wantClose(wsproto.ServerShutdown.Code)
	slow.send(ws.OpClose, ws.NewCloseFrameBody(ws.StatusCode(wsproto.ServerShutdown.Code), ""))
	if err := <-b.ended; err != nil {
		t.Fatal(err)
	}
	b.ended = nil
}

func TestDrainHasAnEnd(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, nil, true)
	b.publish(6 << 20) // never read
	b.send(handoff.Message{Drain: &handoff.Drain{Head: b.frames.Head(), WithinMS: 100,
		Disconnect: wsproto.ServerShutdown.Name}})
	b.closed(p.id, wsproto.ServerShutdown)
	if err := <-b.ended; err != nil {
		t.Fatal(err)
	}
	b.ended = nil
}

func TestPrimaryGone(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, nil, false)
	b.primary.Close()
	p.wantEnd()
}

func TestFrameLogMissing(t *testing.T) {
	primary, theirs, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	control, _ := unix.Dup(int(theirs.Fd()))
	theirs.Close()
	wake, _ := unix.Eventfd(0, unix.EFD_NONBLOCK)
	settings := handoff.Settings{FrameLog: t.TempDir() + "/none"}
	if err := primary.Send(handoff.Message{Settings: &settings}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := Run(Options{Control: control, Wake: wake,
		Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "frame log") {
		t.Fatalf("got %v", err)
	}
}

// Many clients read at random speeds, send and leave at random, while frames of random sizes are
// written. Each gets every frame from its start on, byte for byte, and only valid control frames
// between them.
func TestRandomClients(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	b := start(t, handoff.Settings{PingIntervalMS: 200, PingTimeoutMS: 30000},
		framelog.Options{SegmentBytes: 4 << 20, RetainBytes: 512 << 20})
	const records, clients = 300, 24
	var sizes [records]int
	for i := range sizes {
		switch r.IntN(20) {
		case 0:
			sizes[i] = r.IntN(1 << 20)
		default:
			sizes[i] = r.IntN(12000)
		}
	}
	type result struct {
		id  uint64
		err error
	}
	results := make(chan result, clients)
	join := make([]int, clients)
	for i := range join {
		join[i] = r.IntN(records)
	}
	for i := range records {
		for c, at := range join {
			if at != i {
				continue
			}
			p := b.connect(b.frames.Head(), nil, r.IntN(2) == 0)
			seed := r.Uint64()
			go func() {
				results <- result{p.id, b.follow(p, rand.New(rand.NewPCG(seed, uint64(c))), i, records)}
			}()
		}
		b.append(sizes[i])
		if r.IntN(3) > 0 {
			b.ring()
		}
	}
	b.ring()
	for range clients {
		if res := <-results; res.err != nil {
			t.Errorf("client %d: %v", res.id, res.err)
		}
	}
}

// follow is one client of TestRandomClients. The size and content of a frame follow from its
// number.
func (b *bench) follow(p *peer, r *rand.Rand, from, to int) error {
	for i := from; i < to; {
		if r.IntN(30) == 0 {
			time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
		}
		if r.IntN(10) == 0 {
			if _, err := p.Write(masked(ws.OpPing, []byte(fmt.Sprint(r.IntN(1000))))); err != nil {
				return err
			}
		}
		h, payload, err := p.tryFrame()
		if err != nil {
			return fmt.Errorf("frame %d: %w", i, err)
		}
		switch h.OpCode {
		case ws.OpText:
			for k := range payload {
				if payload[k] != byte('a'+(k+i)%26) {
					return fmt.Errorf("frame %d differs at %d", i, k)
				}
			}
			i++
		case ws.OpPing:
			if _, err := p.Write(masked(ws.OpPong, payload)); err != nil {
				return err
			}
		case ws.OpPong:
		default:
			return fmt.Errorf("frame %d: unexpected %+v %q", i, h, payload)
		}
	}
	_, err := p.Write(masked(ws.OpClose, nil))
	return err
}
