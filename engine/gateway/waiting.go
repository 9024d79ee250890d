package gateway

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// waitMost is how long an accepted connection waits for room before it is refused. By then a
	// signed upgrade is too old.
	waitMost = 30 * time.Second
	// sweepWaiting is how often waiting connections are checked for those whose time is over or whose
	// clients have left, and open connections for those that are idle for long.
	sweepWaiting = time.Second
	// IdleGrace is how long a connection without a request is kept while others need its room, or
	// while a new process takes over. Node's HTTP agent, which collectors use, closes an idle
	// connection after 5 s by itself. So no request is on its way when the gateway closes the
	// connection.
	IdleGrace = 6 * time.Second
)

// waiting holds accepted connections that have no room yet, in a queue for each origin. Nobody
// reads from them: each costs a descriptor and about a kilobyte. Their number is limited and shared
// between origins like the open connections, and so is their time.
//
// So a fleet that connects at once from one address is let in as fast as the connections before it
// become clients of workers.
type waiting struct {
	most time.Duration // waitMost

	max    int
	count  int
	queues map[origin][]waiter
	order  []origin // origins of queues, in the order of their turns
	sweeps *time.Timer
}

type waiter struct {
	conn  net.Conn
	since time.Time
}

func newWaiting() waiting { return waiting{most: waitMost, queues: make(map[origin][]waiter)} }

func (q *waiting) has(from origin) bool { return len(q.queues[from]) > 0 }

// room reports whether another connection of an origin may wait.
func (q *waiting) room(from origin, limited bool) bool {
	free := q.max - q.count
	return free > 0 && (len(q.queues[from]) < free || !limited)
}

func (q *waiting) push(conn net.Conn, from origin) {
	if !q.has(from) {
		q.order = append(q.order, from)
	}
	q.queues[from] = append(q.queues[from], waiter{conn, time.Now()})
	q.count++
}

// pop removes the oldest connection of an origin.
func (q *waiting) pop(from origin) net.Conn {
	queue := q.queues[from]
	conn := queue[0].conn
	q.count--
	if queue[0] = (waiter{}); len(queue) > 1 {
		q.queues[from] = queue[1:]
		return conn
	}
	delete(q.queues, from)
	return conn
}

// wait lets a connection wait for room. The caller holds c.mu.
func (c *connections) wait(conn net.Conn, from origin) {
	q := &c.waiting
	q.push(conn, from)
	c.closing.Store(true)
	if q.sweeps == nil {
		q.sweeps = time.AfterFunc(min(sweepWaiting, q.most), c.sweep)
	}
}

// admitWaiting gives free room to waiting connections, one of each origin in turn. The caller holds
// c.mu.
func (c *connections) admitWaiting() {
	q := &c.waiting
	for tries := len(q.order); tries > 0 && len(c.open) < c.max; tries-- {
		from := q.order[0]
		q.order = q.order[1:]
		admitted := c.room(from)
		if admitted {
			c.admit(q.pop(from), from)
		}
		if q.has(from) {
			q.order = append(q.order, from)
		}
		if admitted {
			tries = len(q.order) + 1
		}
	}
	c.waited()
}

// waited updates the state after fewer connections wait than before. The caller holds c.mu.
func (c *connections) waited() {
	if c.waiting.count == 0 {
		c.closing.Store(c.leaving)
		c.signal()
	}
}

// sweep refuses the connections that have waited for too long. It closes waiting connections whose
// clients have left, and open connections that are idle for long, because their room is needed.
func (c *connections) sweep() {
	c.retire(IdleGrace, false)
	c.dismissGone()
	c.refuseWaiting(c.waiting.most, c.full)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting.sweeps = nil; c.waiting.count > 0 {
		c.waiting.sweeps = time.AfterFunc(min(sweepWaiting, c.waiting.most), c.sweep)
	}
}

// dismissGone removes the connections whose clients have left from the queues. It checks them
// without the lock, because each check is a system call.
func (c *connections) dismissGone() {
	gone := make(map[net.Conn]bool)
	for _, conn := range c.allWaiting() {
		if peerClosed(conn) {
			gone[conn] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	c.mu.Lock()
	q := &c.waiting
	var left []net.Conn // connections of gone that still wait
	for from, queue := range q.queues {
		stay := queue[:0:0]
		for _, w := range queue {
			if gone[w.conn] {
				left = append(left, w.conn)
			} else {
				stay = append(stay, w)
			}
		}
		if q.queues[from] = stay; len(stay) == 0 {
			delete(q.queues, from)
		}
	}
	q.count -= len(left)
	q.order = slices.DeleteFunc(q.order, func(from origin) bool { return !q.has(from) })
	c.waited()
	c.mu.Unlock()
	for _, conn := range left {
		c.turned(conn, refuse(clientGone, "the client left while its connection waited for room"))
	}
}

func (c *connections) allWaiting() []net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]net.Conn, 0, c.waiting.count)
	for _, queue := range c.waiting.queues {
		for _, w := range queue {
			all = append(all, w.conn)
		}
	}
	return all
}

// refuseWaiting refuses the connections that have waited for at least age.
func (c *connections) refuseWaiting(age time.Duration, why func(origin) *refusal) {
	late := make(map[net.Conn]*refusal)
	c.mu.Lock()
	q := &c.waiting
	for from := range q.queues {
		for q.has(from) && time.Since(q.queues[from][0].since) >= age {
			late[q.pop(from)] = why(from)
		}
	}
	q.order = slices.DeleteFunc(q.order, func(from origin) bool { return !q.has(from) })
	c.waited()
	c.mu.Unlock()
	for conn, why := range late {
		c.turned(conn, why)
	}
}

// abandon refuses all connections that the server does not have yet, because it accepts no more.
func (c *connections) abandon() {
	why := refuse(stopping, "the distributor is being stopped, try again later")
	for conn, _ := c.next(); conn != nil; conn, _ = c.next() {
		c.release(conn)
		c.turned(conn, why)
	}
	c.refuseWaiting(0, func(origin) *refusal { return why })
}

// entrance is the listener of the HTTP server: Accept returns connections that have room.
type entrance struct {
	net.Listener
	conns  *connections
	failed chan error    // errors of the listener's Accept
	ended  error         // set when the listener is closed
	closed chan struct{} // closed by Close
	once   sync.Once
}

func newEntrance(l net.Listener, c *connections) *entrance {
	return &entrance{Listener: l, conns: c, failed: make(chan error), closed: make(chan struct{})}
}

// run accepts connections until the listener is closed.
func (e *entrance) run() {
	for {
		conn, err := e.Listener.Accept()
		if err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				conn = newWatched(tcp)
			}
			e.conns.arrive(conn)
			continue
		}
		select {
		case e.failed <- err:
		case <-e.closed:
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Accept continues after the listener is closed, until no connection waits anymore.
func (e *entrance) Accept() (net.Conn, error) {
	for {
		conn, more := e.conns.next()
		switch {
		case conn != nil:
			return conn, nil
		case e.ended != nil && !more:
			return nil, e.ended
		}
		select {
		case <-e.conns.arrived:
		case err := <-e.failed:
			if !errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			e.ended = err
		case <-e.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close ends Accept at once.
func (e *entrance) Close() error {
	e.once.Do(func() { close(e.closed) })
	return e.Listener.Close()
}
