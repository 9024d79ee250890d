package worker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// vanish makes the other end of a connection one that is no longer there: a
// filter drops all that comes in before TCP sees it, so nothing is acknowledged
// and no reset is sent, as if a cable had been pulled.
func vanish(t testing.TB, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// kernelKnows tells whether this machine still has the socket from local to
// remote, in whatever state, though no process may have it.
func kernelKnows(t testing.TB, local, remote net.Addr) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	key := func(a net.Addr) string {
		addr := a.(*net.TCPAddr)
		return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(addr.IP.To4()), addr.Port)
	}
	return strings.Contains(string(table), key(local)+" "+key(remote)+" ")
}

// Peers that vanish are found out whether their sockets are full or not, and soon
// leave nothing behind in the kernel either, which by itself would
// keep what was sent last for minutes.
func TestVanishedPeers(t *testing.T) {
	b := start(t, handoff.Settings{PingIntervalMS: 200, PingTimeoutMS: 800}, framelog.Options{})
	b.append(10, 12<<20)
	full := b.connect(0, nil, true)
	full.want(b, 0, 1)
	vanish(t, full.Conn.(*net.TCPConn))
	busy := b.connect(b.frames.Head(), nil, false)
	b.publish(10)
	busy.want(b, 2, 3)
	vanish(t, busy.Conn.(*net.TCPConn))
	b.publish(100)
	ends := map[uint64]string{}
	for len(ends) < 2 {
		c := b.next(func(m handoff.Message) bool { return m.Closed != nil }).Closed
		ends[c.ID] = c.Disconnect
	}
	if ends[full.id] != wsproto.TooSlow.Name || ends[busy.id] != wsproto.PingTimeout.Name {
		t.Errorf("they ended as %v", ends)
	}
	for _, p := range []*peer{full, busy} {
		server, client := p.RemoteAddr(), p.LocalAddr()
		for end := time.Now().Add(30 * time.Second); kernelKnows(t, server, client); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the kernel still tries to reach one")
			}
		}
	}
}

// A peer that answers no ping is ended as a reader; one that does not read
// either, as one whose socket takes nothing.
func TestSilentPeers(t *testing.T) {
	b := start(t, handoff.Settings{PingIntervalMS: 200, PingTimeoutMS: 900}, framelog.Options{})
	b.append(6 << 20) // before they come: or they may be pinged when there is nothing to send yet
	reader, stalled := b.connect(0, nil, false), b.connect(0, nil, true)
	reader.wantClose(wsproto.PingTimeout.Code)
	reader.Close()
	ends := map[uint64]string{}
	for len(ends) < 2 {
		c := b.next(func(m handoff.Message) bool { return m.Closed != nil }).Closed
		ends[c.ID] = c.Disconnect
	}
	if ends[reader.id] != wsproto.PingTimeout.Name || ends[stalled.id] != wsproto.TooSlow.Name {
		t.Errorf("they ended as %v", ends)
	}
	// What the kernel held for it went with it.
	if _, err := io.Copy(io.Discard, stalled); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection given up inside a frame ended with %v", err)
	}
}

// later lets time pass, tick by tick, and looks after the sockets as the poller
// would.
func (h *handHeld) later(d time.Duration) {
	h.t.Helper()
	for end := h.now.Add(d); h.now.Before(end); {
		h.now = h.now.Add(tickEvery)
		h.tick()
	}
}

// bite has the peer of c read until its TCP has acknowledged something and c's socket has room. It
// may have room before, by what came in between.
func (h *handHeld) bite(c *client, ours *net.TCPConn) {
	h.t.Helper()
	ready := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
	before := h.queued(c)
	for n := 0; n == 0 || h.queued(c) >= before; n, _ = unix.Poll(ready, 0) {
		if _, err := io.CopyN(io.Discard, ours, 4096); err != nil {
			h.t.Fatal(err)
		}
	}
	h.clientEvent(c, unix.EPOLLOUT)
	if err := h.turn(); err != nil {
		h.t.Fatal(err)
	}
}

