package wsproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
)

// ErrInflate: the payload of a compressed message is no DEFLATE data, or more than was to be taken.
var ErrInflate = errors.New("wsproto: a compressed message cannot be read")

// An Inflater reads compressed messages, each for itself. The zero value is ready; it belongs to one goroutine.
type Inflater struct {
	r   io.ReadCloser
	in  bytes.Reader
	out []byte
	src []byte
}

// Message returns the text of a message whose frames' payloads were, one behind the other, payload. It is borrowed until
// the next call and never has more than limit bytes, whatever the payload says. Errors: ErrInflate.
func (i *Inflater) Message(payload []byte, limit int) ([]byte, error) {
	// A final, empty block behind the tail makes the end of the message that of the stream.
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
