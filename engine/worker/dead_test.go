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

// vanish makes the peer of a connection disappear: a filter drops all its input before TCP sees it.
// So nothing is acknowledged and no reset is sent, as if a cable had been pulled.
func vanish(t testing.TB, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: 1, Filter: &drop[0]})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// kernelKnows tells whether this machine still has the socket from local to remote, in any state,
// even if no process has it open.
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

// Peers that vanish are detected whether their sockets are full or not. Soon after that the kernel
// has dropped their connections too; by itself it would keep the last data for minutes.
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
		c := b.next(isClosed).Closed
		ends[c.ID] = c.Disconnect
	}
	if ends[full.id] != wsproto.TooSlow.Name || ends[busy.id] != wsproto.PingTimeout.Name {
		t.Errorf("got the disconnects %v", ends)
	}
	for _, p := range []*peer{full, busy} {
		server, client := p.RemoteAddr(), p.LocalAddr()
		for end := time.Now().Add(30 * time.Second); kernelKnows(t, server,
			client); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the kernel still tries to reach one")
			}
		}
	}
}

// A peer that reads but answers no ping ends with PingTimeout. A peer that does not read either
// ends with TooSlow.
func TestSilentPeers(t *testing.T) {
	b := start(t, handoff.Settings{PingIntervalMS: 200, PingTimeoutMS: 900}, framelog.Options{})
	b.append(6 << 20) // before they connect, so that there is data to send before the first ping
	reader, stalled := b.connect(0, nil, false), b.connect(0, nil, true)
	reader.wantClose(wsproto.PingTimeout.Code)
	reader.Close()
	ends := map[uint64]string{}
	for len(ends) < 2 {
		c := b.next(isClosed).Closed
		ends[c.ID] = c.Disconnect
	}
	if ends[reader.id] != wsproto.PingTimeout.Name || ends[stalled.id] != wsproto.TooSlow.Name {
		t.Errorf("got the disconnects %v", ends)
	}
	// The kernel's data for the client was discarded.
	if _, err := io.Copy(io.Discard, stalled); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection given up inside a frame ended with %v", err)
	}
}

// later lets time pass, tick by tick, and delivers the sockets' events as the poller would.
func (h *manualLoop) later(d time.Duration) {
	h.t.Helper()
	for end := h.now.Add(d); h.now.Before(end); {
		h.now = h.now.Add(tickEvery)
		h.tick()
	}
}

// readUntilWritable has the peer of c read until its TCP has acknowledged something, and c's socket
// is writable. It may be writable before, because of earlier reads.
func (h *manualLoop) readUntilWritable(c *client, ours *net.TCPConn) {
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

// A client whose socket takes something now and then is not dead, even if a ping waits in the queue
// for longer than the timeout, behind data that the link is too slow for.
func TestSlowLinkIsNotDead(t *testing.T) {
	h := newManualLoop(t)
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
		h.readUntilWritable(c, ours)
	}
	h.later(timeout + time.Second)
	if m := h.sentToPrimary(isClosed); m.Closed.Disconnect != wsproto.TooSlow.Name {
		t.Fatalf("when it takes no more: %+v", m.Closed)
	}
}

// A client that reads a little now and then, so that its socket is never dead, is too slow if it is
// far behind. If it is not far behind, it stays.
func TestTrickle(t *testing.T) {
	for _, behind := range []int{4 << 20, 24 << 20} {
		h := newManualLoop(t)
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
			h.readUntilWritable(c, ours)
		}
		if far := uint64(behind) > h.slow.lag; !far {
			if c.state != blocked {
				m := h.sentToPrimary(isClosed)
				t.Errorf("not far behind: state %d, %+v", c.state, m.Closed)
			}
		} else if c.why != wsproto.TooSlow || !strings.HasPrefix(c.detail, "took ") {
			m := h.sentToPrimary(isClosed)
			t.Errorf("far behind: state %d, %v %q; %+v", c.state, c.why, c.detail, m.Closed)
		}
	}
}

