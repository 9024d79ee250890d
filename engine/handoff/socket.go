package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bufferBytes is asked for as the socketpair's buffers: room for a few
// hundred clients in flight, so that a worker that is busy sending does not
// hold up the gateway.
const bufferBytes = 1 << 20

// Pair makes a channel: the primary's end, and the file to give to the worker
// process as an extra descriptor. The caller closes both.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("handoff: socketpair: %w", err)
	}
	for _, fd := range fds {
		// Best effort: the kernel's limit may be lower.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bufferBytes)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "handoff-primary"), os.NewFile(uintptr(fds[1]), "handoff-worker")
	c, err := net.FileConn(ours)
	_ = ours.Close() // FileConn works on a duplicate
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("handoff: socketpair: %w", err)
	}
	return &Conn{unix: c.(*net.UnixConn), buf: make([]byte, MaxMessage)}, theirs, nil
}

// Conn is the primary's end of a channel.
type Conn struct {
	unix *net.UnixConn
	buf  []byte // of Receive
}

// Send writes one message, waiting up to timeout for room. Safe for many
// goroutines. After an error the worker is of no more use.
func (c *Conn) Send(m Message, timeout time.Duration) error { return c.send(m, nil, timeout) }

// SendClient writes a Client message with its socket's descriptor. The
// descriptor stays the caller's, who closes it when SendClient has returned:
// the worker has a duplicate then.
func (c *Conn) SendClient(cl Client, fd int, timeout time.Duration) error {
	return c.send(Message{Client: &cl}, unix.UnixRights(fd), timeout)
}

// SendProfile writes a Profile message with its socket's descriptor, as
// SendClient does.
func (c *Conn) SendProfile(fd int, timeout time.Duration) error {
	return c.send(Message{Profile: &Profile{}}, unix.UnixRights(fd), timeout)
}

func (c *Conn) send(m Message, oob []byte, timeout time.Duration) error {
	b, err := Encode(m)
	if err != nil {
		return err
	}
	if err := c.unix.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return fmt.Errorf("handoff: send: %w", err)
	}
	if _, _, err := c.unix.WriteMsgUnix(b, oob, nil); err != nil {
		return fmt.Errorf("handoff: send: %w", err)
	}
	return nil
}

// Receive waits for the next message; io.EOF when the worker has gone. One
// goroutine only.
func (c *Conn) Receive() (Message, error) {
	n, _, _, _, err := c.unix.ReadMsgUnix(c.buf, nil)
	if errors.Is(err, syscall.ECONNRESET) {
		// It has gone without having read all that we sent. The kernel says so
		// once, and before the worker's last words.
		n, _, _, _, err = c.unix.ReadMsgUnix(c.buf, nil)
	}
	switch {
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || (err == nil && n == 0):
		return Message{}, io.EOF
	case err != nil:
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
	client, err := descriptor(oob[:oobn])
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

func descriptor(oob []byte) (int, error) {
	if len(oob) == 0 {
		return -1, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, fmt.Errorf("handoff: control message: %w", err)
	}
	client := -1
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // not a passing of descriptors
		}
		for _, fd := range fds {
			if client < 0 {
				client = fd
			} else {
				closeDescriptor(fd) // never more than one is sent
			}
		}
	}
	return client, nil
}

func closeDescriptor(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}
