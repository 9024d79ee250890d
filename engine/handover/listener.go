package handover

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Listener is the public listener. While it is paused, nothing is accepted, and new connections
// wait in the kernel's backlog: for this process, if it resumes, or for another one that has the
// socket.
type Listener struct {
	*net.TCPListener

	mu       sync.Mutex    // guards the fields below
	resumed  chan struct{} // closed by Resume; nil: not paused
	closed   bool
	inside   int       // running calls of TCPListener.Accept
	returned sync.Cond // signalled when one of these calls returns
}

// Pause stops accepting. When it returns, no Accept is about to return a connection. It may be
// called only when the listener is not paused.
func (l *Listener) Pause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resumed, l.returned.L = make(chan struct{}), &l.mu
	err := l.SetDeadline(time.Unix(1, 0))
	for err == nil && l.inside > 0 {
		l.returned.Wait()
	}
	return err
}

// Resume ends a Pause. It may be called only when the listener is paused.
func (l *Listener) Resume() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	err := l.SetDeadline(time.Time{})
	close(l.resumed)
	l.resumed = nil
	return err
}

// Accept waits while the listener is paused.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		l.enter()
		c, err := l.TCPListener.Accept()
		l.mu.Lock()
		l.inside--
		l.returned.Broadcast()
		l.mu.Unlock()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
	}
}

// enter waits until the listener is not paused, or closed.
func (l *Listener) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.resumed != nil && !l.closed {
		resumed := l.resumed
		l.mu.Unlock()
		<-resumed
		l.mu.Lock()
	}
	l.inside++
}

// Close ends Accept, also while the listener is paused.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resumed != nil && !l.closed {
		close(l.resumed) // it stays paused: Accept finds the socket closed
	}
	l.closed = true
	return l.TCPListener.Close()
}
