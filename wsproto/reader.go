package wsproto

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// DefaultMaxMessage is the message limit of a Reader that has none set, in bytes. It is that of the
// replaced service.
const DefaultMaxMessage = 100 << 20

// A Handler gets what a client sent. Payload slices are valid until the method returns. An error
// from a method ends the parsing, and Feed returns it unchanged.
type Handler interface {
	Ping(payload []byte) error
	Pong(payload []byte) error
	// Close is called at most once, and last. code is NoStatus if the frame had no body. AppendClose
	// may echo both.
	Close(code uint16, reason []byte) error
	// Data is called for n payload bytes of a text or binary message. The bytes are not kept. end
	// means that the message is complete. Data is called at least once per data frame, also for an
	// empty one (n is 0), so that limits on calls and bytes bound the work that a client can cause.
	// How a frame is divided over calls depends on how its bytes arrived.
	Data(n int, end bool) error
}

// A Reader parses what one client sends. The zero value is ready for use. It takes the bytes in any
// division, allocates only when it fails, and keeps at most a frame header and a control payload
// (about 180 bytes in all).
//
// It is for one goroutine. Text is checked for UTF-8 as it passes, except compressed text, which
// would have to be inflated.
type Reader struct {
	// MaxMessage is the largest text or binary message, in payload bytes over all its frames, as their
	// headers announce them; 0 means DefaultMaxMessage.
	MaxMessage int64
	// Deflate means that permessage-deflate was negotiated. Then the first frame of a message may have
	// RSV1 set.
	Deflate bool

	fragmented bool  // between the first and the last frame of a message
	inPayload  bool  // the header is complete, left bytes of payload are to come
	closed     bool  // a close frame was read: later bytes are ignored
	text       bool  // the current message is text, and not compressed
	maskPos    uint8 // index of the mask byte for the next byte of a text's payload
	utf8       utf8Checker
	left       int64 // of the current frame's payload
	message    int64 // bytes that the headers of the current message announced
	err        error

	headerLen  uint8 // bytes in header
	controlLen uint8 // bytes in control
	header     [ws.MaxHeaderSize]byte
	control    [ws.MaxControlFramePayloadSize]byte // masked; used only if a payload comes in pieces
}

// Feed parses the next bytes of the client. It modifies p (control payloads and text are unmasked
// in place) and does not keep it. If the client broke a rule, the error wraps the Disconnect to
// close with; otherwise it is the Handler's own. After an error every further call returns the same
// error.
func (r *Reader) Feed(p []byte, h Handler) error {
	for r.err == nil && !r.closed && len(p) > 0 {
		if !r.inPayload {
			p, r.err = r.feedHeader(p)
			// A frame without payload is complete with its header.
			if r.err != nil || !r.inPayload || r.left > 0 {
				continue
			}
		}
		if ws.OpCode(r.header[0] & 0x0f).IsControl() {
			p, r.err = r.feedControl(p, h)
		} else {
			p, r.err = r.feedData(p, h)
		}
	}
	return r.err
}

// feedHeader collects header bytes, and checks each part as soon as it is complete. It sets
// inPayload when the whole header is complete.
func (r *Reader) feedHeader(p []byte) ([]byte, error) {
	if r.headerLen < 2 {
		if p = r.collectHeader(p, 2); r.headerLen < 2 {
			return p, nil
		}
		if err := r.checkStart(); err != nil {
			return p, err
		}
	}
	lengthSize := 0
	switch r.header[1] & 0x7f {
	case 126:
		lengthSize = 2
	case 127:
		lengthSize = 8
	}
	if p = r.collectHeader(p, 2+lengthSize+4); int(r.headerLen) < 2+lengthSize+4 {
		return p, nil
	}
	return p, r.begin(lengthSize)
}

func (r *Reader) collectHeader(p []byte, size int) []byte {
	n := copy(r.header[r.headerLen:size], p)
	r.headerLen += uint8(n)
	return p[n:]
}

// checkStart applies the rules that the first two bytes can break.
func (r *Reader) checkStart() error {
	b0, b1 := r.header[0], r.header[1]
	h := ws.Header{
		Fin: b0&finBit != 0, OpCode: ws.OpCode(b0 & 0x0f),
		Masked: b1&0x80 != 0, Length: int64(b1 & 0x7f),
	}
	// RSV1 marks a compressed message, on its first frame only (RFC 7692 §6).
	rsv := b0 & 0x70
	if r.Deflate && (h.OpCode == ws.OpText || h.OpCode == ws.OpBinary) {
		rsv &^= 0x40
	}
	if rsv != 0 {
		return fmt.Errorf("%w: %w", ProtocolError, errReservedBits)
	}
	state := ws.StateServerSide
	if r.fragmented {
		state = state.Set(ws.StateFragmented)
	}
	// For lengths above 125 Length is the marker 126 or 127, which suffices for the rule about control
	// frames.
	if err := ws.CheckHeader(h, state); err != nil {
		return fmt.Errorf("%w: %w", ProtocolError, err)
	}
	return nil
}