// After a pause of the whole process, the input that came meanwhile is handled before the timeouts
// are checked.
func TestInputAfterAPauseCountsFirst(t *testing.T) {
	h := newManualLoop(t)
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

// A reload changes the limits of existing clients.
func TestLimitsReload(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	p := b.connect(0, nil, false)
	b.send(handoff.Message{Settings: &handoff.Settings{PingIntervalMS: 25_000, PingTimeoutMS: 40_000,
		InputBytes: 4000, InputRate: 1000, LogLevel: "info"}})
	q := b.connect(0, nil, false) // the worker has the settings when this client is connected
	for _, p := range []*peer{p, q} {
		p.send(ws.OpText, make([]byte, 3900))
		p.send(ws.OpPing, nil)
		if h, _ := p.frame(); h.OpCode != ws.OpPong {
			t.Fatalf("%+v", h)
		}
	}
	p.Write([]byte{0x82, 0xfe, 0x0f, 0xa1, 1, 2, 3, 4}) // a message of 4001 bytes
	p.wantClose(wsproto.MessageTooBig.Code)
	q.send(ws.OpText, make([]byte, 3900))
	q.wantClose(wsproto.TooMuchData.Code)
}

// userTimeout returns a socket's TCP_USER_TIMEOUT.
func userTimeout(t testing.TB, c *net.TCPConn) (ms int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) {
			ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP,
				unix.TCP_USER_TIMEOUT)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

// TCP_USER_TIMEOUT is set only on connections that we have closed, because it also ends peers that
// read slowly.
func TestUserTimeoutIsForTheEnd(t *testing.T) {
	h := newManualLoop(t)
	ours, theirs := dial(t, false)
	defer theirs.Close() // the same socket, so its options can be read
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

// queued returns how many bytes the peer of c has not acknowledged.
func (h *manualLoop) queued(c *client) int {
	h.t.Helper()
	n, err := unix.IoctlGetInt(c.fd, unix.SIOCOUTQ)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// dialSlow is dial for a peer that reads slowly. It has small segments and a small receive buffer,
// so it acknowledges at most a few thousand bytes whenever it reads.
func dialSlow(t testing.TB) (ours, theirs *net.TCPConn) {
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

// readUntilAcknowledged has the peer of c read until its TCP acknowledges something.
func (h *manualLoop) readUntilAcknowledged(c *client, ours *net.TCPConn) {
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

// waitUntilSent waits until the kernel has sent all that c's peer takes without reading.
func (h *manualLoop) waitUntilSent(c *client) {
	h.t.Helper()
	last, since := h.queued(c), time.Now()
	end := time.Now().Add(30 * time.Second)
	for ; time.Since(since) < 100*time.Millisecond; time.Sleep(time.Millisecond) {
		if n := h.queued(c); n != last {
			last, since = n, time.Now()
		}
		if time.Now().After(end) {
			h.t.Fatal("the queue does not come to rest")
		}
	}
}

// A reader that is so slow that its socket is never writable is not dead while its TCP acknowledges
// something.
func TestSlowReaderIsNotDead(t *testing.T) {
	h := newManualLoop(t)
	ours, theirs := dialSlow(t)
	defer theirs.Close()
	for range 100 {
		h.append(make([]byte, 50_000))
	}
	c := h.join(theirs, 0)
	h.later(tickEvery)
	timeout := h.pingTimeout()
	for range 5 {
		h.waitUntilSent(c)
		h.later(timeout * 2 / 3)
		if c.fd < 0 || c.state != blocked {
			t.Fatalf("state %d: %v", c.state, c.why)
		}
		h.readUntilAcknowledged(c, ours)
	}
	h.waitUntilSent(c)
	h.later(timeout + time.Second)
	if m := h.sentToPrimary(isClosed); m.Closed.Disconnect != wsproto.TooSlow.Name {
		t.Fatalf("when it takes no more: %+v", m.Closed)
	}
}

// A ping does not count as unanswered while it waits in our own queue and the peer reads that
// queue.
// When the ping has been received, the timeout runs.
func TestPingBehindAQueue(t *testing.T) {
	h := newManualLoop(t)
	ours, theirs := dialSlow(t)
	defer theirs.Close()
	h.append(make([]byte, 150_000))
	c := h.join(theirs, 0)
	h.later(time.Second)
	if c.state != live || c.unanswered.IsZero() {
		t.Fatalf("state %d, pinged %v", c.state, !c.unanswered.IsZero())
	}
	timeout := h.pingTimeout()
	for range 3 {
		h.waitUntilSent(c)
		h.later(timeout * 2 / 3)
		if c.state != live {
			t.Fatalf("state %d: %v", c.state, c.why)
		}
		h.readUntilAcknowledged(c, ours)
	}
	for h.queued(c) > 0 {
		h.readUntilAcknowledged(c, ours)
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
