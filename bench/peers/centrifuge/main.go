// Command centrifuge broadcasts with centrifugal/centrifuge: every client is
// subscribed to one channel by the server, messages are published to it, in
// its JSON protocol. It puts what has queued up for a client into one frame (16
// messages at most, its default).
package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"

	"distributor/bench/peers/peer"
)

const (
	channel = "f"
	// wrapper is what a message stands in.
	wrapper = `{"push":{"channel":"` + channel + `","pub":{"data":}}}`
)

type server struct {
	node  *centrifuge.Node
	books sync.Map // *centrifuge.Client to *peer.Client
}

func main() { peer.Main(&server{}) }

func (s *server) Start(clients *peer.Clients) (string, error) {
	// No client is dropped before the burst's own window has long stopped.
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: 64 << 20})
	if err != nil {
		return "", err
	}
	s.node = node
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{},
			Subscriptions: map[string]centrifuge.SubscribeOptions{channel: {}},
			// Clients never answer.
			PingPongConfig: &centrifuge.PingPongConfig{PingInterval: -1, PongTimeout: -1},
		}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		books := clients.Accepted()
		s.books.Store(c, books)
		c.OnDisconnect(func(centrifuge.DisconnectEvent) {
			s.books.Delete(c)
			books.Closed()
		})
		clients.Joined()
	})
	// The connections are not counted: it writes with writev, past any Write of ours.
	node.OnTransportWrite(func(c *centrifuge.Client, e centrifuge.TransportWriteEvent) bool {
		if books, ok := s.books.Load(c); ok {
			books.(*peer.Client).Wrote(len(e.Data))
		}
		return true
	})
	if err := node.Run(); err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	handler := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		ReadBufferSize: 1024, UseWriteBufferPool: true, WriteTimeout: time.Minute,
		CheckOrigin: func(*http.Request) bool { return true },
	})
	go func() { _ = http.Serve(l, handler) }()
	return l.Addr().String(), nil
}

func (s *server) Broadcast(message []byte) {
	if _, err := s.node.Publish(channel, message); err != nil {
		panic(err) // its broker is this process's memory
	}
}

func (s *server) Wrapped(message []byte) int { return len(message) + len(wrapper) }
