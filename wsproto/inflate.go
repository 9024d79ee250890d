package wsproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
)

// ErrInflate: the payload of a compressed message is invalid DEFLATE data, or inflates to more than
// the limit.
var ErrInflate = errors.New("wsproto: a compressed message cannot be read")

// An Inflater inflates compressed messages, each on its own. The zero value is ready. It belongs to
// one goroutine.
type Inflater struct {
	r   io.ReadCloser
	in  bytes.Reader
	out []byte
	src []byte
}

// Message returns the text of a message. payload is the payloads of the message's frames, joined.
// The text is valid until the next call, and never has more than limit bytes. Errors wrap
// ErrInflate.
func (i *Inflater) Message(payload []byte, limit int) ([]byte, error) {
	// A final, empty block after the tail makes the end of the message the end of the stream.
	i.src = append(append(i.src[:0], payload...), flushTail+"\x01\x00\x00\xff\xff"...)
	i.in.Reset(i.src)
	if i.r == nil {
		i.r = flate.NewReader(&i.in)
	} else if err := i.r.(flate.Resetter).Reset(&i.in, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInflate, err)
	}
	if i.out == nil {
		i.out = make([]byte, 64<<10)
	}
	for n := 0; ; {
		if n == len(i.out) {
			i.out = append(i.out, make([]byte, n)...)
		}
		k, err := i.r.Read(i.out[n:])
		n += k
		switch {
		case n > limit:
			return nil, fmt.Errorf("%w: more than %d bytes", ErrInflate, limit)
		case err == io.EOF:
			return i.out[:n], nil
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrInflate, err)
		}
	}
}
