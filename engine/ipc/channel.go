package ipc

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

// Pair makes a socketpair of a kind (unix.SOCK_SEQPACKET, unix.SOCK_STREAM). It returns this
// process's end, and the file to give to the other process. The caller closes both.
func Pair(kind int) (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("ipc: socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "channel")
	ours, err := Conn(os.NewFile(uintptr(fds[0]), "channel"))
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// Conn returns f, one end of a Pair, as a connection. It closes f.
func Conn(f *os.File) (*net.UnixConn, error) {
	defer f.Close() // FileConn works on a duplicate
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("ipc: channel: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("ipc: channel: a %T is no Unix socket", c)
	}
	return u, nil
}

// Send sends a packet, with duplicates of the descriptors fds. If the channel is full it waits
// until late.
func Send(c *net.UnixConn, packet []byte, late time.Time, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := c.SetWriteDeadline(late); err != nil {
		return err
	}
	_, _, err := c.WriteMsgUnix(packet, rights, nil)
	return err
}

// Receive reads one packet without a descriptor into buf, and returns its length. It returns io.EOF
// when the other side has ended.
func Receive(c *net.UnixConn, buf []byte) (int, error) {
	n, _, _, _, err := c.ReadMsgUnix(buf, nil)
	if errors.Is(err, syscall.ECONNRESET) {
		// The other side left packets unread. The kernel reports that once, before its last packets.
		n, _, _, _, err = c.ReadMsgUnix(buf, nil)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || err == nil && n == 0 {
		return 0, io.EOF
	}
	return n, err
}

// Descriptor returns the first descriptor in a control message, -1 without one, and closes all
// others.
func Descriptor(control []byte) (int, error) {
	if len(control) == 0 {
		return -1, nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return -1, fmt.Errorf("ipc: control message: %w", err)
	}
	first := -1
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // it passes no descriptors
		}
		for _, fd := range fds {
			if first < 0 {
				first = fd
			} else {
				_ = unix.Close(fd)
			}
		}
	}
	return first, nil
}
