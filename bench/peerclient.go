package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"github.com/gobwas/ws"

	"distributor/bench/raw"
	"distributor/bench/subscriber"
	"distributor/wsproto"
	"distributor/wsproto/collector"
)

// peerClient is a client of a peer that compares every message with what has to
// come, byte for byte.
type peerClient struct {
	bareClient
	peer     *peer
	compress bool
	left     []byte // the frames whose messages are still to come
	message  []byte // the frame that was read
	more     []byte // what of it has not been looked at
	inflate  wsproto.Inflater
	count    int
}

func dialPeer(s *peerServer, frames []byte) (*peerClient, error) {
	conn, err := net.Dial("tcp", s.Address)
	if err != nil {
		return nil, err
	}
	c := &peerClient{bareClient: newBareClient(conn), peer: s.peer, compress: s.compress, left: frames}
	if err := c.upgrade(s.target()); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.name, err), conn.Close())
	}
	return c, nil
}

func (c *peerClient) upgrade(t subscriber.Target) error {
	request, err := subscriber.UpgradeRequest(t, c.readAt)
	if err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	if t.Greeting == "" {
		return nil
	}
	if _, err := c.Write(subscriber.Greeting(t.Greeting)); err != nil {
		return err
	}
	defer func() { c.more = nil }()
	return c.read()
}

// read takes a message. A compressed one may be in several frames.
func (c *peerClient) read() error {
	c.message = c.message[:0]
	deflated, last := false, false
	for op := ws.OpText; !last; op = ws.OpContinuation {
		h, err := ws.ReadHeader(c.in)
		if err != nil {
			return err
		}
		if op == ws.OpText && c.compress {
			deflated = h.Rsv == ws.Rsv(true, false, false)
		}
		last = h.Fin
		if h.OpCode != op || h.Masked || !last && !c.compress || h.Rsv != 0 && (!deflated || op != ws.OpText) {
			return fmt.Errorf("a frame with the header %+v, after %d messages", h, c.count)
		}
		begin := len(c.message)
		c.message = slices.Grow(c.message, int(h.Length))[:begin+int(h.Length)]
		if _, err := io.ReadFull(c.in, c.message[begin:]); err != nil {
			return err
		}
	}
	var err error
	if c.more = c.message; deflated {
		c.more, err = c.inflate.Message(c.message, wsproto.DefaultMaxMessage)
	}
	return err
}

// payloadOf is the message in a frame.
func payloadOf(frame []byte) []byte {
	switch {
	case frame[1] < 126:
		return frame[2:]
	case frame[1] == 126:
		return frame[4:]
	default:
		return frame[10:]
	}
}

// Next tells when the next message has come. All calls have the same ctx, whose
// end ends the connection.
func (c *peerClient) Next(ctx context.Context) (collector.Message, error) {
	c.watchOver(ctx)
	if len(c.more) == 0 {
		if err := c.read(); err != nil {
			return collector.Message{}, err
		}
	}
	message := c.more
	c.more = nil
	if c.peer.before != "" {
		message, c.more, _ = bytes.Cut(message, []byte("\n"))
	}
	size, err := raw.FrameSize(c.left)
	if err != nil {
		return collector.Message{}, fmt.Errorf("message %d: there are no more: %w", c.count+1, err)
	}
	want := payloadOf(c.left[:size])
	if len(message) != len(c.peer.before)+len(want)+len(c.peer.after) || !bytes.Equal(message[len(c.peer.before):len(message)-len(c.peer.after)], want) {
		return collector.Message{}, fmt.Errorf("message %d is not what was broadcast: %.100q", c.count+1, message)
	}
	c.left = c.left[size:]
	c.count++
	return collector.Message{Text: want, Received: c.readAt}, nil
}

// all receives n messages.
func (c *peerClient) all(ctx context.Context, n int) error {
	for range n {
		if _, err := c.Next(ctx); err != nil {
			return fmt.Errorf("after %d of %d messages: %w", c.count, n, err)
		}
	}
	return nil
}
