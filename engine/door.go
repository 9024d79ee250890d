package engine

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// door is the public listener. While it is shut, nothing is accepted, and who
// connects waits in the socket's backlog: for this process, if it opens again, or
// for another one that has the socket too.
type door struct {
	*net.TCPListener

	mu     sync.Mutex    // guards what follows
	opened chan struct{} // closed when it is opened again; nil: it is open
	over   bool
	inside int       // calls of the listener's Accept
	left   sync.Cond // told when one of them returns
}

// shut may be called when it is open. When it returns, nothing is accepted any
// more: an Accept that was about to has done so.
func (d *door) shut() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened, d.left.L = make(chan struct{}), &d.mu
	err := d.SetDeadline(time.Unix(1, 0))
	for err == nil && d.inside > 0 {
		d.left.Wait()
	}
	return err
}

// open may be called when it is shut.
func (d *door) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return net.ErrClosed
	}
	err := d.SetDeadline(time.Time{})
	close(d.opened)
	d.opened = nil
	return err
}

// Accept waits while it is shut.
func (d *door) Accept() (net.Conn, error) {
	for {
		d.enter()
		c, err := d.TCPListener.Accept()
		d.mu.Lock()
		d.inside--
		d.left.Broadcast()
		d.mu.Unlock()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
	}
}

// enter waits until it is open, or over.
func (d *door) enter() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.opened != nil && !d.over {
		opened := d.opened
		d.mu.Unlock()
		<-opened
		d.mu.Lock()
	}
	d.inside++
}

// Close ends Accept as well when it is shut.
func (d *door) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opened != nil && !d.over {
		close(d.opened) // it stays shut: Accept finds the socket closed
	}
	d.over = true
	return d.TCPListener.Close()
}
