package collector

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/gobwas/ws"
)

const firstBuffer = 64 << 10

// input divides the server's bytes into frames. buf[start:end] is received and not parsed yet.
type input struct {
	conn       net.Conn
	buf        []byte
	start, end int
	maxPayload int
	fragmented bool      // inside a message of several frames
	deflate    bool      // permessage-deflate was negotiated
	readAt     time.Time // when the last bytes were read

	// A read is interrupted by changing its deadline, which watch does when ctx ends. One watch serves
	// all calls with the same context, so that a call costs nothing while messages are buffered.
	ctx       context.Context
	stopWatch func() bool
}

// A frame is one frame of the server. The payload is valid until the next call of next.
type frame struct {
	op      ws.OpCode
	final   bool
	deflate bool // first frame of a compressed message
	payload []byte
	size    int // with header
}

var longAgo = time.Unix(1, 0)

// next waits for a whole frame. If ctx ends first nothing is lost: a later call continues.
func (in *input) next(ctx context.Context) (frame, error) {
	if err := in.need(ctx, 2); err != nil {
		return frame{}, err
	}
	b0, b1 := in.buf[in.start], in.buf[in.start+1]
	h := ws.Header{
		Fin: b0&0x80 != 0, Rsv: b0 >> 4 & 7, OpCode: ws.OpCode(b0 & 0xf),
		Masked: b1&0x80 != 0, Length: int64(b1 & 0x7f),
	}
	// RSV1 marks a compressed message, on its first frame only (RFC 7692 §6).
	compressed := in.deflate && h.Rsv == 4 && (h.OpCode == ws.OpText || h.OpCode == ws.OpBinary)
	if compressed {
		h.Rsv = 0
	}
	state := ws.StateClientSide
	if in.fragmented {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return frame{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	length, headerSize := uint64(h.Length), 2
	switch h.Length {
	case 126:
		headerSize = 4
		if err := in.need(ctx, headerSize); err != nil {
			return frame{}, err
		}
		length = uint64(binary.BigEndian.Uint16(in.buf[in.start+2:]))
	case 127:
		headerSize = 10
		if err := in.need(ctx, headerSize); err != nil {
			return frame{}, err
		}
		length = binary.BigEndian.Uint64(in.buf[in.start+2:])
	}
	if length > uint64(in.maxPayload) {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes, at most %d are taken",
			ErrProtocol, length, in.maxPayload)
	}
	size := headerSize + int(length)
	if err := in.need(ctx, size); err != nil {
		return frame{}, err
	}
	payload := in.buf[in.start+headerSize : in.start+size : in.start+size]
	f := frame{op: h.OpCode, final: h.Fin, deflate: compressed, payload: payload, size: size}
	in.start += size
	if f.op.IsData() {
		in.fragmented = !f.final
	}
	return f, nil
}

// hasText reports whether the next frame is a whole message and was received. If a control frame
// comes first, it returns false.
func (in *input) hasText() bool {
	b := in.buf[in.start:in.end]
	if len(b) < 10 || b[0]&^0x40 != 0x80|byte(ws.OpText) {
		return false // every message has at least 10 bytes
	}
	switch b[1] {
	case 126:
		return len(b) >= 4+int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return uint64(len(b)-10) >= binary.BigEndian.Uint64(b[2:])
	}
	return len(b) >= 2+int(b[1])
}

// need reads until n bytes are buffered.
func (in *input) need(ctx context.Context, n int) error {
	for in.end-in.start < n {
		if err := ctx.Err(); err != nil {
			return err
		}
		if in.start == in.end {
			in.start, in.end = 0, 0
		} else if in.start+n > len(in.buf) {
			in.end = copy(in.buf, in.buf[in.start:in.end])
			in.start = 0
		}
		// The buffer grows as bytes arrive, so an announced length alone costs no memory.
		if in.end == len(in.buf) {
			more := max(firstBuffer, min(len(in.buf), n-len(in.buf)))
			in.buf = append(in.buf, make([]byte, more)...)
		}
		in.watch(ctx)
		k, err := in.conn.Read(in.buf[in.end:])
		in.end += k
		if k > 0 {
			in.readAt = time.Now()
			continue
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The watch of an earlier context fired late.
			if err := in.conn.SetReadDeadline(time.Time{}); err != nil {
				return fmt.Errorf("%w: %w", ErrLost, err)
			}
		default:
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
	return nil
}

// watch makes reads end when ctx ends.
func (in *input) watch(ctx context.Context) {
	if ctx == in.ctx {
		return
	}
	in.unwatch()
	_ = in.conn.SetReadDeadline(time.Time{}) // the read returns the error
	in.ctx = ctx
	in.stopWatch = context.AfterFunc(ctx, func() { _ = in.conn.SetReadDeadline(longAgo) })
}

func (in *input) unwatch() {
	if in.stopWatch != nil {
		in.stopWatch()
	}
	in.ctx, in.stopWatch = nil, nil
}
