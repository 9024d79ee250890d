package enginetest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"distributor/wsproto"
	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

// PeerOptions describe how a Peer connects and behaves.
type PeerOptions struct {
	Key  shardus.SecretKey
	Type string // subscription type; default "FIREHOSE"
	From string // value of the URL's parameter; may be invalid
	// Notices is the value of the URL's parameter that asks for notices; may be invalid.
	Notices string
	// Compress offers permessage-deflate, as npm ws does.
	Compress bool
	Deaf     bool            // never reads, and has a small receive buffer
	Late     bool            // answers only the last ping, and only after the close frame has come
	Mute     bool            // answers no ping, only the close frame
	Silent   bool            // answers neither pings nor the close frame
	Gate     <-chan struct{} // reads nothing until Gate is closed
}

// Peer is one WebSocket client that the test controls. It stores all that it receives. Methods may
// be called from any goroutine.
type Peer struct {
	conn net.Conn
	done chan struct{} // closed when the connection has ended

	mu           sync.Mutex // guards what follows
	texts        []string
	pongs        []string
	allConfirmed bool                  // a ping, whose pong confirms all, came after the last text
	close        *collector.CloseError // the server's close frame; nil: none came
	closeSent    bool                  // the peer has sent its close frame

	endedAt time.Time // valid when done is closed

	writing sync.Mutex
}

// Connect dials and upgrades. If the distributor refuses, the error is a *collector.RefusedError
// with the whole body as its reason.
func Connect(t testing.TB, address string, o PeerOptions) (*Peer, error) {
	t.Helper()
	buffer := 0
	if o.Deaf {
		buffer = 4096
	}
	conn, in, _, err := handshake(address, o, buffer, nil)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := &Peer{conn: conn, done: make(chan struct{})}
	if !o.Deaf {
		go p.read(in, o)
	}
	return p, nil
}

// handshake dials and upgrades, with a receive buffer of buffer bytes unless that is 0. behind is
// sent with the request. deflate reports whether permessage-deflate was negotiated.
func handshake(address string, o PeerOptions, buffer int, behind []byte) (
	_ net.Conn, _ *bufio.Reader, deflate bool, err error,
) {
	target, err := upgradeTarget(o, time.Now())
	if err != nil {
		return nil, nil, false, err
	}
	host, offer := strings.TrimPrefix(address, "http://"), ""
	if o.Compress {
		offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	}
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, nil, false, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if buffer > 0 {
		if err := conn.(*net.TCPConn).SetReadBuffer(buffer); err != nil {
			return nil, nil, false, err
		}
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, nil, false, err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n"+
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n%s",
		target, host, offer, behind); err != nil {
		return nil, nil, false, err
	}
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, nil, false, fmt.Errorf("enginetest: the answer to the upgrade: %w", err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return nil, nil, false, fmt.Errorf("enginetest: the body of a refusal: %w", err)
		}
		return nil, nil, false, &collector.RefusedError{Status: answer.StatusCode, Reason: string(body)}
	}
	deflate = strings.HasPrefix(answer.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate;")
	return conn, in, deflate, conn.SetDeadline(time.Time{})
}

