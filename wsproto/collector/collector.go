package collector

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/shardus"

	"github.com/gobwas/ws"
)

const (
	defaultDialTimeout = 10 * time.Second
	writeTimeout       = 10 * time.Second // of a pong or close frame; the socket is rarely full
	closeTimeout       = 2 * time.Second  // of the server's half of the close handshake
)

// Options configure a Collector.
type Options struct {
	URL              string            // "http://host:port" or "ws://host:port"; path and parameters are kept
	Keys             shardus.SecretKey // of the collector
	HashKey          shardus.HashKey
	ExpectOwner      shardus.PublicKey // the server's key; zero: that of the first valid message
	SubscriptionType string            // default "FIREHOSE"
	From             wsproto.From
	Notices          bool          // ask for notices: they are Messages with Notice set
	Compress         bool          // offer permessage-deflate
	DialTimeout      time.Duration // for connection and upgrade together; default 10 s
	MaxMessage       int           // in bytes; default wsproto.DefaultMaxMessage
	VerifyEvery      int           // verify every n-th message, and the first; default 1: all
	Logger           *slog.Logger  // default: discard
}

// A Collector is one connection. It belongs to one goroutine.
type Collector struct {
	options  Options
	conn     net.Conn
	in       input
	out      []byte // the frame being written
	parts    []byte // the frames so far of a message in several frames
	partSize int    // size of these frames, headers included
	deflated bool   // the message is compressed
	inflater wsproto.Inflater
	messages uint64
	err      error // why the connection has ended

	owner    shardus.PublicKey
	ownerHex string
	pinned   bool

	// position is that of the newest ping, or of Options.From. since counts the bytes of message
	// frames after position.
	position wsproto.Position
	located  bool
	since    uint64
	pinged   bool // a ping has said a position
}

