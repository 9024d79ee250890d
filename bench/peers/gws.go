package peers

import "github.com/lxzan/gws"

// gwsServer broadcasts with lxzan/gws: its Broadcaster, as its documentation shows, which frames a
// message once and queues it at each connection.
type gwsServer struct {
	gws.BuiltinEventHandler
	clients *clients
	conns   set[*gws.Conn]
}

// RunGws is the process of lxzan/gws.
func RunGws() error { return run(&gwsServer{}) }

func (s *gwsServer) start(clients *clients) (string, error) {
	s.clients = clients
	l, err := clients.listen()
	if err != nil {
		return "", err
	}
	go func() { _ = gws.NewServer(s, nil).RunListener(l) }()
	return l.Addr().String(), nil
}

func (s *gwsServer) OnOpen(c *gws.Conn) {
	s.conns.add(c)
	s.clients.joined.Add(1)
}

func (s *gwsServer) OnClose(c *gws.Conn, _ error) { s.conns.remove(c) }

func (s *gwsServer) broadcast(message []byte) {
	b := gws.NewBroadcaster(gws.OpcodeText, message)
	defer b.Close()
	for _, c := range s.conns.list() {
		_ = b.Broadcast(c) // OnClose tells
	}
}
