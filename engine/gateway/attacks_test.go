package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// statuses sends bytes, closes our side for writing, and lists the answers up
// to the end of the connection.
func statuses(t testing.TB, addr, bytes string) (list []int) {
	t.Helper()
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, bytes)
	_ = conn.(*net.TCPConn).CloseWrite()
	in := bufio.NewReader(conn)
	for {
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return list
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Errorf("%.60q: a broken answer: %v", bytes, err)
		}
		list = append(list, answer.StatusCode)
	}
}

func TestExplore(t *testing.T) {
	g := newGateway(t, "open", func(o *Options) { o.API = echoAPI })
	addr := serve(t, g)
	const hidden = "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n"
	post := func(headers, body string) string {
		return "POST /receipt HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body
	}
	up := upgradeRequest(target(signedData("known", time.Now(), ""), ""))
	for _, c := range []string{
		post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+hidden),
		post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"+hidden),
		post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"+hidden),
		post("Content-Length: 2, 2\r\n", "{}"+hidden),
		post("Content-Length: +2\r\n", "{}"+hidden),
		post("Content-Length: 0x2\r\n", "{}"+hidden),
		post("Content-Length: -1\r\n", "{}"+hidden),
		post("Content-Length: 99999999999999999999\r\n", "{}"+hidden),
		post("Content-Length : 2\r\n", "{}"+hidden),
		post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"+hidden),
		post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"+hidden),
		post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"+hidden),
		post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"+hidden),
		post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"+hidden),
		post("X: a\r\n b\r\nContent-Length: 2\r\n", "{}"+hidden),
		post("X: a\nContent-Length: 2\n", "{}"+hidden),
		post("X: a\rContent-Length: 2\r\n", "{}"+hidden),
		post("X: a\x00\r\nContent-Length: 2\r\n", "{}"+hidden),
		post("Transfer-Encoding: chunked\r\n", "2\n{}\n0\n\n"+hidden),
		post("Transfer-Encoding: chunked\r\n", "2;a=b\r\n{}\r\n0\r\n\r\n"+hidden),
		post("Transfer-Encoding: chunked\r\n", "-2\r\n{}\r\n0\r\n\r\n"+hidden),
		post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"+hidden),
		post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n"+hidden),
		"POST /receipt HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"GET /is-alive HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" + hidden,
		"GET /is-alive HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + hidden,
		"GET /is-alive HTTP/0.9\r\n\r\n" + hidden,
		"GET /is-alive\r\n\r\n" + hidden,
		"GET  /is-alive HTTP/1.1\r\nHost: x\r\n\r\n" + hidden,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" + hidden,
		"GET /is-alive HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + hidden,
		"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n" + hidden,
		"GET http://127.0.0.1:22/is-alive HTTP/1.1\r\nHost: x\r\n\r\n" + hidden,
		"TRACE /is-alive HTTP/1.1\r\nHost: x\r\nCookie: a\r\n\r\n" + hidden,
		strings.Replace(up, "GET ", "POST ", 1) + hidden,
		strings.Replace(up, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: a\r\n X-Evil: 1\r\n\r\n", 1),
		strings.Replace(up, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1),
		strings.Replace(up, "\r\n\r\n", "\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", 1),
		post("Expect: 100-continue\r\nContent-Length: 99999999999\r\n", ""),
		post("Expect: else\r\nContent-Length: 2\r\n", "{}"+hidden),
	} {
		if strings.Contains(c, "Sec-WebSocket") {
			fmt.Printf("%d %.20q\n", exchange(t, addr, c).status, c[strings.Index(c, "\r\n"):])
			continue
		}
		fmt.Printf("%v %.150q\n", statuses(t, addr, c), c)
	}
}
