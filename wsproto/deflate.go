package wsproto

import (
	"encoding/binary"
	"fmt"

	"github.com/gobwas/ws"
	"github.com/klauspost/compress/flate"
)

const rsv1Bit = 0x40

// flushTail is the end of what a flush writes. It is not sent; the receiver appends it again (RFC
// 7692 §7.2.1).
const flushTail = "\x00\x00\xff\xff"

// Levels of a Deflater.
const (
	MinDeflateLevel = 1
	MaxDeflateLevel = 9
)

// A Deflater compresses frames, each on its own: a receiver needs no frame before it. It belongs to
// one goroutine, and allocates nothing after its first frames.
type Deflater struct {
	w   *flate.Writer
	out buffer // what w writes to
}

// NewDeflater returns a Deflater with a level from MinDeflateLevel (fast) to MaxDeflateLevel
// (small).
func NewDeflater(level int) (*Deflater, error) {
	if level < MinDeflateLevel || level > MaxDeflateLevel {
		return nil, fmt.Errorf("wsproto: no deflate level %d", level)
	}
	d := &Deflater{}
	var err error
	d.w, err = flate.NewWriter(&d.out, level)
	return d, err
}

// buffer is an io.Writer that appends.
type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// Frame compresses one frame that AppendTextFrame made. The result is valid until the next call. It
// is nil if the frame would not become smaller.
func (d *Deflater) Frame(frame []byte) ([]byte, error) {
	_, payload, err := cutText(frame)
	if err != nil {
		return nil, err
	}
	// The header's size depends on the compressed size, so space is reserved for the largest.
	var space [MaxHeader]byte
	d.out = append(d.out[:0], space[:]...)
	d.w.Reset(&d.out)
	if _, err := d.w.Write(payload); err != nil {
		return nil, fmt.Errorf("wsproto: deflate: %w", err)
	}
	if err := d.w.Flush(); err != nil {
		return nil, fmt.Errorf("wsproto: deflate: %w", err)
	}
	n := len(d.out) - MaxHeader - len(flushTail)
	if n < 0 || string(d.out[MaxHeader+n:]) != flushTail {
		end := d.out[max(MaxHeader, len(d.out)-4):]
		return nil, fmt.Errorf("wsproto: deflate: a flush ended with % x", end)
	}
	header := AppendTextHeader(space[:0], n)
	header[0] |= rsv1Bit
	made := d.out[MaxHeader-len(header) : MaxHeader+n]
	copy(made, header)
	if len(made) >= len(frame) {
		return nil, nil
	}
	return made, nil
}

// TextFrameSize returns the size of the first frame in b, which AppendTextFrame must have made.
func TextFrameSize(b []byte) (int, error) {
	size, _, err := cutText(b)
	return size, err
}

// cutText returns the size and payload of the first frame in b.
func cutText(b []byte) (size int, payload []byte, err error) {
	header, n := 2, uint64(0)
	if len(b) >= header && b[0] == finBit|byte(ws.OpText) {
		switch n = uint64(b[1]); {
		case n == 126 && len(b) >= 4:
			header, n = 4, uint64(binary.BigEndian.Uint16(b[2:]))
		case n == 127 && len(b) >= 10:
			header, n = 10, binary.BigEndian.Uint64(b[2:])
		case n > 125:
			n = 1<<64 - 1
		}
		if n <= uint64(len(b)-header) {
			return header + int(n), b[header : header+int(n)], nil
		}
	}
	return 0, nil, fmt.Errorf("wsproto: %d bytes that begin with % x are no text frame",
		len(b), b[:min(len(b), MaxHeader)])
}
