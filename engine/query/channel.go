package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// dialWithin is how long passing a connection to the query process may take. A request's own time
// is usually over sooner.
const dialWithin = 10 * time.Second

// The connections between primary and query process are socket pairs, of which the primary passes one end over a
// channel: nothing has a name in a file system, so no other process can come between.

// channel is the primary's end. It passes one connection at a time, so that a query process that
// takes none costs the descriptors of one, however many wait.
type channel struct {
	conn    *net.UnixConn
	passing chan struct{} // capacity 1: held while a connection is passed
}

// newChannel makes a channel, and the file to give to the query process.
func newChannel() (*channel, *os.File, error) {
	ours, theirs, err := pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	return &channel{ours, make(chan struct{}, 1)}, os.NewFile(uintptr(theirs), "query-channel"), nil
}

// dial makes a connection to the query process, within dialWithin.
func (c *channel) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	select {
	case c.passing <- struct{}{}:
		defer func() { <-c.passing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("query: pass a connection: others wait as well: %w", ctx.Err())
	}
	ours, theirs, err := pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	late, _ := ctx.Deadline()
	_ = c.conn.SetWriteDeadline(late) // fails only if it is closed, as the write does then
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
