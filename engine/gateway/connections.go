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

// connections tracks the sockets that the HTTP server holds: those that are not, or not yet, with a
// worker.
//
// There is room for max connections, and one origin may hold as many as are still free: half of
// them if it is alone, half of the rest beside another origin, and so on. So an address that takes
// all that it can get leaves room for others, and a proxy that speaks for many needs no setting.
//
// A connection without room waits (waiting.go).
type connections struct {
	scarce  func(net.Conn) bool      // reports whether a connection has one of the last descriptors
	limited func(origin) bool        // reports whether an origin has to leave room for others
	turned  func(net.Conn, *refusal) // answers and closes a refused connection
	arrived chan struct{}            // capacity 1: ready is not empty, or nothing waits anymore

	mu        sync.Mutex // guards all below
	max       int
	open      map[net.Conn]openState // all admitted connections
	held      map[origin]int         // open connections of each origin; never 0
	ready     []net.Conn             // open connections that the server does not have yet
	vacant    chan struct{}          // closed when none is open; nil while nobody waits for that
	malformed uint64
	waiting   waiting
	leaving   bool
	closing   atomic.Bool // an answer is the last on its connection
}

// spareDescriptors are not for connections, and neither are Options.Reserved: starting workers, the
// frame log and refusals need them.
const spareDescriptors = 64

// scarce reports whether a connection's descriptor is one of the last. It compares the number,
// because a new descriptor gets the lowest free number.
func scarce(conn net.Conn, last int) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	var limit syscall.Rlimit // may be changed while the process runs
	if err != nil || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return false
	}
	few := false
	_ = raw.Control(func(fd uintptr) { few = uint64(fd)+uint64(last) >= limit.Cur })
	return few
}

type openState struct {
	from     origin
	pending  bool // bytes of a request came that no handler has seen
	hijacked bool // a handler has the socket
}

func newConnections(reserved int, limited func(origin) bool,
	turned func(net.Conn, *refusal)) *connections {
	return &connections{
		scarce:  func(conn net.Conn) bool { return scarce(conn, spareDescriptors+reserved) },
		limited: limited, turned: turned, arrived: make(chan struct{}, 1),
		open: make(map[net.Conn]openState), held: make(map[origin]int), waiting: newWaiting(),
	}
}

// limit sets how many connections may be open and how many may wait. It applies to connections that
// come from now on.
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

// arrive passes an accepted connection to the server, lets it wait, or refuses it.
func (c *connections) arrive(conn net.Conn) {
	if c.scarce(conn) {
		c.turned(conn, refuse(noDescriptors,
			"the distributor has hardly any descriptors left, try again later"))
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

// full returns the refusal for an origin that has no room.
func (c *connections) full(from origin) *refusal {
	free, held := c.max-len(c.open), c.held[from]
	if free <= 0 {
		return refuse(tooManyConnections, fmt.Sprintf("%d connections are open, try again later", c.max))
	}
	return refuse(connectionsLimited,
		fmt.Sprintf("this address has %d open connections, and the %d that are left are for others, try again later",
			held, free))
}

func (c *connections) signal() {
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// next returns a connection for the server, or nil if there is none at present. more is false if
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

// release frees the room of a connection that has ended or that a worker has.
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

// handled records that r was parsed and has a handler.
func (c *connections) handled(r *http.Request) {
	conn := connOf(r)
	ownAnswer(conn, r)
	c.update(conn, func(now *openState) { now.pending = false })
}

// answered records that the handler of a request on conn has returned. If the handler took the
// socket, for which a worker may be responsible now, conn counts as ended.
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

// leave makes every further answer the last one on its connection.
func (c *connections) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	c.closing.Store(true)
}

// vacated returns a channel that is closed when no connection is open.
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

// retire closes in order the connections that have been idle without a request for this long. It
// closes connections that never had a request only if fresh is set.
func (c *connections) retire(idle time.Duration, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if w, ok := conn.(*watched); ok && (fresh || w.used.Load()) {
			w.retire(idle)
		}
	}
}

// cut makes connections close at once from now on, without lingering.
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
