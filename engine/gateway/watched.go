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

// lingerTimeout is how long the gateway reads from a connection that it closes. The kernel answers
// unread input with a reset, which would overtake our last answer.
const lingerTimeout = time.Second

// lingerBytes is how much input is read then: an endless upload is cut.
const lingerBytes = 32 << 20

// watched is a connection of the HTTP server. It knows what the server does not report: whether the
// next request is on its way, and whether all input was read.
type watched struct {
	*net.TCPConn
	ours  atomic.Bool // a handler has the request and writes the answer
	used  atomic.Bool // the connection has had a request
	ended atomic.Bool // no more input can come, or nobody waits for it: Close closes at once
	input input       // used by one goroutine at a time: the server's, or the one in which it reads

	mu      sync.Mutex // guards what follows
	busy    bool       // bytes of an unanswered request came; empty lines do not count
	since   time.Time  // since when the connection is not busy
	retired bool       // closed for writing while idle: input is discarded
}

func newWatched(c *net.TCPConn) *watched { return &watched{TCPConn: c, since: time.Now()} }

// ownAnswer records that a handler has r, the request on conn. If r has no body, the server may be
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

// expectRequest records that conn's request is answered.
func expectRequest(conn net.Conn) {
	if w, ok := conn.(*watched); ok {
		w.ours.Store(false)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.busy, w.since = w.input.waits(), time.Now()
	}
}

// endInput makes Close close conn at once.
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

// receive records that input came, and reports whether it is too late.
func (w *watched) receive() (late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = true
	return w.retired
}

// retire closes the connection if it has been idle for this long and no request is in the socket.
// The server's goroutine reads until the client closes too, or until lingerTimeout.
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

// SetReadDeadline is called by the server. It has no effect on a retired connection: the server's
// goroutine may only now begin to read, and would keep the connection for as long as a request may
// take.
func (w *watched) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.retired {
		return nil
	}
	return w.TCPConn.SetReadDeadline(t)
}

// Close closes for writing and waits until the client has closed too, unless input has ended.
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

// linger closes for writing, and reads input until the client has closed too, or until
// lingerTimeout or lingerBytes is reached.
func linger(c *net.TCPConn) {
	if c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTimeout)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c, lingerBytes))
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// hasInput reports whether unread bytes are in the socket.
func hasInput(c *net.TCPConn) bool {
	var one [1]byte
	n := 0
	control(c, func(fd int) { n, _, _ = unix.Recvfrom(fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT) })
	return n > 0
}

// States of a TCP connection before the client has closed its end.
const (
	tcpEstablished = 1
	tcpSynReceived = 3
)

// peerClosed reports whether a client has closed its connection or has gone, even while input is
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
