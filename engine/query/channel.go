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

	"distributor/engine/ipc"
)

// dialWithin is how long passing a connection to the query process may take. A request's own time
// is usually shorter.
const dialWithin = 10 * time.Second

// The connections between primary and query process are socket pairs. The primary passes one end of
// each over a channel. Nothing has a name in a file system, so no other process can come between.

// channel is the primary's end. It passes one connection at a time, so a query process that takes
// none costs the descriptors of one, for any number of waiting requests.
type channel struct {
	conn    *net.UnixConn
	passing chan struct{} // capacity 1: held while a connection is passed
}

// newChannel makes a channel. It also returns the file to give to the query process.
func newChannel() (*channel, *os.File, error) {
	ours, theirs, err := ipc.Pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	return &channel{ours, make(chan struct{}, 1)}, theirs, nil
}

// dial makes a connection to the query process, within dialWithin.
func (c *channel) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	select {
	case c.passing <- struct{}{}:
		defer func() { <-c.passing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("query: pass a connection: others wait before this one: %w", ctx.Err())
	}
	ours, theirs, err := ipc.Pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	late, _ := ctx.Deadline()
	err = ipc.Send(c.conn, []byte{0}, late, int(theirs.Fd()))
	_ = theirs.Close() // the query process has a duplicate
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("query: pass a connection: %w", err)
	}
	return ours, nil
}

func (c *channel) close() { _ = c.conn.Close() }

// acceptor is the query process's end, as a listener. Accept returns io.EOF when the primary has
// ended.
type acceptor struct{ conn *net.UnixConn }

func newAcceptor(f *os.File) (*acceptor, error) {
	conn, err := ipc.Conn(f)
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
	fd, err := ipc.Descriptor(oob[:oobn])
	if err == nil && fd < 0 {
		err = errors.New("a packet without a descriptor")
	}
	if err != nil {
		return nil, fmt.Errorf("query: accept: %w", err)
	}
	unix.CloseOnExec(fd)
	return ipc.Conn(os.NewFile(uintptr(fd), "query-connection"))
}

func (a *acceptor) Close() error { return a.conn.Close() }

func (a *acceptor) Addr() net.Addr { return a.conn.LocalAddr() }