// begin reads the payload length of a complete header.
func (r *Reader) begin(lengthSize int) error {
	var n uint64
	switch lengthSize {
	case 0:
		n = uint64(r.header[1] & 0x7f)
	case 2:
		n = uint64(binary.BigEndian.Uint16(r.header[2:]))
	case 8:
		n = binary.BigEndian.Uint64(r.header[2:])
	}
	if n>>63 != 0 {
		return fmt.Errorf("%w: %w", ProtocolError, errLengthBit)
	}
	if lengthSize == 2 && n < 126 || lengthSize == 8 && n <= 0xffff {
		return fmt.Errorf("%w: %w", ProtocolError, errLengthForm)
	}
	if op := ws.OpCode(r.header[0] & 0x0f); op.IsData() {
		if op != ws.OpContinuation {
			r.text = op == ws.OpText && r.header[0]&rsv1Bit == 0
		}
		r.maskPos = 0
		limit := r.MaxMessage
		if limit <= 0 {
			limit = DefaultMaxMessage
		}
		if int64(n) > limit-r.message {
			return fmt.Errorf("%w: %w: %d bytes", MessageTooBig, errMessageLength, n)
		}
		r.message += int64(n)
	}
	r.left, r.inPayload = int64(n), true
	return nil
}

func (r *Reader) feedData(p []byte, h Handler) ([]byte, error) {
	n := int(min(r.left, int64(len(p))))
	r.left -= int64(n)
	end := r.left == 0 && r.header[0]&finBit != 0
	if r.text {
		ws.Cipher(p[:n], [4]byte(r.header[r.headerLen-4:r.headerLen]), int(r.maskPos))
		r.maskPos = uint8(int(r.maskPos)+n) & 3
		if !r.utf8.feed(p[:n]) || end && r.utf8.need > 0 {
			return p[n:], fmt.Errorf("%w: %w", InvalidPayload, errText)
		}
	}
	if r.left == 0 {
		r.fragmented = !end
		if end {
			r.message = 0
		}
		r.endFrame()
	}
	return p[n:], h.Data(n, end)
}

func (r *Reader) feedControl(p []byte, h Handler) ([]byte, error) {
	n := int(min(r.left, int64(len(p))))
	payload := p[:n:n]
	if r.controlLen > 0 || int64(n) < r.left {
		r.controlLen += uint8(copy(r.control[r.controlLen:], payload))
		payload = r.control[:r.controlLen]
	}
	r.left -= int64(n)
	if r.left > 0 {
		return p[n:], nil
	}
	mask := [4]byte(r.header[r.headerLen-4 : r.headerLen])
	ws.Cipher(payload, mask, 0)
	op := ws.OpCode(r.header[0] & 0x0f)
	r.endFrame()
	switch op {
	case ws.OpPing:
		return p[n:], h.Ping(payload)
	case ws.OpPong:
		return p[n:], h.Pong(payload)
	default:
		return p[n:], r.close(payload, h)
	}
}

func (r *Reader) endFrame() { r.inPayload, r.headerLen, r.controlLen = false, 0, 0 }

func (r *Reader) close(body []byte, h Handler) error {
	code, reason, err := parseCloseBody(body)
	if err != nil {
		return err
	}
	r.closed = true
	return h.Close(code, reason)
}

// parseCloseBody returns the parts of an unmasked close frame's payload.
func parseCloseBody(body []byte) (code uint16, reason []byte, err error) {
	if len(body) == 0 {
		return NoStatus, nil, nil
	}
	if len(body) == 1 {
		return 0, nil, fmt.Errorf("%w: %w", ProtocolError, errCloseBody)
	}
	code, reason = binary.BigEndian.Uint16(body), body[2:]
	if !validCloseCode(code) {
		return 0, nil, fmt.Errorf("%w: %w: %d", ProtocolError, errCloseCode, code)
	}
	if !utf8.Valid(reason) {
		return 0, nil, fmt.Errorf("%w: %w", InvalidPayload, errCloseReason)
	}
	return code, reason, nil
}
