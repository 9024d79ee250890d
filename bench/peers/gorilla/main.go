// Command gorilla broadcasts with gorilla/websocket: a goroutine and a channel
// for each client, as in its chat example, and prepared messages, as its
// documentation advises for sending one payload to many connections. Unlike
// the example, a full channel is waited for rather than its client dropped.
package main

import (
	"net/http"

	"github.com/gorilla/websocket"

	"distributor/bench/peers/peer"
)

// queued is how many messages a channel holds, as in the chat example.
const queued = 256

type server struct {
	clients  *peer.Clients
	channels peer.Set[chan *websocket.PreparedMessage]
	upgrader websocket.Upgrader
}

func main() {
	peer.Main(&server{upgrader: websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}})
}

// Compress has messages compressed, at the library's level, which is the fastest:
// a prepared message is compressed once.
func (s *server) Compress() { s.upgrader.EnableCompression = true }

func (s *server) Start(clients *peer.Clients) (string, error) {
	s.clients = clients
	l, err := clients.Listen()
	if err != nil {
		return "", err
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(s.upgrade)) }()
	return l.Addr().String(), nil
}

func (s *server) upgrade(w http.ResponseWriter, r *http.Request) {
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	messages := make(chan *websocket.PreparedMessage, queued)
	s.channels.Add(messages)
	s.clients.Joined()
	go func() { // write pump; it goes on after an error, so that nobody waits for it
		for m := range messages {
			if conn.WritePreparedMessage(m) != nil {
				conn.Close()
			}
		}
	}()
	for { // read pump
		if _, _, err := conn.NextReader(); err != nil {
			conn.Close()
			return
		}
	}
}

func (s *server) Broadcast(message []byte) {
	prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, message)
	if err != nil {
		panic(err) // there is nothing that can fail in a text message
	}
	for _, c := range s.channels.All() {
		c <- prepared
	}
}

func (s *server) Wrapped(message []byte) int { return peer.Plain(message) }
