package worker

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// unsentBytes is about how much the kernel takes for a client beyond what
	// is on its way (TCP_NOTSENT_LOWAT). Without it a send buffer grows to what
	// tcp_wmem allows, 4 MiB, for a client that has stopped reading as well:
	// memory that is of use to nobody, and minutes of a thin line that a ping or a
	// close frame stands behind. A limit on what is not sent yet leaves the
	// kernel free to keep as much under way as a long line needs, which
	// SO_SNDBUF would not.
	unsentBytes = 256 << 10
	// maxParting bounds the descriptors of connections that are over.
	maxParting = 256
)

// limitUnsent sets unsentBytes, which cannot fail on a TCP socket.
func limitUnsent(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
}

// observe asks the kernel how much the peer has acknowledged, and reports
// whether that is more than before. The peer is alive then. The ping timeout's
// clock starts anew while the ping stands behind what the peer has taken, and
// while the socket is full: a peer that takes its time is not a silent one.
func (c *client) observe(now time.Time) bool {
	unacknowledged, err := unix.IoctlGetInt(c.fd, unix.SIOCOUTQ)
	if err != nil {
		return false // the socket is in an error state: the next send says which
	}
	taken := c.written - min(c.written, uint64(unacknowledged))
	if taken <= c.taken {
		return false
	}
	if !c.unanswered.IsZero() && (c.sendBlocked || c.taken < c.pingEnd) {
		c.unanswered = now
	}
	c.taken, c.progress = taken, now
	return true
}

// part ends a connection on which both close frames are out: the primary is told
// so, and our side is shut down. The socket stays until the peer has shut down its
// side, or for closeWait. Closing it earlier would answer any input with a reset, which
// destroys what the peer has not read yet, the close frame included.
func (l *loop) part(c *client) {
	_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	l.forget(c, c.why, c.detail)
	if c.ended {
		l.release(c)
		return
	}
	c.parted = true
	if l.drain == nil { // else all is to be over by the deadline that there is
		c.deadline = l.now.Add(closeWait)
	}
	l.parting = append(l.parting, c)
	l.limitParting()
}

// limitParting closes the oldest sockets of l.parting where there are too many,
// or clients need their descriptors.
func (l *loop) limitParting() {
	for len(l.parting) > 0 && len(l.parting) > min(maxParting, room()-len(l.clients)) {
		l.release(l.parting[0])
	}
}

// waitForEnd ends a client that is closing when its time is over. While the peer
// acknowledges what it was sent, the deadline moves on, up to the ping timeout: our
// close frame may stand behind what a thin line takes a while for.
func (l *loop) waitForEnd(c *client) {
	if c.observe(l.now) && l.drain == nil && !c.inputClosed && l.now.Before(c.closeBy) {
		c.deadline = l.now.Add(closeWait)
	}
	if l.now.After(c.deadline) {
		l.drop(c, c.why, c.detail)
	}
}

// release closes the socket of c. When that has not taken all that was begun (a
// frame, or the close frame), nothing of what the kernel holds for it can be of
// use: it is given up with the connection, by a reset, or clients that stall, are
// dropped and come back could fill memory with it. Else the kernel goes on for the
// ping timeout at most, where the peer does not answer (TCP_USER_TIMEOUT), not
// for the minutes that it would. A live connection must not have that option: the
// kernel also ends peers by it that take little and acknowledge that.
func (l *loop) release(c *client) {
	if c.sendBlocked || len(c.pendingOutput) > 0 {
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	} else {
		_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
			int(l.settings.PingTimeoutMS))
	}
	// The primary may still hold a duplicate, so closing alone does not end the watch.
	_ = l.poller.Delete(c.fd)
	_ = unix.Close(c.fd)
	l.byFD[c.fd] = nil
	c.fd, c.pendingOutput, c.pong = -1, nil, nil
	if c.parted {
		at := slices.Index(l.parting, c)
		l.parting = slices.Delete(l.parting, at, at+1)
	}
}
