package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// connections watches the sockets that the HTTP server holds: those that are
// no client of a worker, or not yet.
//
// There is room for max, and one origin may hold as many as are still free:
// half of them when it is alone, half of what is left beside another, and so
// on. So whoever takes all that it can get leaves room for others, and nothing
// has to be set for a proxy that speaks for many.
type connections struct {
	scarce  func(net.Conn) bool      // whether a connection has one of the last descriptors
	limited func(origin) bool        // whether an origin has to leave room for others
	turned  func(net.Conn, *refusal) // called with one that has no room, which it closes

	mu        sync.Mutex // guards all below
	max       int
	open      map[net.Conn]openState // of all that were admitted
	held      map[origin]int         // how many of open each has; none is 0
	malformed uint64
}

// spareDescriptors are not for connections: with them workers are started, the
// frame log goes on, databases are read, and refusals are answered.
const spareDescriptors = 64

// scarce tells by the number of a connection's descriptor, which is the lowest
// that was free, how many are left at least.
func scarce(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	var limit syscall.Rlimit // it may be changed while we run
	if err != nil || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return false
	}
	few := false
	_ = raw.Control(func(fd uintptr) { few = uint64(fd)+spareDescriptors >= limit.Cur })
	return few
}

type openState struct {
	from    origin
	pending bool // bytes of a request came, and no handler has seen it
}

func newConnections(limited func(origin) bool, turned func(net.Conn, *refusal)) *connections {
	return &connections{scarce: scarce, limited: limited, turned: turned, open: make(map[net.Conn]openState), held: make(map[origin]int)}
}

// limit sets max, for connections that come from now on.
func (c *connections) limit(max int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.max = max
}

// changed is the server's ConnState hook. For a new connection it runs in the
// accept loop, so one too many costs neither a goroutine nor a buffer for long.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if state == http.StateNew {
		if why := c.admit(conn); why != nil {
			c.turned(conn, why)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, known := c.open[conn]
	switch {
	case !known:
	case state == http.StateActive:
		now.pending = true
		c.open[conn] = now
	case state == http.StateIdle:
		expectRequest(conn)
	case state == http.StateClosed || state == http.StateHijacked:
		if now.pending {
			c.malformed++
		}
		delete(c.open, conn)
		if c.held[now.from]--; c.held[now.from] == 0 {
			delete(c.held, now.from)
		}
	}
}

func (c *connections) admit(conn net.Conn) *refusal {
	if c.scarce(conn) {
		return refuse(noDescriptors, "the distributor has hardly any descriptors left, try again later")
	}
	from := originOf(conn.RemoteAddr().String())
	c.mu.Lock()
	defer c.mu.Unlock()
	free, held := c.max-len(c.open), c.held[from]
	switch {
	case free <= 0:
		return refuse(tooManyConnections, fmt.Sprintf("%d connections are open, try again later", c.max))
	case held >= free && c.limited(from):
		return refuse(connectionsLimited, fmt.Sprintf("this address has %d open connections, and the %d that are left are for others, try again later", held, free))
	}
	c.open[conn] = openState{from: from}
	c.held[from]++
	return nil
}

// handled notes that the request on conn was understood and has a handler.
func (c *connections) handled(conn net.Conn) {
	ownAnswer(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, known := c.open[conn]; known {
		now.pending = false
		c.open[conn] = now
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