// One whose socket takes something now and then is not dead, though a ping of
// ours stands in the queue for longer than the timeout, behind data that the
// line is too thin for.
func TestThinLine(t *testing.T) {
	h := holdInHand(t)
	ours, theirs := dial(t, true)
	defer theirs.Close()
	h.append([]byte("first"))
	c := h.join(theirs, 0)
	h.later(time.Second) // it is pinged
	if c.unanswered.IsZero() {
		t.Fatal("not pinged")
	}
	h.append(bytes.Repeat([]byte("x"), 32<<20))
	h.later(tickEvery)
	timeout := time.Duration(h.settings.PingTimeoutMS) * time.Millisecond
	for range 10 {
		if !c.sendBlocked {
			t.Fatal("it took everything")
		}
		h.later(timeout * 2 / 3)
		if c.fd < 0 {
			t.Fatalf("cut off: %s", c.why.Name)
		}
		h.bite(c, ours)
	}
	h.later(timeout + time.Second)
	if m := h.told(func(m handoff.Message) bool { return m.Closed != nil }); m.Closed.Disconnect != wsproto.TooSlow.Name {
		t.Fatalf("when it takes no more: %+v", m.Closed)
	}
}

// One that takes a little now and then, so that its socket is never dead, is too
// slow when it is far behind; as one that is not far, it stays.
func TestTrickle(t *testing.T) {
	for _, behind := range []int{4 << 20, 24 << 20} {
		h := holdInHand(t)
		h.slow = slowRule{lag: 8 << 20, rate: 1 << 20, window: 5 * time.Minute}
		ours, theirs := dial(t, true)
		defer theirs.Close()
		for range behind / 50_000 {
			h.append(make([]byte, 50_000))
		}
		c := h.join(theirs, 0)
		h.later(tickEvery)
		for range 7 { // at 50 s each
			h.later(50 * time.Second)
			if c.fd < 0 || c.state == closing {
				break
			}
			h.bite(c, ours)
		}
		if far := uint64(behind) > h.slow.lag; !far {
			if c.state != blocked {
				m := h.told(func(m handoff.Message) bool { return m.Closed != nil })
				t.Errorf("not far behind: state %d, %+v", c.state, m.Closed)
			}
		} else if c.why != wsproto.TooSlow || !strings.HasPrefix(c.detail, "took ") {
			m := h.told(func(m handoff.Message) bool { return m.Closed != nil })
			t.Errorf("far behind: state %d, %v %q; %+v", c.state, c.why, c.detail, m.Closed)
		}
	}
}

// After a pause of the whole process, what has come meanwhile counts before the
// time that has passed.
func TestPauseIsForgiven(t *testing.T) {
	h := holdInHand(t)
	ours, theirs := dial(t, true)
	defer theirs.Close()
	h.append([]byte("first"))
	c := h.join(theirs, 0)
	h.later(time.Second)
	h.now = h.now.Add(time.Hour)
	h.tick()
	if c.state != live {
		t.Fatalf("cut off: %v", c.why)
	}
	if _, err := ours.Write(masked(ws.OpPong, nil)); err != nil {
		t.Fatal(err)
	}
	taken := func() bool { return c.unanswered.IsZero() }
	for end := time.Now().Add(2 * time.Minute); !taken() && time.Now().Before(end); {
		h.read(c)
	}
	h.later(10 * time.Second)
	if c.state != live {
		t.Fatalf("cut off although it had answered: %v", c.why)
	}
}

// A reload changes what clients that are there were given.
func TestLimitsReload(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, nil, false)
	b.send(handoff.Message{Settings: &handoff.Settings{PingIntervalMS: 25_000, PingTimeoutMS: 40_000, InputBytes: 4000, InputRate: 1000, LogLevel: "info"}})
	q := b.connect(0, nil, false) // has come behind the settings
	for _, p := range []*peer{p, q} {
		p.say(ws.OpText, make([]byte, 3900))
		p.say(ws.OpPing, nil)
		if h, _ := p.frame(); h.OpCode != ws.OpPong {
			t.Fatalf("%+v", h)
		}
	}
	p.Write([]byte{0x82, 0xfe, 0x0f, 0xa1, 1, 2, 3, 4}) // a message of 4001 bytes
	p.wantClose(wsproto.MessageTooBig.Code)
	q.say(ws.OpText, make([]byte, 3900))
	q.wantClose(wsproto.TooMuchData.Code)
}