// Dial connects, and returns when the server has accepted the upgrade. Errors: *RefusedError,
// ErrLost, ErrProtocol, ErrOptions.
func Dial(ctx context.Context, o Options) (*Collector, error) {
	if o.DialTimeout <= 0 {
		o.DialTimeout = defaultDialTimeout
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = wsproto.DefaultMaxMessage
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	request, err := RequestURL(o, time.Now())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	conn, early, deflate, err := connect(ctx, request, o.Compress)
	if err != nil {
		return nil, err
	}
	c := &Collector{options: o, conn: conn}
	c.in = input{
		conn: conn, buf: make([]byte, max(firstBuffer, len(early))), maxPayload: o.MaxMessage,
		deflate: deflate, readAt: time.Now(),
	}
	c.in.end = copy(c.in.buf, early)
	if o.ExpectOwner != (shardus.PublicKey{}) {
		c.pin(o.ExpectOwner)
	}
	if o.From.Start == wsproto.At {
		c.position, c.located = o.From.Position, true
	}
	return c, nil
}

// Next waits for the next message. Meanwhile it answers pings, and reads positions from them. After
// ErrForged (with the message, as far as it could be parsed), a *GapError, or the error of ctx,
// Next may be called again. Any other error (*CloseError, ErrLost, ErrProtocol) is final.
func (c *Collector) Next(ctx context.Context) (Message, error) {
	if c.err != nil {
		return Message{}, c.err
	}
	for {
		f, err := c.in.next(ctx)
		if err != nil {
			return Message{}, c.fail(err)
		}
		switch f.op {
		case ws.OpPing:
			if err := c.write(ws.OpPong, f.payload); err != nil {
				return Message{}, c.fail(err)
			}
			if err := c.locate(f.payload); err != nil {
				return Message{}, err
			}
		case ws.OpPong:
		case ws.OpClose:
			return Message{}, c.fail(c.answerClose(f.payload))
		case ws.OpBinary:
			return Message{}, c.fail(fmt.Errorf("%w: a binary message", ErrProtocol))
		default:
			text, whole, err := c.assemble(f)
			if err != nil {
				return Message{}, c.fail(err)
			}
			if !whole {
				continue
			}
			if c.deflated {
				if text, err = c.inflate(text); err != nil {
					return Message{}, c.fail(err)
				}
			}
			size := c.partSize
			c.partSize = 0
			if c.options.Notices && bytes.HasPrefix(text, noticeStart) {
				return c.takeNotice(text)
			}
			c.since += uint64(size)
			return c.take(text)
		}
	}
}

// assemble joins the frames of a message. A message of one frame, which is usual, is not copied.
func (c *Collector) assemble(f frame) (text []byte, whole bool, err error) {
	c.partSize += f.size
	if f.op == ws.OpText {
		c.deflated = f.deflate
		if f.final {
			return f.payload, true, nil
		}
		c.parts = c.parts[:0]
	}
	if len(c.parts)+len(f.payload) > c.options.MaxMessage {
		return nil, false, fmt.Errorf("%w: a message of more than %d bytes",
			ErrProtocol, c.options.MaxMessage)
	}
	c.parts = append(c.parts, f.payload...)
	return c.parts, f.final, nil
}

// inflate returns the text of a compressed message. It counts as the uncompressed frame in
// positions.
func (c *Collector) inflate(payload []byte) ([]byte, error) {
	text, err := c.inflater.Message(payload, c.options.MaxMessage)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	var header [10]byte
	c.partSize = len(wsproto.AppendTextHeader(header[:0], len(text))) + len(text)
	return text, nil
}

// locate reads the position in a ping, and checks that the bytes received since the last one match.
func (c *Collector) locate(payload []byte) error {
	p, err := wsproto.ParsePosition(payload)
	if err != nil {
		return nil // a ping without a position
	}
	from, received, known, sameLog := c.position, c.since, c.located, c.pinged
	c.position, c.since, c.located, c.pinged = p, 0, true, true
	// The server accepts a position of a log from which its current log was recovered. Then the first
	// ping has the id of the current log. Offsets continue.
	if known && (sameLog && p.Log != from.Log || p.Offset != from.Offset+received) {
		return &GapError{From: from, To: p, Received: received}
	}
	return nil
}

// Position returns the position after the last message that Next returned. ok is false as long as
// the server has not said a position. Save the position when that message is processed.
func (c *Collector) Position() (p wsproto.Position, ok bool) {
	return wsproto.Position{Log: c.position.Log, Offset: c.position.Offset + c.since}, c.located
}

// Compressed reports whether compression was negotiated. Each message may be compressed or not.
func (c *Collector) Compressed() bool { return c.in.deflate }

// Owner returns the server's key. ok is false as long as the key is neither given nor learned.
func (c *Collector) Owner() (key shardus.PublicKey, ok bool) { return c.owner, c.pinned }

// Pending reports whether a further message was received already, so that Next will return at once.
// If it is false, Next may wait, so buffered output should be flushed.
func (c *Collector) Pending() bool { return c.in.hasText() }

// Close ends the connection with a close handshake, for which it waits at most two seconds. It must
// be called on the goroutine that calls Next: cancel Next's context first. A second call does
// nothing.
func (c *Collector) Close() {
	if c.err != nil {
		return
	}
	if c.write(ws.OpClose, []byte{0x03, 0xe8}) == nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		for {
			f, err := c.in.next(ctx)
			if err != nil || f.op == ws.OpClose {
				break
			}
		}
	}
	_ = c.fail(fmt.Errorf("%w: %w", ErrLost, net.ErrClosed))
}

// answerClose echoes the server's close frame, and returns it as an error.
func (c *Collector) answerClose(body []byte) error {
	closed := &CloseError{Code: wsproto.NoStatus}
	if len(body) >= 2 {
		closed.Code = binary.BigEndian.Uint16(body)
		closed.Reason = clip(string(body[2:]))
		body = body[:2]
	}
	if len(body) != 1 {
		_ = c.write(ws.OpClose, body) // an error does not matter: the close frame was received
	}
	return closed
}

// fail closes the connection and keeps err, unless only the caller's context has ended.
func (c *Collector) fail(err error) error {
	ended := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if ended && !errors.Is(err, ErrLost) {
		return err
	}
	c.in.unwatch()
	if errors.Is(err, ErrProtocol) && c.write(ws.OpClose, []byte{0x03, 0xea}) == nil {
		c.discard()
	}
	_ = c.conn.Close()
	c.err = err
	return err
}

// discard shuts down our side, and reads up to the server's end, for closeTimeout at most. Closing
// a socket with unread input resets the connection, which can destroy our close frame on its way.
func (c *Collector) discard() {
	if tcp, ok := c.conn.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		_ = tcp.SetReadDeadline(time.Now().Add(closeTimeout))
		_, _ = io.Copy(io.Discard, tcp)
	}
}

// write sends a control frame.
func (c *Collector) write(op ws.OpCode, payload []byte) error {
	mask := ws.NewMask()
	c.out = append(c.out[:0], 0x80|byte(op), 0x80|byte(len(payload)))
	c.out = append(append(c.out, mask[:]...), payload...)
	ws.Cipher(c.out[6:], mask, 0)
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return fmt.Errorf("%w: writing: %w", ErrLost, err)
	}
	return nil
}
