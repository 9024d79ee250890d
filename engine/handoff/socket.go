package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/ipc"
)

// bufferBytes is asked for as the socketpair's buffers: room for a few
// hundred clients in flight, so that a worker that is busy sending does not
// hold up the gateway.
const bufferBytes = 1 << 20

// Pair makes a channel: the primary's end, and the file to give to the worker
// process as an extra descriptor. The caller closes both.
func Pair() (*Conn, *os.File, error) {
	ours, theirs, err := ipc.Pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	// Best effort: the kernel's limit may be lower.
	_ = ours.SetWriteBuffer(bufferBytes)
	_ = unix.SetsockoptInt(int(theirs.Fd()), unix.SOL_SOCKET, unix.SO_SNDBUF, bufferBytes)
	return &Conn{unix: ours, buf: make([]byte, MaxMessage)}, theirs, nil
}

// Conn is the primary's end of a channel.
type Conn struct {
	unix *net.UnixConn
	buf  []byte // of Receive
}

// Send writes one message, waiting up to timeout for room. Safe for many
// goroutines. After an error the worker is of no more use.
func (c *Conn) Send(m Message, timeout time.Duration) error { return c.send(m, timeout) }

// SendClient writes a Client message with its socket's descriptor. The
// descriptor stays the caller's, who closes it when SendClient has returned:
// the worker has a duplicate then.
func (c *Conn) SendClient(cl Client, fd int, timeout time.Duration) error {
	return c.send(Message{Client: &cl}, timeout, fd)
}

// SendProfile writes a Profile message with its socket's descriptor, as
// SendClient does.
func (c *Conn) SendProfile(fd int, timeout time.Duration) error {
	return c.send(Message{Profile: &Profile{}}, timeout, fd)
}

func (c *Conn) send(m Message, timeout time.Duration, fds ...int) error {
	b, err := Encode(m)
	if err != nil {
		return err
	}
	if err := ipc.Send(c.unix, b, time.Now().Add(timeout), fds...); err != nil {
		return fmt.Errorf("handoff: send: %w", err)
	}
	return nil
}

// Receive waits for the next message; io.EOF when the worker has gone. One
// goroutine only.
func (c *Conn) Receive() (Message, error) {
	n, err := ipc.Receive(c.unix, c.buf)
	if errors.Is(err, io.EOF) {
		return Message{}, io.EOF
	}
	if err != nil {
		return Message{}, fmt.Errorf("handoff: receive: %w", err)
	}
	return Decode(c.buf[:n])
}

// Close ends the channel: a worker that still lives exits.
func (c *Conn) Close() error { return c.unix.Close() }

// ErrAgain is returned by Receive and Send on a bare descriptor when they
// would have to wait.
var ErrAgain = errors.New("handoff: would block")

// ErrNoDescriptor is returned by Receive, with the message, when the process had
// no descriptor left for the one that came with it: that socket is lost.
var ErrNoDescriptor = errors.New("handoff: no descriptor left for a socket that was passed")

// Receive reads one message from the worker's end without waiting. The second
// result is the descriptor that came with a Client or Profile, close-on-exec, owned by
// the caller; -1 without one. io.EOF when the primary has gone. buf is
// scratch of MaxMessage bytes.
func Receive(fd int, buf []byte) (Message, int, error) {
	var oob [64]byte // room for one descriptor and to spare
	var n, oobn, flags int
	var err error
	for {
		n, oobn, flags, _, err = unix.Recvmsg(fd, buf, oob[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.EAGAIN):
		return Message{}, -1, ErrAgain
	case errors.Is(err, unix.ECONNRESET) || (err == nil && n == 0):
		return Message{}, -1, io.EOF
	case err != nil:
		return Message{}, -1, fmt.Errorf("handoff: receive: %w", err)
	}
	client, err := ipc.Descriptor(oob[:oobn])
	if err != nil {
		return Message{}, -1, err
	}
	if flags&unix.MSG_TRUNC != 0 {
		closeDescriptor(client)
		return Message{}, -1, ErrTooBig
	}
	m, err := Decode(buf[:n])
	if err != nil {
		closeDescriptor(client)
		return Message{}, -1, err
	}
	if flags&unix.MSG_CTRUNC != 0 && client < 0 {
		return m, -1, ErrNoDescriptor
	}
	if (m.Client != nil || m.Profile != nil) != (client >= 0) {
		closeDescriptor(client)
		return Message{}, -1, errors.New("handoff: receive: a message and its descriptor did not come together")
	}
	return m, client, nil
}

// Send writes one encoded message from the worker's end without waiting. It
// returns ErrAgain, io.EOF when the primary has gone, or what the kernel lacks just
// now (memory, say): then trying again is worth while, but nothing tells when.
func Send(fd int, packet []byte) error {
	for {
		switch err := unix.Sendto(fd, packet, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil); err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			return ErrAgain
		case unix.EPIPE, unix.ECONNRESET:
			return io.EOF
		default:
			return fmt.Errorf("handoff: send: %w", err)
		}
	}
}

func closeDescriptor(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}
