package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// connections watches the sockets that the HTTP server holds: those that are no client of a worker,
// or not yet.
//
// There is room for max, and one origin may hold as many as are still free: half of them when it is
// alone, half of what is left beside another, and so on. So an address that takes all that it can
// get leaves room for others, and nothing has to be set for a proxy that speaks for many.
//
// A connection without room waits (waiting.go).
type connections struct {
	scarce  func(net.Conn) bool      // whether a connection has one of the last descriptors
	limited func(origin) bool        // whether an origin has to leave room for others
	turned  func(net.Conn, *refusal) // called with a connection that is refused, which it closes
	arrived chan struct{}            // capacity 1: ready is not empty, or nothing waits any more

	mu        sync.Mutex // guards all below
	max       int
	open      map[net.Conn]openState // of all that were admitted
	held      map[origin]int         // how many of open each has; none is 0
	ready     []net.Conn             // of open: those that the server does not have yet
	vacant    chan struct{}          // closed when none is open; nil: nobody waits for that
	malformed uint64
	waiting   waiting
	leaving   bool
	closing   atomic.Bool // an answer is the last on its connection
}

// spareDescriptors are not for connections, nor are Options.Reserved: with them
// workers are started, the frame log goes on, and refusals are answered.
const spareDescriptors = 64

// scarce reports whether a connection's descriptor is one of the last ones. It
// tells by its number, which is the lowest that was free.
func scarce(conn net.Conn, last int) bool {
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
	_ = raw.Control(func(fd uintptr) { few = uint64(fd)+uint64(last) >= limit.Cur })
	return few
}

type openState struct {
	from     origin
	pending  bool // bytes of a request came, and no handler has seen it
	hijacked bool // a handler has the socket
}

func newConnections(reserved int, limited func(origin) bool, turned func(net.Conn, *refusal)) *connections {
	return &connections{
		scarce:  func(conn net.Conn) bool { return scarce(conn, spareDescriptors+reserved) },
		limited: limited, turned: turned, arrived: make(chan struct{}, 1),
		open: make(map[net.Conn]openState), held: make(map[origin]int), waiting: newWaiting(),
	}
}

// limit sets how many may be open, and how many may wait, for connections that come from now on.
func (c *connections) limit(open, waiting int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.max, c.waiting.max = open, waiting
	c.admitWaiting()
}

// changed is the server's ConnState hook.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive:
		c.update(conn, func(now *openState) { now.pending = true })
	case http.StateHijacked:
		c.update(conn, func(now *openState) { now.hijacked = true })
	case http.StateIdle:
		expectRequest(conn)
	case http.StateClosed:
		c.release(conn)
	}
}

// arrive gives a connection that was accepted to the server, lets it wait, or refuses it.
func (c *connections) arrive(conn net.Conn) {
	if c.scarce(conn) {
		c.turned(conn, refuse(noDescriptors, "the distributor has hardly any descriptors left, try again later"))
		return
	}
	if why := c.place(conn, originOf(conn.RemoteAddr().String())); why != nil {
		c.turned(conn, why)
	}
}

func (c *connections) place(conn net.Conn, from origin) *refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.room(from) && !c.waiting.has(from):
		c.admit(conn, from)
	case c.waiting.room(from, c.limited(from)):
		c.wait(conn, from)
	default:
		return c.full(from)
	}
	return nil
}

// room reports whether an origin may have another connection open.
func (c *connections) room(from origin) bool {
	free := c.max - len(c.open)
	return free > 0 && (c.held[from] < free || !c.limited(from))
}

func (c *connections) admit(conn net.Conn, from origin) {
	c.open[conn] = openState{from: from}
	c.held[from]++
	c.ready = append(c.ready, conn)
	c.signal()
}

// full is the refusal for an origin that has no room.
func (c *connections) full(from origin) *refusal {
	free, held := c.max-len(c.open), c.held[from]
	if free <= 0 {
		return refuse(tooManyConnections, fmt.Sprintf("%d connections are open, try again later", c.max))
	}
	return refuse(connectionsLimited, fmt.Sprintf("this address has %d open connections, and the %d that are left are for others, try again later",
		held, free))
}

func (c *connections) signal() {
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// next returns a connection for the server, nil if there is none at present. more is false when
// none waits either.
func (c *connections) next() (conn net.Conn, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ready) == 0 {
		return nil, c.waiting.count > 0
	}
	conn = c.ready[0]
	c.ready = c.ready[1:]
	return conn, true
}

// release gives back the room of a connection that has ended, or is a worker's.
func (c *connections) release(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, known := c.open[conn]
	if !known {
		return
	}
	if now.pending {
		c.malformed++
	}
	delete(c.open, conn)
	if c.held[now.from]--; c.held[now.from] == 0 {
		delete(c.held, now.from)
	}
	c.admitWaiting()
	if c.vacant != nil && len(c.open) == 0 {
		close(c.vacant)
		c.vacant = nil
	}
}

// handled notes that r was understood and has a handler.
func (c *connections) handled(r *http.Request) {
	conn := connOf(r)
	ownAnswer(conn, r)
	c.update(conn, func(now *openState) { now.pending = false })
}

// answered notes that the handler of a request on conn is done. If it took the socket, which may
// have become a worker's, conn has ended.
func (c *connections) answered(conn net.Conn) {
	c.mu.Lock()
	hijacked := c.open[conn].hijacked
	c.mu.Unlock()
	if hijacked {
		c.release(conn)
	}
}

func (c *connections) update(conn net.Conn, change func(*openState)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, known := c.open[conn]; known {
		change(&now)
		c.open[conn] = now
	}
}

// leave makes every answer from now on the last one on its connection.
func (c *connections) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	c.closing.Store(true)
}

// vacated is closed when no connection is open.
func (c *connections) vacated() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.vacant == nil {
		c.vacant = make(chan struct{})
	}
	gone := c.vacant
	if len(c.open) == 0 {
		close(gone)
		c.vacant = nil
	}
	return gone
}

// retire closes the connections that have been without a request for so long, each in order; of
// those that never had one only if fresh is set.
func (c *connections) retire(idle time.Duration, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if w, ok := conn.(*watched); ok && (fresh || w.used.Load()) {
			w.retire(idle)
		}
	}
}

// cut has the connections closed at once from now on.
func (c *connections) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		endInput(conn)
	}
}

// counts returns how many connections are open, how many wait, and how many ended because of a
// request that was malformed, too long, or not complete in time.
func (c *connections) counts() (open, waiting int, malformed uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), c.waiting.count, c.malformed
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
