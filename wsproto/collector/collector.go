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
	writeTimeout       = 10 * time.Second // for a pong or close frame, into a socket that is nearly always writable
	closeTimeout       = 2 * time.Second  // for the server's half of the close handshake
)

// Options say where to connect, as whom, and from where in the stream.
type Options struct {
	URL              string            // "http://host:port" or "ws://host:port"; a path and further parameters are kept
	Keys             shardus.SecretKey // of the collector
	HashKey          shardus.HashKey
	ExpectOwner      shardus.PublicKey // of the server; zero: that of the first good message holds for the connection
	SubscriptionType string            // default "FIREHOSE"
	From             wsproto.From
	Notices          bool          // ask for notices: they come as Messages with Notice set
	Compress         bool          // offer permessage-deflate
	DialTimeout      time.Duration // for connection and upgrade together; default 10 s
	MaxMessage       int           // in bytes; default wsproto.DefaultMaxMessage
	VerifyEvery      int           // verify one message in so many; default 1: all. The first is always verified
	Logger           *slog.Logger  // default: silent
}

// A Collector is one connection. It belongs to one goroutine.
type Collector struct {
	options  Options
	conn     net.Conn
	in       input
	out      []byte // the frame being written
	parts    []byte // a message that comes in several frames, so far,
	partSize int    // and the size of these frames
	deflated bool   // it is compressed
	inflater wsproto.Inflater
	messages uint64
	err      error // why the connection is over

	owner    shardus.PublicKey
	ownerHex string
	pinned   bool

	// position is that of the newest ping, or where we asked to begin. since counts the bytes of
	// message frames after position.
	position wsproto.Position
	located  bool
	since    uint64
	pinged   bool // a ping has brought a position
}

// Dial connects, and returns when the server has accepted the upgrade. Errors: *RefusedError, ErrLost, ErrProtocol,
// ErrOptions.
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
	c.in = input{conn: conn, buf: make([]byte, max(firstBuffer, len(early))), maxPayload: o.MaxMessage, deflate: deflate, readAt: time.Now()}
	c.in.end = copy(c.in.buf, early)
	if o.ExpectOwner != (shardus.PublicKey{}) {
		c.pin(o.ExpectOwner)
	}
	if o.From.Start == wsproto.At {
		c.position, c.located = o.From.Position, true
	}
	return c, nil
}

// Next waits for the next message. On the way it answers pings and learns positions.
// After ErrForged, which comes with the message as far as it could be read, a *GapError, and the error of ctx, it may be
// called again; any other error (*CloseError, ErrLost, ErrProtocol) is final.
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

// assemble joins the frames of a message. One frame, the rule, is not copied.
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
		return nil, false, fmt.Errorf("%w: a message of more than %d bytes", ErrProtocol, c.options.MaxMessage)
	}
	c.parts = append(c.parts, f.payload...)
	return c.parts, f.final, nil
}

// inflate reads a compressed message. A position counts it as the frame that it would be uncompressed.
func (c *Collector) inflate(payload []byte) ([]byte, error) {
	text, err := c.inflater.Message(payload, c.options.MaxMessage)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	var header [10]byte
	c.partSize = len(wsproto.AppendTextHeader(header[:0], len(text))) + len(text)
	return text, nil
}

// locate learns from a ping's payload, and checks that what came since the last one is what lies between.
func (c *Collector) locate(payload []byte) error {
	p, err := wsproto.ParsePosition(payload)
	if err != nil {
		return nil // a ping of another kind
	}
	from, received, known, sameLog := c.position, c.since, c.located, c.pinged
	c.position, c.since, c.located, c.pinged = p, 0, true, true
	// The server serves a position of a log that it has recovered from. The first ping then names
	// the log of now. Offsets go on.
	if known && (sameLog && p.Log != from.Log || p.Offset != from.Offset+received) {
		return &GapError{From: from, To: p, Received: received}
	}
	return nil
}

// Position returns the place in the stream behind the last message that Next returned; ok is false while the server has
// not said where we are. Save it once that message is dealt with.
func (c *Collector) Position() (p wsproto.Position, ok bool) {
	return wsproto.Position{Log: c.position.Log, Offset: c.position.Offset + c.since}, c.located
}

// Compressed reports whether the server compresses messages, which each of them may be or not.
func (c *Collector) Compressed() bool { return c.in.deflate }

// Owner returns the server's key; ok is false while it is neither given nor learned.
func (c *Collector) Owner() (key shardus.PublicKey, ok bool) { return c.owner, c.pinned }

// Pending reports whether a further message is here already, so that Next will return at once. When it is false, Next
// may wait: the moment to write out what was buffered.
func (c *Collector) Pending() bool { return c.in.hasText() }

// Close ends the connection with a close handshake, for which it waits at most two seconds. It is not for another
// goroutine than Next's: cancel Next's context first. Calling it twice does nothing.
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

// answerClose makes an error of the server's close frame, which it echoes.
func (c *Collector) answerClose(body []byte) error {
	closed := &CloseError{Code: wsproto.NoStatus}
	if len(body) >= 2 {
		closed.Code = binary.BigEndian.Uint16(body)
		closed.Reason = clip(string(body[2:]))
		body = body[:2]
	}
	if len(body) != 1 {
		_ = c.write(ws.OpClose, body) // the server may be gone; the close frame is here all the same
	}
	return closed
}

// fail closes the connection and remembers why, unless it is only the caller's context that has ended.
func (c *Collector) fail(err error) error {
	if !errors.Is(err, ErrLost) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
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

// discard shuts down our side and reads to the server's end, for closeTimeout at most. Closing a
// socket with unread input resets the connection, which can destroy our close frame on its way.
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
