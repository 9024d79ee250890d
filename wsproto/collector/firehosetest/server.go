// Package firehosetest is a distributor for tests of its clients: real sockets on the loopback
// interface, the upgrade of gobwas/ws, and a function that serves each connection. It authenticates
// nobody.
package firehosetest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"distributor/wsproto"
	"distributor/wsproto/shardus"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// Start listens until the test ends. It runs serve for each upgraded connection, on a goroutine of
// its own, and closes the connection when serve returns. It accepts the offer of
// permessage-deflate;
// serve decides what it compresses. It returns the URL to dial.
func Start(t testing.TB, serve func(*Conn)) (url string) {
	return listen(t, func(c net.Conn) {
		conn := &Conn{Conn: c, in: bufio.NewReader(c)}
		deflate := wsflate.Extension{Parameters: wsflate.Parameters{
			ServerNoContextTakeover: true, ClientNoContextTakeover: true,
		}}
		upgrader := ws.Upgrader{
			OnRequest: func(uri []byte) error { conn.Target = string(uri); return nil },
			Negotiate: deflate.Negotiate,
		}
		if _, err := upgrader.Upgrade(buffered{conn.in, c}); err == nil {
			serve(conn)
		}
	})
}

// StartRaw listens until the test ends. Each connection gets answer when its request's headers are
// read, and is closed.
func StartRaw(t testing.TB, answer string) (url string) {
	return listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if strings.TrimSpace(line) == "" {
				break
			}
		}
		_, _ = io.WriteString(c, answer)
	})
}

func listen(t testing.TB, serve func(net.Conn)) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex // guards open and closed
	open, closed := map[net.Conn]bool{}, false
	running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if closed {
				_ = c.Close()
				mu.Unlock()
				continue
			}
			open[c] = true
			mu.Unlock()
			running.Go(func() {
				serve(c)
				mu.Lock()
				delete(open, c)
				mu.Unlock()
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		closed = true
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return "http://" + listener.Addr().String()
}

type buffered struct {
	io.Reader
	io.Writer
}

// A Conn is the server's end of a connection.
type Conn struct {
	net.Conn
	Target string // of the request: path and query
	in     *bufio.Reader
}

// Parameter returns a parameter of the request's URL.
func (c *Conn) Parameter(name string) string {
	u, err := url.ParseRequestURI(c.Target)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}

// Send writes to the client, and reports whether that succeeded: the client may have left.
func (c *Conn) Send(pieces ...[]byte) bool {
	_, err := c.Write(bytes.Join(pieces, nil))
	return err == nil
}

// Receive waits for the next frame of the client. ok is false if the connection ended, or the frame
// is not masked.
func (c *Conn) Receive() (op ws.OpCode, payload []byte, ok bool) {
	f, err := ws.ReadFrame(c.in)
	if err != nil || !f.Header.Masked {
		return 0, nil, false
	}
	return f.Header.OpCode, ws.UnmaskFrameInPlace(f).Payload, true
}

// WaitForClose reads until the client's close frame, or its end.
func (c *Conn) WaitForClose() (payload []byte, ok bool) {
	for {
		op, payload, ok := c.Receive()
		if !ok || op == ws.OpClose {
			return payload, ok
		}
	}
}

// A Log signs and frames records and knows their positions, as a frame log does.
type Log struct {
	ID      [16]byte
	Signer  *shardus.Signer
	HashKey shardus.HashKey
	bytes   []byte
}

// NewLog makes a log with a new key pair.
func NewLog(t testing.TB) *Log {
	l := &Log{ID: [16]byte{1, 2, 3}, HashKey: shardus.HashKey{4, 5, 6}}
	_, secret, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	l.Signer = shardus.NewSigner(secret, l.HashKey)
	return l
}

// Add appends a record and returns its frame.
func (l *Log) Add(stream, record string) []byte {
	start := len(l.bytes)
	l.bytes = wsproto.AppendTextFrame(l.bytes, l.Signer.AppendMessage(nil, stream, []byte(record)))
	return l.bytes[start:len(l.bytes):len(l.bytes)]
}

// End returns the position after all records.
func (l *Log) End() wsproto.Position {
	return wsproto.Position{Log: l.ID, Offset: uint64(len(l.bytes))}
}

// Ping returns the ping frame that says a position.
func Ping(p wsproto.Position) []byte {
	return wsproto.AppendControl(nil, ws.OpPing, p.AppendTo(nil))
}

// Since returns the frames from a position on.
func (l *Log) Since(p wsproto.Position) []byte { return l.bytes[p.Offset:] }
