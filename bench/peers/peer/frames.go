package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var errNoFrame = errors.New("peer: the file has no whole frame there")

// payload cuts the unmasked WebSocket frame off that begins b.
func payload(b []byte) (message, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errNoFrame
	}
	start, size := 2, uint64(b[1])
	switch {
	case size == 126 && len(b) >= 4:
		start, size = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case size == 127 && len(b) >= 10:
		start, size = 10, binary.BigEndian.Uint64(b[2:])
	case size > 125:
		return nil, nil, errNoFrame
	}
	if size > uint64(len(b)-start) {
		return nil, nil, errNoFrame
	}
	end := start + int(size)
	return b[start:end:end], b[end:], nil
}

// mapFile maps a file for good.
func mapFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("peer: map: %w", err)
	}
	return data, nil
}
