package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// lingerTimeout is how long a connection that we close is read from. The kernel answers input that
// nobody has read with a reset, which overtakes our last answer.
const lingerTimeout = time.Second

// lingerBytes is how much input is read then: an upload that does not end is cut.
const lingerBytes = 32 << 20

// watched is a connection of the server's. It knows what the server does not tell: whether the next
// request is on its way, and whether all input was read.
type watched struct {
	*net.TCPConn
	ours  atomic.Bool // a handler has the request, and writes the answer
	used  atomic.Bool // it has had a request
	ended atomic.Bool // no input can come any more, or nobody waits for it: Close closes at once
	input input       // used by one goroutine at a time: the server's, or the one that it reads in

	mu      sync.Mutex // guards what follows
	busy    bool       // bytes of a request came that is not answered; empty lines are none
	since   time.Time  // when it was not busy any more
	retired bool       // closed for writing while it was idle: input is thrown away
}

func newWatched(c *net.TCPConn) *watched { return &watched{TCPConn: c, since: time.Now()} }

// ownAnswer notes that a handler has r, the request on conn. If r has no body, the server may be
// reading already.
func ownAnswer(conn net.Conn, r *http.Request) {
	if w, ok := conn.(*watched); ok {
		if r.Body != http.NoBody {
			w.input.body = r.ContentLength
		}
		w.ours.Store(true)
		w.used.Store(true)
	}
}

// expectRequest notes that conn's request is answered.
func expectRequest(conn net.Conn) {
	if w, ok := conn.(*watched); ok {
		w.ours.Store(false)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.busy, w.since = w.input.waits(), time.Now()
	}
}

// endInput has Close close conn at once.
func endInput(conn net.Conn) {
	if w, ok := conn.(*watched); ok {
		w.ended.Store(true)
	}
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.input.read(w.TCPConn, b)
	if err != nil && !isTimeout(err) {
		w.ended.Store(true)
	}
	if n > 0 && w.receive() {
		return 0, io.EOF
	}
	return n, err
}

// receive notes that input came, and reports whether it is too late.
func (w *watched) receive() (late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = true
	return w.retired
}

// retire closes the connection if it has been idle for so long, and no request is in the socket.
// The server's goroutine reads on until the client closes as well, or lingerTimeout.
func (w *watched) retire(idle time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy || w.retired || time.Since(w.since) < idle || hasInput(w.TCPConn) {
		return
	}
	w.retired = true
	_ = w.CloseWrite()
	_ = w.TCPConn.SetReadDeadline(time.Now().Add(lingerTimeout))
}

// SetReadDeadline is the server's. It has no say any more when the connection is retired: the
// server's goroutine may only now begin with it, and would keep it for as long as a request may
// take.
func (w *watched) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.retired {
		return nil
	}
	return w.TCPConn.SetReadDeadline(t)
}

// Close says that no more comes from us, and waits until the client has closed too.
func (w *watched) Close() error {
	if !w.ended.Load() {
		linger(w.TCPConn)
	}
	return w.TCPConn.Close()
}

func (w *watched) Write(b []byte) (int, error) {
	if !w.ours.Load() {
		if answer := replaceCanned(b, w.input.head); answer != nil {
			if _, err := w.TCPConn.Write(answer); err != nil {
				return 0, err
			}
			return len(b), nil
		}
	}
	return w.TCPConn.Write(b)
}

// linger closes for writing, and reads what still comes, until the client has closed too, or
// lingerTimeout or lingerBytes are over.
func linger(c *net.TCPConn) {
	if c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTimeout)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c, lingerBytes))
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// hasInput reports whether bytes have come that nobody has read.
func hasInput(c *net.TCPConn) bool {
	var one [1]byte
	n := 0
	control(c, func(fd int) { n, _, _ = unix.Recvfrom(fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT) })
	return n > 0
}

// Of the states of a TCP connection, these are from before the client has closed its end.
const (
	tcpEstablished = 1
	tcpSynReceived = 3
)

// peerClosed reports whether a client has closed its connection, or has gone: also while input is
// unread.
func peerClosed(conn net.Conn) bool {
	w, ok := conn.(*watched)
	if !ok {
		return false
	}
	closed := false
	control(w.TCPConn, func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		closed = err == nil && info.State != tcpEstablished && info.State != tcpSynReceived
	})
	return closed
}

func control(c *net.TCPConn, f func(fd int)) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
