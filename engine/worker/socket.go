package worker

import (
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
	// userTimeoutMargin after our own deadlines the kernel's has come, so that
	// a connection that we still know ends with a reason of ours.
	userTimeoutMargin = closeWait + time.Second
)

// tune gives a client the limits of the settings. TCP_USER_TIMEOUT is for what we cannot see: a
// connection that we have closed, with the last bytes on their way to a peer
// that is no longer there, would live for minutes. Neither option can fail on
// a TCP socket.
func (l *loop) tune(c *client) {
	c.reader.MaxMessage = int64(l.settings.InputBytes)
	timeout := time.Duration(l.settings.PingTimeoutMS)*time.Millisecond + userTimeoutMargin
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
}

// closeSocket closes the socket of a client. When that has not taken all that
// was begun (a frame, or the close frame), nothing of what the kernel holds for
// it can be of use: it is given up with the connection, by a reset, or clients
// that stall, are dropped and come back could fill memory with it.
func closeSocket(c *client) {
	if c.full || len(c.out) > 0 {
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	_ = unix.Close(c.fd)
}
