package gateway

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A request that net/http itself refuses gets JSON with the right status too. The bad escapes and
// "Client Error" are the replaced service's words.
func TestUnreadableRequests(t *testing.T) {
	g := newGateway(t, "open", nil)
	addr := serve(t, g)
	bad := func(message string) string {
		return string(encode(badRequest{"Bad Request", message, 400}))
	}
	long := strings.Repeat("x", 17<<10)
	for _, c := range []struct {
		request string
		status  int
		body    string
	}{
		{"GET /is-alive%" + closing, 400,
			`{"error":"Bad Request","message":"'/is-alive%' is not a valid url component","statusCode":400}`},
		{"POST /cycleinfo%" + closing, 400, bad("'/cycleinfo%' is not a valid url component")},
		{"GET /%zz?data=\"<&>" + closing, 400, bad("'/%zz?data=\"<&>' is not a valid url component")},
		{"GET /%" + long[:headKept] + closing, 400, bad("Client Error")},
		{"\x16\x03\x01hello\r\n\r\n", 400, bad("Client Error")},
		{"GET /\r\n\r\n", 400, bad("Client Error")},
		{"GET / HTTP/1.1\r\n\r\n", 400, bad("missing required Host header")},
		{"GET / HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n", 400, bad("Client Error")},
		{"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400,
			bad("Client Error")},
		{"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n", 501,
			`{"error":"Not Implemented","message":"Not Implemented","statusCode":501}`},
		{"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505,
			`{"error":"HTTP Version Not Supported","message":"unsupported protocol version","statusCode":505}`},
		{"GET / HTTP/1.1\r\nHost: x\r\nX: " + long + "\r\n\r\n", 431,
			`{"error":"Request Header Fields Too Large","message":"Request Header Fields Too Large","statusCode":431}`},
		// A second request on the same connection, and a request behind the first in the same segment.
		{"GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n\x00GET /%zz" + closing, 400,
			bad("'/%zz' is not a valid url component")},
		{"GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\nGET /%zz" + closing, 400,
			bad("'/%zz' is not a valid url component")},
	} {
		conn := must(net.Dial("tcp", addr))
		_ = conn.SetDeadline(time.Now().Add(patience))
		in := bufio.NewReader(conn)
		first, second, two := strings.Cut(c.request, "\x00")
		_, _ = io.WriteString(conn, first)
		if strings.HasPrefix(c.request, "GET /is-alive HTTP") {
			answer, err := http.ReadResponse(in, nil)
			if err != nil || answer.StatusCode != 200 {
				t.Fatalf("%.100q: %v", c.request, err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
		}
		if two {
			_, _ = io.WriteString(conn, second)
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Errorf("%.100q: %v", c.request, err)
			continue
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != c.status || string(body) != c.body ||
			answer.Header.Get("Content-Type") != "application/json" || !answer.Close || !json.Valid(body) {
			t.Errorf("%.100q: %d %v %s, %v", c.request, answer.StatusCode, answer.Header, body, err)
		}
		conn.Close()
	}
}

// An answer of a handler is not changed, even if it looks like one of net/http's own.
func TestAnswersOfHandlersStay(t *testing.T) {
	canned := "HTTP/1.1 400 Bad Request" + string(cannedHeaders) + "400 Bad Request"
	g := newGateway(t, "open", func(o *Options) {
		o.API = onAllRoutes(func(w http.ResponseWriter, r *http.Request) {
			c := must2(http.NewResponseController(w).Hijack())
			defer c.Close()
			_, _ = io.WriteString(c, canned)
		})
	})
	addr := serve(t, g)
	if got := exchange(t, addr, "GET /config"+closing); got.body != "400 Bad Request" ||
		got.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%+v", got)
	}
}

func must2[T, U any](v T, _ U, err error) T { return must(v, err) }

func FuzzReplaceCanned(f *testing.F) {
	f.Add([]byte("HTTP/1.1 400 Bad Request: why"+string(cannedHeaders)+"x"),
		[]byte("GET /%zz HTTP/1.1\r\n"))
	f.Add([]byte("HTTP/1.1 431 x"+string(cannedHeaders)), []byte("\xff \xff%f \r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"), []byte(nil))
	f.Fuzz(func(t *testing.T, b, head []byte) {
		answer := replaceCanned(b, head)
		if answer == nil {
			return
		}
		r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(answer))), nil)
		if err != nil {
			t.Fatalf("%q: %v", answer, err)
		}
		if r.StatusCode >= 200 && r.StatusCode != 204 && r.StatusCode != 304 {
			body, err := io.ReadAll(r.Body)
			if err != nil || !json.Valid(body) {
				t.Fatalf("%q: %q, %v", answer, body, err)
			}
		}
	})
}
