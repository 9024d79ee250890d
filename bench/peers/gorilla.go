package peers

import (
	"net/http"

	"github.com/gorilla/websocket"
)

// gorillaQueue is how many messages a channel holds, as in the library's chat example.
const gorillaQueue = 256

// gorilla broadcasts with gorilla/websocket: a goroutine and a channel for each client, as in its
// chat example, and prepared messages, as its documentation advises for sending one message to many
// connections. Unlike the example, the server waits for a full channel and drops no client.
type gorilla struct {
	clients  *clients
	channels set[chan *websocket.PreparedMessage]
	upgrader websocket.Upgrader
}

// RunGorilla is the process of gorilla/websocket.
func RunGorilla() error {
	return run(&gorilla{upgrader: websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}})
}

func (s *gorilla) start(clients *clients) (string, error) {
	s.clients = clients
	l, err := clients.listen()
	if err != nil {
		return "", err
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(s.upgrade)) }()
	return l.Addr().String(), nil
}

func (s *gorilla) upgrade(w http.ResponseWriter, r *http.Request) {
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	messages := make(chan *websocket.PreparedMessage, gorillaQueue)
	s.channels.add(messages)
	s.clients.joined.Add(1)
	go func() { // write pump; it continues after an error, so that no broadcast waits for it
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

func (s *gorilla) broadcast(message []byte) {
	prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, message)
	if err != nil {
		panic(err) // nothing can fail in a text message
	}
	for _, c := range s.channels.list() {
		c <- prepared
	}
}
