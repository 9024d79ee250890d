// Command nbio broadcasts with lesismal/nbio in its default mode: its pollers
// serve all connections, WriteMessage writes what the socket takes and keeps
// the rest for the poller. It has no message that is framed once for all.
package main

import (
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"

	"distributor/bench/peers/peer"
)

type server struct {
	conns peer.Set[*websocket.Conn]
	books sync.Map // *nbio.Conn to *peer.Client
}

func main() { peer.Main(&server{}) }

func (s *server) Start(clients *peer.Clients) (string, error) {
	logging.SetLevel(logging.LevelError)
	logging.Output = os.Stderr
	upgrader := websocket.NewUpgrader()
	upgrader.KeepaliveTime = 0 // clients never say anything
	upgrader.OnOpen(func(c *websocket.Conn) {
		s.conns.Add(c)
		clients.Joined()
	})
	upgrader.OnClose(func(c *websocket.Conn, _ error) { s.conns.Remove(c) })
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network: "tcp", Addrs: []string{"127.0.0.1:0"},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = upgrader.Upgrade(w, r, nil) // it answers what it refuses
		}),
	})
	engine.Engine.OnOpen(func(c *nbio.Conn) { s.books.Store(c, clients.Accepted()) })
	engine.Engine.OnWrittenSize(func(c *nbio.Conn, _ []byte, n int) {
		if client, ok := s.books.Load(c); ok {
			client.(*peer.Client).Wrote(n)
		}
	})
	engine.OnClose(func(c net.Conn, _ error) {
		if client, ok := s.books.LoadAndDelete(c); ok {
			client.(*peer.Client).Closed()
		}
	})
	if err := engine.Start(); err != nil {
		return "", err
	}
	return engine.Addrs[0], nil
}

func (s *server) Broadcast(message []byte) {
	for _, c := range s.conns.All() {
		_ = c.WriteMessage(websocket.TextMessage, message) // OnClose tells
	}
}

func (s *server) Wrapped(message []byte) int { return peer.Plain(message) }
