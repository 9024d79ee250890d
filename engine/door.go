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
}

// shut may be called when it is open.
func (d *door) shut() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened = make(chan struct{})
	return d.SetDeadline(time.Unix(1, 0))
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
		c, err := d.TCPListener.Accept()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		d.mu.Lock()
		opened := d.opened
		d.mu.Unlock()
		if opened != nil {
			<-opened
		}
	}
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
