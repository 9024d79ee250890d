package peers

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// clients has the connections of a server, with the bytes that each has taken. It is safe for
// concurrent use.
type clients struct {
	mu     sync.Mutex // guards all
	all    []*client
	joined atomic.Int64
}

// client is one connection. It embeds the interface net.Conn, because net.Buffers would not call
// Write of a type that embeds *net.TCPConn.
type client struct {
	net.Conn
	written atomic.Uint64
}

// listen returns a listener whose connections count the bytes that they take.
func (cs *clients) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	return listener{l, cs}, nil
}

type listener struct {
	net.Listener
	clients *clients
}

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn}
	l.clients.mu.Lock()
	defer l.clients.mu.Unlock()
	l.clients.all = append(l.clients.all, c)
	return c, nil
}

func (c *client) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(uint64(max(n, 0)))
	return n, err
}

// watch returns a function that returns the largest backlog of a client, in bytes broadcast from
// now on.
func (cs *clients) watch() (waiting func(broadcast uint64) uint64) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	all, base := slices.Clone(cs.all), make([]uint64, len(cs.all))
	for i, c := range all {
		base[i] = c.written.Load()
	}
	return func(broadcast uint64) (most uint64) {
		for i, c := range all {
			if taken := c.written.Load() - base[i]; taken < broadcast {
				most = max(most, broadcast-taken)
			}
		}
		return most
	}
}

// set holds the receivers of the broadcasts. It is safe for concurrent use.
type set[T comparable] struct {
	mu  sync.Mutex
	all []T // never changed in place
}

func (s *set[T]) add(c T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(slices.Clip(s.all), c)
}

func (s *set[T]) remove(c T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(slices.Clone(s.all), func(x T) bool { return x == c })
}

func (s *set[T]) list() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}
