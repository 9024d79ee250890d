package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"distributor/engine/supervisor"
)

// readsBody answers with the body of the request.
var readsBody = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = w.Write(body)
})

// converse sends text in pieces and returns the answers, each as "status body", up to the end of
// the connection. It sends a piece when the gateway has read the one before.
func converse(t testing.TB, g *Gateway, addr string, pieces ...string) string {
	t.Helper()
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	for _, piece := range pieces {
		_, _ = io.WriteString(conn, piece)
		if len(pieces) > 1 {
			eventually(t, "the gateway reads", func() bool { return unread(g) == 0 })
		}
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	var answers []string
	for in := bufio.NewReader(conn); ; {
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return strings.Join(answers, ", ")
		}
		body := must(io.ReadAll(answer.Body))
		answers = append(answers, fmt.Sprintf("%d %s", answer.StatusCode, body))
	}
}

// unread returns how many open connections have input that the gateway has not read.
func unread(g *Gateway) (n int) {
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	for conn := range g.conns.open {
		if hasInput(conn.(*watched).TCPConn) {
			n++
		}
	}
	return n
}

// Empty lines before a request are skipped (RFC 9112 §2.2), at most maxEmpty bytes of them,
// wherever the segments are cut. Bytes of a body that look like empty lines are not skipped.
func TestEmptyLinesBeforeRequests(t *testing.T) {
	const (
		get  = "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n"
		bad  = "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n"
		bare = "GET /is-alive HTTP/1.1\nHost: x\n\n"
	)
	post := func(body string) string {
		const headers = "POST /receipt HTTP/1.1\r\nHost: x\r\nContent-Length: "
		return fmt.Sprintf("%s%d\r\n\r\n%s", headers, len(body), body)
	}
	refused := func(message string) string {
		return "400 " + string(encode(badRequest{"Bad Request", message, 400}))
	}
	wrong := refused("'/%zz' is not a valid url component")
	most := strings.Repeat("\r\n", maxEmpty/2)
	g := newGateway(t, "open", func(o *Options) { o.API = onAllRoutes(readsBody) })
	addr := serve(t, g)
	for name, c := range map[string]struct{ text, want string }{
		"one":                    {"\r\n" + get, "200 OK"},
		"as many as are allowed": {most + get, "200 OK"},
		"without CR":             {"\n\n" + bare, "200 OK"},
		"CR alone":               {"\r" + get, "200 OK"},
		"CR twice":               {"\r\r\n" + get, "200 OK"},
		"too many":               {most + "\r\n" + get, refused("Client Error")},
		"one byte too many":      {most + "\n" + get, refused("Client Error")},
		"many":                   {strings.Repeat("\r\n", 5000) + get, refused("Client Error")},
		"a space":                {" \r\n" + get, refused("Client Error")},
		"nothing else":           {"\r\n", ""},
		"between requests":       {get + "\r\n\r\n" + get + most + get, "200 OK, 200 OK, 200 OK"},
		"too many between":       {get + most + "\r\n" + get, "200 OK, " + refused("Client Error")},
		"after a body":           {post("{}") + "\r\n\r\n\r\n" + get, "200 {}, 200 OK"},
		"in a body":              {post("\r\n\r\n") + get, "200 \r\n\r\n, 200 OK"},
		"in and after a body":    {"\r\n" + post("\r\n") + "\r\n" + post("\n"), "200 \r\n, 200 \n"},
		"after an empty body":    {post("") + "\r\n" + get, "200 , 200 OK"},
		"before a bad request":   {"\r\n" + bad, wrong},
		"then a bad request":     {get + "\r\n" + bad, "200 OK, " + wrong},
		"not inside a request": {"GET / HTTP/1.1\r\n\r\nHost: x\r\n\r\n",
			refused("missing required Host header")},
		"before a refused upgrade": {"\r\n" + upgradeRequest("/"), "400 " + string(refuse(noData,
			"the URL has no data parameter: it must carry collectorInfo, sender and sign").body())},
	} {
		if got := converse(t, g, addr, c.text); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if len(c.text) > 300 {
			continue
		}
		if got := converse(t, g, addr, strings.Split(c.text, "")...); got != c.want {
			t.Errorf("%s, byte by byte: %q, want %q", name, got, c.want)
		}
		for at := 1; at < min(len(c.text), 60); at++ {
			if got := converse(t, g, addr, c.text[:at], c.text[at:]); got != c.want {
				t.Errorf("%s, cut at %d: %q, want %q", name, at, got, c.want)
			}
		}
	}
}

// Empty lines are not a request: a connection that has sent nothing else counts as idle, and not as
// malformed when its time is over.
func TestEmptyLinesAreNoRequest(t *testing.T) {
	g := newGateway(t, "open", nil)
	g.server.ReadHeaderTimeout = 100 * time.Millisecond
	addr := serve(t, g)
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, "\r\n")
	if got, err := io.ReadAll(conn); err != nil || len(got) > 0 { // up to the end
		t.Errorf("%q, %v", got, err)
	}
	eventually(t, "it is gone", func() bool { return g.Snapshot().Connections == 0 })

	again := must(net.Dial("tcp", addr))
	defer again.Close()
	_ = again.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(again, "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n")
	in := bufio.NewReader(again)
	answer := must(http.ReadResponse(in, nil))
	_, _ = io.Copy(io.Discard, answer.Body)
	_, _ = io.WriteString(again, "\r\n")
	eventually(t, "the empty line is read", func() bool { return unread(g) == 0 })
	g.conns.retire(0, false)
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	again.Close()
	eventually(t, "both are gone", func() bool { return g.Snapshot().Connections == 0 })
	if s := g.Snapshot(); s.Malformed != 0 {
		t.Errorf("%+v", s)
	}
}

// Bytes behind an upgrade belong to the client, even empty lines, wherever the segments are cut.
func TestEmptyLinesAroundAnUpgrade(t *testing.T) {
	early := make(chan string, 1)
	g := newGateway(t, "open", func(o *Options) {
		o.Workers = connectFunc(func(_ context.Context, c supervisor.Client, fd int) error {
			early <- string(c.Early)
			return nil
		})
	})
	addr := serve(t, g)
	request := "\r\n\n" + upgradeRequest(target(signedData("known", time.Now(), ""), ""))
	for _, behind := range []string{
		"", "\r", "\r\n", "\r\n\r\nGET /is-alive", "\x89\x80\r\n\r\n",
		strings.Repeat("\r\n", 100), "\r\nx\r\n",
	} {
		for _, at := range []int{1, 2, 3, 4, len(request) - 1, len(request)} {
			conn := must(net.Dial("tcp", addr))
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(conn, request[:at])
			if at < len(request) {
				eventually(t, "the gateway reads", func() bool { return unread(g) == 0 })
			}
			_, _ = io.WriteString(conn, request[at:]+behind)
			select {
			case got := <-early:
				// Later bytes stay in the socket, from which a worker reads.
				if got != behind && (at < len(request) || !strings.HasPrefix(behind, got)) {
					t.Errorf("%q, cut at %d: the worker gets %q", behind, at, got)
				}
			case <-time.After(patience):
				t.Fatalf("%q, cut at %d: no worker gets it", behind, at)
			}
			conn.Close()
		}
	}
}