// MustConnect is Connect, and fails the test if the peer is refused.
func MustConnect(t testing.TB, address string, o PeerOptions) *Peer {
	t.Helper()
	p, err := Connect(t, address, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Bounds returns a distributor's floor and head. It asks for a position of an unknown log, because
// the refusal names them.
func Bounds(t testing.TB, address string) (floor, head wsproto.Position) {
	t.Helper()
	_, err := Connect(t, address, PeerOptions{Key: newKey(t), From: wsproto.Position{}.String()})
	var refused *collector.RefusedError
	var answer struct{ Floor, Head string }
	if !errors.As(err, &refused) || json.Unmarshal([]byte(refused.Reason), &answer) != nil {
		t.Fatalf("asked for a position of an unknown log: got %v, want a refusal with floor and head", err)
	}
	var errs [2]error
	floor, errs[0] = wsproto.ParsePosition(answer.Floor)
	head, errs[1] = wsproto.ParsePosition(answer.Head)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return floor, head
}

func newKey(t testing.TB) shardus.SecretKey {
	t.Helper()
	_, key, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// upgradeTarget returns the request target of an upgrade, signed as collectors do.
func upgradeTarget(o PeerOptions, now time.Time) (string, error) {
	if o.Type == "" {
		o.Type = "FIREHOSE"
	}
	signer := shardus.NewSigner(o.Key, hashKey)
	signed, err := signer.AppendSigned(nil, shardus.ObjectValue(
		shardus.Member{Key: "collectorInfo", Value: shardus.ObjectValue(
			shardus.Member{Key: "subscriptionType", Value: shardus.TextValue(o.Type)},
			shardus.Member{Key: "timestamp", Value: shardus.NumberValue(float64(now.UnixMilli()))},
		)},
		shardus.Member{Key: "sender", Value: shardus.TextValue(signer.PublicKey().String())},
	))
	if err != nil {
		return "", fmt.Errorf("enginetest: sign the upgrade: %w", err)
	}
	target := "/?data=" + url.QueryEscape(string(signed))
	if o.From != "" {
		target += "&from=" + url.QueryEscape(o.From)
	}
	if o.Notices != "" {
		target += "&notices=" + url.QueryEscape(o.Notices)
	}
	return target, nil
}

// read stores messages, and answers pings and the close frame. At the end it closes the connection,
// as every WebSocket library does, because the worker waits for that.
func (p *Peer) read(in *bufio.Reader, o PeerOptions) {
	var held []byte // payload of the last ping, if Late
	if o.Gate != nil {
		<-o.Gate
	}
	defer close(p.done)
	defer p.Terminate()
	defer func() { p.endedAt = time.Now() }()
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		p.mu.Lock()
		switch h.OpCode {
		case ws.OpText:
			p.texts, p.allConfirmed = append(p.texts, string(payload)), false
		case ws.OpPong:
			p.pongs = append(p.pongs, string(payload))
		case ws.OpPing:
			p.allConfirmed = true
		case ws.OpClose:
			p.close = &collector.CloseError{Code: wsproto.NoStatus}
			if len(payload) >= 2 {
				p.close.Code, p.close.Reason = binary.BigEndian.Uint16(payload), string(payload[2:])
			}
		}
		answered := p.closeSent
		p.mu.Unlock()
		switch {
		case o.Silent, o.Mute && h.OpCode == ws.OpPing:
		case h.OpCode == ws.OpPing && o.Late:
			held = payload
		case h.OpCode == ws.OpPing:
			p.send(ws.OpPong, payload)
		case h.OpCode == ws.OpClose && !answered:
			if held != nil {
				p.send(ws.OpPong, held)
			}
			p.send(ws.OpClose, payload[:min(len(payload), 2)])
		}
	}
}

// send sends a frame. If the server has gone, the next read fails.
func (p *Peer) send(op ws.OpCode, payload []byte) {
	p.writing.Lock()
	defer p.writing.Unlock()
	_ = ws.WriteFrame(p.conn, ws.MaskFrame(ws.NewFrame(op, true, payload)))
}

// Say sends a text.
func (p *Peer) Say(text string) { p.send(ws.OpText, []byte(text)) }

// Ping sends a ping.
func (p *Peer) Ping(text string) { p.send(ws.OpPing, []byte(text)) }

// Close sends a close frame; code 0: without a code.
func (p *Peer) Close(code uint16) {
	p.mu.Lock()
	p.closeSent = true
	p.mu.Unlock()
	var body []byte
	if code != 0 {
		body = binary.BigEndian.AppendUint16(nil, code)
	}
	p.send(ws.OpClose, body)
}

// Terminate closes the connection without a close frame.
func (p *Peer) Terminate() { _ = p.conn.Close() }

// Texts returns the messages so far.
func (p *Peer) Texts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clip(p.texts)
}

// Confirmed reports whether a ping came after the last message, so that its pong confirms all.
func (p *Peer) Confirmed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.allConfirmed || len(p.texts) == 0
}

// Pongs returns the payloads of the pongs so far.
func (p *Peer) Pongs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clip(p.pongs)
}

// Ended reports whether the connection has ended, and returns the server's close frame; nil: none.
func (p *Peer) Ended() (bool, *collector.CloseError) {
	select {
	case <-p.done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return true, p.close
	default:
		return false, nil
	}
}

// WaitClosed waits for the end of the connection, and fails the test unless the server sent a close
// frame with the code.
func (p *Peer) WaitClosed(t testing.TB, code uint16) *collector.CloseError {
	t.Helper()
	within(t, p.done, func() {})
	_, end := p.Ended()
	if end == nil || end.Code != code {
		t.Fatalf("the connection ended with %v, want code %d", end, code)
	}
	return end
}
