package enginetest

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"distributor/wsproto/shardus"
)

// stranger is one client of a flood. All but the atomics belong to its goroutine.
type stranger struct {
	host string
	rng  *rand.Rand
	key  shardus.SecretKey // of a subscriber, where only these may connect
	flood

	api  []byte        // a whole API request, signed
	stop chan struct{} // closed when the flood ends

	turns atomic.Int64
	fault atomic.Pointer[error] // what must not happen to a stranger
}

func newStranger(t *testing.T, d *Distributor, f flood, number uint64) *stranger {
	t.Helper()
	s := &stranger{
		host: strings.TrimPrefix(d.URL, "http://"), rng: rand.New(rand.NewPCG(*seed, number)),
		key: newKey(t), flood: f,
	}
	body, err := shardus.NewSigner(s.key, hashKey).AppendSigned(nil, shardus.ObjectValue(
		shardus.Member{Key: "sender", Value: shardus.TextValue(s.key.Public().String())}))
	if err != nil {
		t.Fatal(err)
	}
	s.api = fmt.Appendf(nil, "POST /totalData HTTP/1.1\r\nHost: x\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return s
}

// beginFlood starts the strangers, which repeat their turns until end is called.
func beginFlood(strangers []*stranger) (end func()) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, s := range strangers {
		s.stop = stop
		running.Go(func() {
			for s.wait(s.pause) {
				if err := s.turn(s); err != nil {
					err = fmt.Errorf("%s: %w", s.name, err)
					s.fault.CompareAndSwap(nil, &err)
					return
				}
				s.turns.Add(1)
			}
		})
	}
	return func() { close(stop); running.Wait() }
}

// wait pauses, and returns false when the flood is over.
func (s *stranger) wait(pause time.Duration) bool {
	select {
	case <-s.stop:
		return false
	case <-time.After(pause):
		return true
	}
}

// upTo returns a random duration.
func (s *stranger) upTo(most time.Duration) time.Duration {
	return time.Duration(s.rng.Int64N(int64(most)))
}

// dial connects, with patience as the time limit of everything on the connection. The distributor
// never refuses a TCP connection.
func (s *stranger) dial() (*net.TCPConn, error) {
	conn, err := net.DialTimeout("tcp", s.host, patience)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), conn.SetDeadline(time.Now().Add(patience))
}

// leave closes a connection, with or without a reset.
func (s *stranger) leave(conn *net.TCPConn) {
	if s.rng.IntN(2) == 0 {
		_ = conn.SetLinger(0)
	}
	_ = conn.Close()
}

// asks sends API requests on one connection, and reads the answers.
func (s *stranger) asks() error {
	conn, err := s.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for range 5 {
		if _, err := conn.Write(s.api); err != nil {
			return err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("no answer: %w", err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return fmt.Errorf("half an answer: %w", err)
		}
		switch answer.StatusCode {
		case http.StatusOK, http.StatusServiceUnavailable:
		default:
			return fmt.Errorf("status %d: %s", answer.StatusCode, body)
		}
		if answer.Close || !s.wait(s.pause) {
			return nil
		}
	}
	return nil
}

// givesUp sends an API request and leaves.
func (s *stranger) givesUp() error {
	conn, err := s.dial()
	if err != nil {
		return err
	}
	_, _ = conn.Write(s.api) // the distributor may close it
	if s.rng.IntN(2) == 0 {
		s.wait(s.upTo(20 * time.Millisecond))
	}
	s.leave(conn)
	return nil
}

// doesNotRead asks for checks and metrics until its socket is full, and reads nothing.
func (s *stranger) doesNotRead() error {
	conn, err := s.dial()
	if err != nil {
		return err
	}
	defer s.leave(conn)
	_ = conn.SetReadBuffer(4096)
	request := "GET " + [...]string{"/is-healthy", "/metrics"}[s.rng.IntN(2)] +
		" HTTP/1.1\r\nHost: x\r\nAccept: text/plain;version=0.0.4\r\n\r\n"
	requests := []byte(strings.Repeat(request, 100))
	_ = conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		if _, err := conn.Write(requests); err != nil {
			break // the socket is full, or was closed by the distributor
		}
	}
	s.wait(s.upTo(time.Second))
	return nil
}