// userTimeout is a socket's TCP_USER_TIMEOUT.
func userTimeout(t testing.TB, c *net.TCPConn) (ms int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

// The kernel's own timeout is for connections that we have closed: it also ends
// peers that take little and acknowledge it.
func TestUserTimeoutIsForTheEnd(t *testing.T) {
	h := holdInHand(t)
	ours, theirs := dial(t, false)
	defer theirs.Close() // the same socket: it tells what was set last
	c := h.join(theirs, 0)
	h.later(tickEvery)
	if ms := userTimeout(t, theirs); ms != 0 {
		t.Errorf("TCP_USER_TIMEOUT is %d ms for a client", ms)
	}
	ours.CloseWrite()
	for end := time.Now().Add(2 * time.Minute); c.fd >= 0 && time.Now().Before(end); {
		h.read(c)
	}
	if ms := userTimeout(t, theirs); ms != int(h.settings.PingTimeoutMS) {
		t.Errorf("TCP_USER_TIMEOUT is %d ms for one that is no more", ms)
	}
}

// queued is how many bytes the peer of c has not acknowledged.
func (h *handHeld) queued(c *client) int {
	h.t.Helper()
	n, err := unix.IoctlGetInt(c.fd, unix.SIOCOUTQ)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// dialThin is dial for a peer that takes little at a time: small segments, and a
// small receive buffer, so that it acknowledges a few thousand bytes at most
// whenever it reads.
func dialThin(t testing.TB) (ours, theirs *net.TCPConn) {
	t.Helper()
	ours, theirs = dialBy(t, &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		control := raw.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1400),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<10))
		})
		return errors.Join(control, err)
	}})
	theirs.SetWriteBuffer(1 << 20)
	return ours, theirs
}

// sip has the peer of c read until its TCP acknowledges something.
func (h *handHeld) sip(c *client, ours *net.TCPConn) {
	h.t.Helper()
	before := h.queued(c)
	if before == 0 {
		h.t.Fatal("nothing is queued")
	}
	for end := time.Now().Add(2 * time.Minute); h.queued(c) >= before; {
		ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := io.CopyN(io.Discard, ours, 1024)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end) {
			h.t.Fatalf("%d bytes are queued: %v", h.queued(c), err)
		}
	}
}

// stands waits until the kernel has sent c's peer all that this takes unread.
func (h *handHeld) stands(c *client) {
	h.t.Helper()
	last, since := h.queued(c), time.Now()
	for end := time.Now().Add(30 * time.Second); time.Since(since) < 100*time.Millisecond; time.Sleep(time.Millisecond) {
		if n := h.queued(c); n != last {
			last, since = n, time.Now()
		}
		if time.Now().After(end) {
			h.t.Fatal("the queue does not come to rest")
		}
	}
}

// A reader that is so slow that its socket never has room is not dead while its
// TCP acknowledges something.
func TestThinReader(t *testing.T) {
	h := holdInHand(t)
	ours, theirs := dialThin(t)
	defer theirs.Close()
	for range 100 {
		h.append(make([]byte, 50_000))
	}
	c := h.join(theirs, 0)
	h.later(tickEvery)
	timeout := h.pingTimeout()
	for range 5 {
		h.stands(c)
		h.later(timeout * 2 / 3)
		if c.fd < 0 || c.state != blocked {
			t.Fatalf("state %d: %v", c.state, c.why)
		}
		h.sip(c, ours)
	}
	h.stands(c)
	h.later(timeout + time.Second)
	if m := h.told(func(m handoff.Message) bool { return m.Closed != nil }); m.Closed.Disconnect != wsproto.TooSlow.Name {
		t.Fatalf("when it takes no more: %+v", m.Closed)
	}
}

// A ping is not unanswered while it stands in our own queue and the peer works
// that off; once it has come through, the timeout runs.
func TestPingBehindAQueue(t *testing.T) {
	h := holdInHand(t)
	ours, theirs := dialThin(t)
	defer theirs.Close()
	h.append(make([]byte, 150_000))
	c := h.join(theirs, 0)
	h.later(time.Second)
	if c.state != live || c.unanswered.IsZero() {
		t.Fatalf("state %d, pinged %v", c.state, !c.unanswered.IsZero())
	}
	timeout := h.pingTimeout()
	for range 3 {
		h.stands(c)
		h.later(timeout * 2 / 3)
		if c.state != live {
			t.Fatalf("state %d: %v", c.state, c.why)
		}
		h.sip(c, ours)
	}
	for h.queued(c) > 0 {
		h.sip(c, ours)
	}
	h.later(timeout / 2)
	if c.state != live {
		t.Fatalf("half of the timeout after the ping has come through: %v", c.why)
	}
	h.later(timeout)
	if c.why != wsproto.PingTimeout {
		t.Fatalf("in the end: state %d, %v", c.state, c.why)
	}
}
