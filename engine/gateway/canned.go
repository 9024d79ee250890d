package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// A request that net/http cannot read never comes to a handler: the server
// answers with a line of plain text, written straight to the connection. So the
// connection looks for these answers, while no handler is at work on it, and
// sends in their place what all other refusals are: JSON, in the words of the
// replaced service where it has some.

// cannedHeaders is how net/http's own answers go on after the status line;
// those of handlers have a date.
var cannedHeaders = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// headKept is how much of a request is kept, to name what was wrong with it.
const headKept = 512

// listener's connections are watched.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &watched{TCPConn: tcp}, nil
	}
	return c, err
}

// watched is a connection of the server's.
type watched struct {
	*net.TCPConn
	ours atomic.Bool // a handler has the request, and writes the answer
	away bool        // turned away: no longer the server's; set before it has its goroutine
	head []byte      // of the request that no handler has yet: used by the goroutine that reads it alone
}

// ownAnswer notes that a handler has the request on conn.
func ownAnswer(conn net.Conn) {
	if w, ok := conn.(*watched); ok {
		w.ours.Store(true)
	}
}

// expectRequest notes that conn's request is answered.
func expectRequest(conn net.Conn) {
	if w, ok := conn.(*watched); ok {
		w.head = w.head[:0]
		w.ours.Store(false)
	}
}

func (w *watched) Read(b []byte) (int, error) {
	if w.away {
		return 0, io.EOF
	}
	n, err := w.TCPConn.Read(b)
	if n > 0 && len(w.head) < headKept && !w.ours.Load() {
		w.head = append(w.head, b[:min(n, headKept-len(w.head))]...)
	}
	return n, err
}

// Close leaves one that was turned away to whom it belongs.
func (w *watched) Close() error {
	if w.away {
		return nil
	}
	return w.TCPConn.Close()
}

func (w *watched) Write(b []byte) (int, error) {
	if !w.ours.Load() {
		if answer := replaceCanned(b, w.head); answer != nil {
			if _, err := w.TCPConn.Write(answer); err != nil {
				return 0, err
			}
			return len(b), nil
		}
	}
	return w.TCPConn.Write(b)
}

// replaceCanned returns the answer to send for one of net/http's own, nil for
// any other. head is the beginning of the request.
func replaceCanned(b, head []byte) []byte {
	line, _, canned := bytes.Cut(b, cannedHeaders)
	text, http1 := strings.CutPrefix(string(line), "HTTP/1.1 ")
	if len(text) < 3 || !canned || !http1 {
		return nil
	}
	status, err := strconv.Atoi(text[:3])
	if err != nil || http.StatusText(status) == "" {
		return nil
	}
	_, message, explained := strings.Cut(text, ": ")
	if !explained {
		message = whatIsWrong(status, head)
	}
	body := encode(badRequest{http.StatusText(status), message, status})
	answer := "HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) +
		"\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(answer), body...)
}

func whatIsWrong(status int, head []byte) string {
	if status != http.StatusBadRequest {
		return http.StatusText(status)
	}
	line, _, whole := bytes.Cut(head, []byte("\r\n"))
	if words := strings.Split(string(line), " "); whole && len(words) == 3 {
		if _, ok := decodeComponent(pathOf(words[1])); !ok {
			return notURLComponent(words[1])
		}
	}
	return "Client Error"
}
