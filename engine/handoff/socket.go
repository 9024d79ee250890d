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

// bufferBytes is the size that is requested for the socketpair's buffers. It holds a few hundred
// clients, so that a worker that is busy sending does not delay the gateway.
const bufferBytes = 1 << 20

// Pair makes a channel. It returns the primary's end, and the file to give to the worker process as
// an extra descriptor. The caller closes both.
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

// Send sends one message. It waits up to timeout until the channel takes it. Safe for many
// goroutines. After an error the channel cannot be used any more.
func (c *Conn) Send(m Message, timeout time.Duration) error { return c.send(m, timeout) }

// SendClient sends a Client message with fd, the descriptor of its socket. The worker gets a
// duplicate, so the caller closes fd when SendClient has returned.
func (c *Conn) SendClient(cl Client, fd int, timeout time.Duration) error {
	return c.send(Message{Client: &cl}, timeout, fd)
}

// SendProfile sends a Profile message with fd, the descriptor of its socket, as SendClient does.
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

// Receive waits for the next message. It returns io.EOF when the worker has ended. Only one
// goroutine at a time may call it.
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

// Close ends the channel. A worker that still runs then exits.
func (c *Conn) Close() error { return c.unix.Close() }

// ErrAgain is returned by Receive and Send on a bare descriptor if they would have to wait.
var ErrAgain = errors.New("handoff: would block")

// ErrNoDescriptor is returned by Receive, with the message, if the process had no free descriptor
// for the one that came with it. That socket is lost.
var ErrNoDescriptor = errors.New("handoff: no descriptor left for a socket that was passed")

// Receive reads one message at the worker's end, without waiting. The second result is the
// descriptor that came with a Client or Profile message, close-on-exec and owned by the caller, or
// -1. Receive returns io.EOF when the primary has ended. buf is scratch space of MaxMessage bytes.
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

// Send sends one encoded message at the worker's end, without waiting. It returns ErrAgain if the
// channel is full, io.EOF when the primary has ended, or another error if the kernel lacks memory,
// for example. After that the caller may try again, but no event says when.
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
