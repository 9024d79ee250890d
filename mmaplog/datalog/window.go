package datalog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/edsrzf/mmap-go"
)

const (
	// windowBytes is how much of a file is mapped at once: more than a whole log of the usual 10
	// MiB, so that a log costs one mmap however often it grows.
	windowBytes = 32 << 20
	// windowAlign divides the offsets of windows. It is a multiple of every page size in use.
	windowAlign = 64 << 10
)

// errFault means that mapped bytes could not be read, because the file was cut or the disk failed.
var errFault = errors.New("datalog: mapped bytes cannot be read")

// window maps a part of a file. The mapping may reach beyond the file's end, which costs nothing.
// Only bytes below the size of the last fstat are read, and under guard, because the file may
// shrink.
type window struct {
	m    mmap.MMap
	base int64

	// direct means that the file is read into buffer instead, because it cannot be mapped or the
	// mapping differs from the file.
	direct bool
	buffer []byte
}

// giveUpMapping makes view read the file from now on.
func (w *window) giveUpMapping() {
	w.close()
	w.direct = true
}

// view returns the mapped bytes [from, to) of f, valid until the next view or close. Only the
// guarded functions below may read them.
func (w *window) view(f *os.File, from, to int64) ([]byte, error) {
	if w.direct {
		if n := int(to - from); cap(w.buffer) < n || cap(w.buffer) > 2*searchBytes && n <= searchBytes {
			w.buffer = make([]byte, n)
		}
		w.buffer = w.buffer[:to-from]
		return w.buffer, readAt(f, w.buffer, from)
	}
	if w.m == nil || from < w.base || to > w.base+int64(len(w.m)) {
		w.close()
		base := from &^ (windowAlign - 1)
		m, err := mmap.MapRegion(f, int(max(windowBytes, to-base)), mmap.RDONLY, 0, base)
		if err != nil {
			return nil, fmt.Errorf("datalog: map: %w", err)
		}
		w.m, w.base = m, base
	}
	return w.m[from-w.base : to-w.base], nil
}

func (w *window) close() {
	if w.m != nil {
		// Unmap fails only for a range that is not mapped, which would be a bug of this file.
		if err := w.m.Unmap(); err != nil {
			panic(fmt.Sprintf("datalog: unmap: %v", err))
		}
	}
}

// guard is deferred in every function that reads mapped bytes. It turns a fault in them into
// errFault; any other panic continues. Its first argument is debug.SetPanicOnFault(true), which is
// evaluated before the read.
func guard(before bool, err *error) {
	debug.SetPanicOnFault(before)
	switch r := recover().(type) {
	case nil:
	case interface { // what the runtime makes of a fault outside its own memory
		error
		Addr() uintptr
	}:
		*err = errFault
	default:
		panic(r)
	}
}

// findByte returns the index of the first c in mapped bytes, or -1.
func findByte(m []byte, c byte) (i int, err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	return bytes.IndexByte(m, c), nil
}

// zeroPage is for comparisons, which are faster than a test of each byte.
var zeroPage [4096]byte

// leadingZeros returns the number of zero bytes at the beginning of mapped bytes.
func leadingZeros(m []byte) (n int, err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	for len(m)-n >= len(zeroPage) && bytes.Equal(m[n:n+len(zeroPage)], zeroPage[:]) {
		n += len(zeroPage)
	}
	for n < len(m) && m[n] == 0 {
		n++
	}
	return n, nil
}

// takeLines returns the length of at most n whole lines at the beginning of mapped bytes.
func takeLines(m []byte, n int) (length int, err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	for ; n > 0; n-- {
		i := bytes.IndexByte(m[length:], '\n')
		if i < 0 {
			break
		}
		length += i + 1
	}
	return length, nil
}

// copyMapped copies mapped bytes.
func copyMapped(dst, src []byte) (err error) {
	defer guard(debug.SetPanicOnFault(true), &err)
	copy(dst, src)
	return nil
}
