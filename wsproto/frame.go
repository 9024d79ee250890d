package wsproto

import (
	"encoding/binary"
	"fmt"

	"github.com/gobwas/ws"
)

// NoStatus is the code of a close frame without a body (RFC 6455 §7.1.5). It is never sent: Reader
// reports it for an empty close frame, and AppendClose writes an empty one for it.
const NoStatus = uint16(ws.StatusNoStatusRcvd)

const finBit = 0x80

// MaxHeader is the size of the largest header of a frame that we send, in bytes.
const MaxHeader = 10

// AppendTextHeader appends the header of an unmasked, final text frame with n payload bytes: 2, 4
// or 10 bytes, always the shortest form.
func AppendTextHeader(dst []byte, n int) []byte {
	dst = append(dst, finBit|byte(ws.OpText))
	switch {
	case n <= 125:
		return append(dst, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
}

// AppendTextFrame appends payload as one unmasked text frame. It does not check that the payload is
// UTF-8.
func AppendTextFrame(dst, payload []byte) []byte {
	return append(AppendTextHeader(dst, len(payload)), payload...)
}

// AppendControl appends an unmasked control frame. It panics if op is no control operation, or the
// payload is longer than ws.MaxControlFramePayloadSize: such a frame would make every client drop
// the connection.
func AppendControl(dst []byte, op ws.OpCode, payload []byte) []byte {
	if !op.IsControl() || op.IsReserved() || len(payload) > ws.MaxControlFramePayloadSize {
		panic(fmt.Sprintf("wsproto: control frame with operation %#x and %d bytes",
			byte(op), len(payload)))
	}
	return append(append(dst, finBit|byte(op), byte(len(payload))), payload...)
}

// AppendClose appends an unmasked close frame, for NoStatus one without a body. It panics on a code
// that must not be sent, and on a reason longer than 123 bytes.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if code == NoStatus && reason == "" {
		return append(dst, finBit|byte(ws.OpClose), 0)
	}
	if !validCloseCode(code) || len(reason) > ws.MaxControlFramePayloadSize-2 {
		panic(fmt.Sprintf("wsproto: close frame with code %d and a reason of %d bytes",
			code, len(reason)))
	}
	dst = append(dst, finBit|byte(ws.OpClose), byte(2+len(reason)))
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}

// validCloseCode reports whether code may be in a close frame. The set is that of npm ws 8.17: the
// codes registered by IANA up to 1014 (ws.CheckCloseFrameData accepts none beyond 1011), and the
// two ranges for libraries and applications.
func validCloseCode(code uint16) bool {
	switch {
	case code == 1004, code == 1005, code == 1006:
		return false
	case code >= 1000 && code <= 1014:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}
