package datalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// A struct linux_dirent64 is inode (8 bytes), offset (8), length (2), type (1), name, a zero byte.
const (
	direntLength = 16
	direntName   = 19
)

// readNames returns the wanted names in a directory, sorted. os.ReadDir would allocate and sort all
// names, which takes 0.3 s for 100,000 files.
func readNames(dir string, wanted func(name []byte) bool) (names []string, err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	for buf := make([]byte, 64<<10); ; {
		n, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "getdents", Path: dir, Err: err}
		}
		if n <= 0 {
			slices.Sort(names)
			return names, nil
		}
		for rest := buf[:n]; len(rest) > direntName; {
			length := int(binary.NativeEndian.Uint16(rest[direntLength:]))
			if length <= direntName || length > len(rest) {
				return nil, unix.EBADMSG
			}
			name, _, _ := bytes.Cut(rest[direntName:length], []byte{0})
			if wanted(name) {
				names = append(names, string(name))
			}
			rest = rest[length:]
		}
	}
}