// saysHalf opens connections and sends nothing, or half a request.
func (s *stranger) saysHalf() error {
	body := string(s.api[:len(s.api)-10])
	for _, half := range []string{"", "GET /is-al", "GET / HTTP/1.1\r\nHost: x\r\nUpgr", body} {
		conn, err := s.dial()
		if err != nil {
			return err
		}
		defer s.leave(conn)
		_, _ = io.WriteString(conn, half)
	}
	s.wait(s.upTo(time.Second))
	return nil
}

// isRefused sends upgrades that must be refused, and reads the whole answers.
func (s *stranger) isRefused() error {
	target, err := upgradeTarget(PeerOptions{Key: s.key}, time.Now())
	if err != nil {
		return err
	}
	status, err := s.upgrade(target, 13) // is accepted, and closed at once
	if err != nil || status != http.StatusSwitchingProtocols {
		return err // refused because there was no room
	}
	forged, err := upgradeTarget(PeerOptions{Key: s.key}, time.Now())
	if err != nil {
		return err
	}
	const before = "%22sig%22%3A%22"
	at := strings.Index(forged, before) + len(before)
	forged = forged[:at] + string("10"[forged[at]&1]) + forged[at+1:]
	for what, refused := range map[string]struct {
		target  string
		version int
	}{
		"a used request":  {target, 13},
		"a forged one":    {forged, 13},
		"another version": {target, 12},
	} {
		switch status, err := s.upgrade(refused.target, refused.version); {
		case err != nil:
			return fmt.Errorf("%s: %w", what, err)
		case status == http.StatusSwitchingProtocols:
			return fmt.Errorf("%s was accepted", what)
		}
	}
	return nil
}

// upgrade sends an upgrade request, and returns the status of the answer.
func (s *stranger) upgrade(target string, version int) (status int, err error) {
	conn, err := s.dial()
	if err != nil {
		return 0, err
	}
	defer s.leave(conn)
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: %d\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", target, version)
	if err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, fmt.Errorf("no answer: %w", err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		if _, err := io.ReadAll(answer.Body); err != nil {
			return 0, fmt.Errorf("half an answer: %w", err)
		}
	}
	return answer.StatusCode, nil
}

// breaksOff connects as a collector does, with a new key, and closes or sends an invalid frame.
func (s *stranger) breaksOff() error {
	_, key, err := shardus.GenerateKey()
	if err != nil {
		return err
	}
	c, _, _, err := handshake(s.host, PeerOptions{Key: key}, 0, nil)
	if err != nil {
		return err
	}
	conn := c.(*net.TCPConn)
	defer s.leave(conn)
	random := make([]byte, 200)
	for i := range random {
		random[i] = byte(s.rng.Uint32())
	}
	masked := ws.MaskFrame(ws.NewFrame(ws.OpText, true, random))
	masked.Header.Rsv = 7
	reserved, err := ws.CompileFrame(masked)
	if err != nil {
		return err
	}
	garbage := [][]byte{
		nil, random, ws.MustCompileFrame(ws.NewTextFrame([]byte("unmasked"))), reserved,
		{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x88, 0x82},
	}[s.rng.IntN(6)]
	if garbage == nil {
		return nil
	}
	_, _ = conn.Write(garbage)
	if s.rng.IntN(2) == 0 {
		_ = conn.SetReadDeadline(time.Now().Add(s.upTo(200 * time.Millisecond)))
		_, _ = io.Copy(io.Discard, conn) // up to the close frame, if one comes
	}
	return nil
}

// holdsMany opens more connections than are allowed, and keeps them for a while.
func (s *stranger) holdsMany() error {
	for range s.hold {
		conn, err := s.dial()
		if err != nil {
			return err
		}
		defer s.leave(conn)
		// The distributor may close it.
		_, _ = io.WriteString(conn, "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	s.wait(s.upTo(500 * time.Millisecond))
	return nil
}
