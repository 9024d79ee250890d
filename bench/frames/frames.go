// Package frames reads files of WebSocket frames as servers send them: unmasked, each with a whole
// message. The benchmark's servers take their messages from such a file.
package frames

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// ErrNone is returned where no whole frame begins, as at the end of a file.
var ErrNone = errors.New("frames: no whole frame")

// Cut cuts the first frame off b, and returns its message too.
func Cut(b []byte) (frame, message, rest []byte, err error) {
	r := bytes.NewReader(b)
	h, err := ws.ReadHeader(r)
	start := len(b) - r.Len()
	if err != nil || h.Masked || h.Length > int64(r.Len()) {
		return nil, nil, nil, ErrNone
	}
	end := start + int(h.Length)
	return b[:end:end], b[start:end:end], b[end:], nil
}

// Map maps a file for as long as the process lives. All its pages are there at once.
func Map(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("frames: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("frames: %w", err)
	}
	flags := unix.MAP_SHARED | unix.MAP_POPULATE
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, flags)
	if err != nil {
		return nil, fmt.Errorf("frames: map %s: %w", name, err)
	}
	return data, nil
}
