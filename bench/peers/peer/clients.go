package peer

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// window is how much may wait for a client in user space.
const window = 256 << 10

// Clients are the connections of a server, for the books: how much each has
// taken. For concurrent use.
type Clients struct {
	mu     sync.Mutex // guards all, lost
	all    []*Client
	lost   int
	joined atomic.Int64
	writes atomic.Uint64
}

// Client is one connection.
type Client struct {
	clients *Clients
	written atomic.Uint64
	base    uint64 // of written, when the burst began
	gone    atomic.Bool
}

// Accepted adds a connection.
func (cs *Clients) Accepted() *Client {
	c := &Client{clients: cs}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.all = append(cs.all, c)
	return c
}

// Joined tells that one more client gets what is broadcast from now on.
func (cs *Clients) Joined() { cs.joined.Add(1) }

// Wrote tells that the socket took n bytes at once.
func (c *Client) Wrote(n int) {
	if n > 0 {
		c.written.Add(uint64(n))
		c.clients.writes.Add(1)
	}
}

// Closed tells that the connection has ended.
func (c *Client) Closed() {
	if !c.gone.Swap(true) {
		c.clients.mu.Lock()
		defer c.clients.mu.Unlock()
		c.clients.lost++
	}
}

// begin has waiting count from now on.
func (cs *Clients) begin() []*Client {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.all {
		c.base = c.written.Load()
	}
	return append([]*Client(nil), cs.all...)
}

// most is what the client for which most is waiting has waiting, of the bytes
// that were broadcast since begin.
func most(clients []*Client, broadcast uint64) (bytes uint64) {
	for _, c := range clients {
		if taken := c.written.Load() - c.base; taken < broadcast && !c.gone.Load() {
			bytes = max(bytes, broadcast-taken)
		}
	}
	return bytes
}

func (cs *Clients) sent() answer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	a := answer{Writes: cs.writes.Load(), Joined: int(cs.joined.Load()), Lost: cs.lost}
	for _, c := range cs.all {
		a.Bytes += c.written.Load()
	}
	return a
}

// Listen is for servers that take a net.Listener: its connections are counted.
func (cs *Clients) Listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	return listener{l, cs}, nil
}

type listener struct {
	net.Listener
	clients *Clients
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{c, l.clients.Accepted()}, nil
}

// conn embeds the interface: the method by which net.Buffers writes to a
// *net.TCPConn would go past Write.
type conn struct {
	net.Conn
	client *Client
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.client.Wrote(n)
	return n, err
}

func (c *conn) Close() error {
	c.client.Closed()
	return c.Conn.Close()
}
