package worker

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// unsentBytes is about how much the kernel takes for a client beyond what is already in
	// flight (TCP_NOTSENT_LOWAT). Without it a send buffer grows to the limit of tcp_wmem, 4 MiB,
	// also for a client that has stopped reading. That is memory without use, and on a slow link
	// a ping or a close frame waits behind it for minutes. Other than SO_SNDBUF, this limit
	// leaves the kernel free to keep as much in flight as a long link needs.
	unsentBytes = 256 << 10
	// maxParting bounds how many sockets wait for the peer's end.
	maxParting = 256
)

// limitUnsent sets unsentBytes, which cannot fail on a TCP socket.
func limitUnsent(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
}

// observe asks the kernel how many bytes the peer has acknowledged, and tells whether that grew. If
// it grew, the peer is alive. Then the ping timeout starts anew if the peer has not acknowledged
// the ping yet, or if the socket is full: such a peer is slow, not silent.
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

// part ends a connection on which both close frames were sent. It reports the end to the primary
// and shuts down our side. The socket stays open until the peer has shut down its side, or for
// closeWait. Closing it earlier would answer any input with a reset, which destroys what the peer
// has not read yet, the close frame included.
func (l *loop) part(c *client) {
	_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	l.forget(c, c.why, c.detail)
	if c.ended {
		l.release(c)
		return
	}
	c.parted = true
	if l.drain == nil { // a drain has set the last deadline already
		c.deadline = l.now.Add(closeWait)
	}
	l.parting = append(l.parting, c)
	l.limitParting()
}

// limitParting closes the oldest sockets of l.parting while there are too many, or while clients
// need their descriptors.
func (l *loop) limitParting() {
	for len(l.parting) > 0 && len(l.parting) > min(maxParting, slots()-len(l.clients)) {
		l.release(l.parting[0])
	}
}

// waitForEnd drops a closing client when its deadline has passed. While the peer acknowledges data,
// the deadline moves, up to the ping timeout, because on a slow link our close frame waits behind
// that data.
func (l *loop) waitForEnd(c *client) {
	if c.observe(l.now) && l.drain == nil && !c.inputClosed && l.now.Before(c.closeBy) {
		c.deadline = l.now.Add(closeWait)
	}
	if l.now.After(c.deadline) {
		l.drop(c, c.why, c.detail)
	}
}

// release closes the socket of c. If the socket has not taken all of a frame or of the close frame,
// the kernel's data for it is useless: a reset discards it, or else clients that stall, are dropped
// and reconnect could fill memory with it. Otherwise, if the peer does not answer, the kernel keeps
// the connection for the ping timeout at most (TCP_USER_TIMEOUT), instead of minutes. A live
// connection must not have that option, because with it the kernel also resets peers that read
// slowly.
func (l *loop) release(c *client) {
	if c.sendBlocked || len(c.pendingOutput) > 0 {
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	} else {
		_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
			int(l.settings.PingTimeoutMS))
	}
	// The primary may still hold a duplicate, so closing does not end the poller's watch.
	_ = l.poller.Delete(c.fd)
	_ = unix.Close(c.fd)
	l.byFD[c.fd] = nil
	c.fd, c.pendingOutput, c.pong = -1, nil, nil
	if c.parted {
		at := slices.Index(l.parting, c)
		l.parting = slices.Delete(l.parting, at, at+1)
	}
}
