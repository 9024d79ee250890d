package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// connections watches the sockets that the HTTP server holds: those that are
// no client of a worker, or not yet.
type connections struct {
	max    int
	turned func(net.Conn) // called with one that is beyond max, before it is closed

	mu        sync.Mutex        // guards all below
	open      map[net.Conn]bool // true: bytes of a request came, and no handler has seen it
	malformed uint64
}

func newConnections(max int, turned func(net.Conn)) *connections {
	return &connections{max: max, turned: turned, open: make(map[net.Conn]bool)}
}

// changed is the server's ConnState hook. For a new connection it runs in the
// accept loop, so one too many costs neither a goroutine nor a buffer for long.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if state == http.StateNew && !c.admit(conn) {
		c.turned(conn)
		_ = conn.Close() // the server finds out when it reads
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pending, known := c.open[conn]
	switch {
	case !known:
	case state == http.StateActive:
		c.open[conn] = true
	case state == http.StateClosed || state == http.StateHijacked:
		if pending {
			c.malformed++
		}
		delete(c.open, conn)
	}
}

func (c *connections) admit(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.max {
		return false
	}
	c.open[conn] = false
	return true
}

// handled notes that the request on conn was understood and has a handler.
func (c *connections) handled(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.open[conn]; known {
		c.open[conn] = false
	}
}

// counts returns how many connections there are, and how many ended because of
// a request that was malformed, too long, or not complete in time.
func (c *connections) counts() (open int, malformed uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), c.malformed
}

type connKey struct{}

// withConn is the server's ConnContext hook.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

func connOf(r *http.Request) net.Conn {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	return conn
}
