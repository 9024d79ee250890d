package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The connections between primary and query process are socket pairs, of which the primary passes one end over a
// channel: nothing has a name in a file system, so no other process can come between.

// channel is the primary's end.
type channel struct{ conn *net.UnixConn }

// newChannel makes a channel, and the file to give to the query process.
func newChannel() (*channel, *os.File, error) {
	ours, theirs, err := pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	return &channel{ours}, os.NewFile(uintptr(theirs), "query-channel"), nil
}

// dial makes a connection to the query process.
func (c *channel) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs, err := pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	_, _, err = c.conn.WriteMsgUnix([]byte{0}, unix.UnixRights(theirs), nil)
	_ = unix.Close(theirs) // it has been given away
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("query: pass a connection: %w", err)
	}
	return ours, nil
}

func (c *channel) close() { _ = c.conn.Close() }

// acceptor is the query process's end, as a listener. Accept gives io.EOF when the primary has gone.
type acceptor struct{ conn *net.UnixConn }

func newAcceptor(f *os.File) (*acceptor, error) {
	conn, err := fileConn(f)
	if err != nil {
		return nil, err
	}
	return &acceptor{conn}, nil
}

func (a *acceptor) Accept() (net.Conn, error) {
	var one [1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := a.conn.ReadMsgUnix(one[:], oob)
	if err != nil {
		return nil, fmt.Errorf("query: accept: %w", err)
	}
	if n == 0 {
		return nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("query: accept: %d control messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("query: accept: %d descriptors: %w", len(fds), err)
	}
	unix.CloseOnExec(fds[0])
	return fileConn(os.NewFile(uintptr(fds[0]), "query-connection"))
}

func (a *acceptor) Close() error { return a.conn.Close() }

func (a *acceptor) Addr() net.Addr { return a.conn.LocalAddr() }

// pair gives our end, ready for use, and the other's descriptor, which is the caller's.
func pair(kind int) (ours *net.UnixConn, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("query: socketpair: %w", err)
	}
	if ours, err = fileConn(os.NewFile(uintptr(fds[0]), "query-connection")); err != nil {
		_ = unix.Close(fds[1])
	}
	return ours, fds[1], err
}

// fileConn takes f over.
func fileConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close() // FileConn works on a duplicate
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("query: channel: %w", err)
	}
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("query: channel: no Unix socket"), c.Close())
	}
	return unixConn, nil
}
