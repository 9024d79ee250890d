// Command gws broadcasts with lxzan/gws: its Broadcaster, as its documentation
// shows, which frames a message once and queues it at each connection.
package main

import (
	"github.com/lxzan/gws"

	"distributor/bench/peers/peer"
)

type server struct {
	gws.BuiltinEventHandler
	clients *peer.Clients
	conns   peer.Set[*gws.Conn]
}

func main() { peer.Main(&server{}) }

func (s *server) Start(clients *peer.Clients) (string, error) {
	s.clients = clients
	l, err := clients.Listen()
	if err != nil {
		return "", err
	}
	go func() { _ = gws.NewServer(s, nil).RunListener(l) }()
	return l.Addr().String(), nil
}

func (s *server) OnOpen(c *gws.Conn) {
	s.conns.Add(c)
	s.clients.Joined()
}

func (s *server) OnClose(c *gws.Conn, _ error) { s.conns.Remove(c) }

func (s *server) Broadcast(message []byte) {
	b := gws.NewBroadcaster(gws.OpcodeText, message)
	defer b.Close()
	for _, c := range s.conns.All() {
		_ = b.Broadcast(c) // OnClose tells
	}
}

func (s *server) Wrapped(message []byte) int { return peer.Plain(message) }
