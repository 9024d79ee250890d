package datalog

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/cespare/xxhash/v2"
)

// The functions of this file read a few bytes of a log by pread. They fail with io.EOF if the file
// is too short, and cannot cause a page fault.

// readAt fills b from an offset.
func readAt(f *os.File, b []byte, at int64) error {
	if len(b) == 0 {
		return nil
	}
	// ReadAt gives io.EOF also with a full buffer at the very end.
	if n, err := f.ReadAt(b, at); n < len(b) {
		return fmt.Errorf("datalog: read %s at %d: %w", f.Name(), at, err)
	}
	return nil
}

// fingerprintAt returns the fingerprint of the bytes before an offset.
func fingerprintAt(f *os.File, offset int64) (fp fingerprint, err error) {
	fp.offset = offset
	if err = readAt(f, fp.heads(), 0); err != nil {
		return fp, err
	}
	if offset >= headBytes {
		fp.headSum = xxhash.Sum64(fp.head[:])
	}
	return fp, readAt(f, fp.tails(), offset-int64(len(fp.tails())))
}

// sharedPrefix returns how many bytes two files have in common from their beginning, at most limit.
func sharedPrefix(a, b *os.File, limit int64) (int64, error) {
	const step = 64 << 10
	buf := make([]byte, 2*step)
	for at := int64(0); at < limit; at += step {
		n := min(step, limit-at)
		x, y := buf[:n], buf[step:step+n]
		if err := cmp.Or(readAt(a, x, at), readAt(b, y, at)); err != nil {
			return 0, err
		}
		for i := range x {
			if x[i] != y[i] {
				return at + int64(i), nil
			}
		}
	}
	return limit, nil
}

// lineStart returns the offset after the last newline before offset, or 0.
func lineStart(f *os.File, offset int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := offset; end > 0; {
		b := buf[:min(int64(len(buf)), end)]
		if err := readAt(f, b, end-int64(len(b))); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return end - int64(len(b)) + int64(i) + 1, nil
		}
		end -= int64(len(b))
	}
	return 0, nil
}

// endsWithTrailer reports whether the last line before offset that is not blank is a trailer. It
// misses a trailer before more than 4 KiB of blank lines. Then the log counts as not ended, which
// costs a wait and loses no record.
func endsWithTrailer(f *os.File, offset int64) (bool, error) {
	b := make([]byte, min(offset, 4<<10))
	if err := readAt(f, b, offset-int64(len(b))); err != nil {
		return false, err
	}
	whole := int64(len(b)) == offset // else the first line of b may be the end of a longer one
	for len(b) > 0 {
		b = bytes.TrimSuffix(b, []byte{'\n'})
		i := bytes.LastIndexByte(b, '\n')
		if i < 0 && !whole {
			return false, nil
		}
		if line := chomp(b[i+1:]); !isBlank(line) {
			return isTrailer(line), nil
		}
		b = b[:i+1]
	}
	return false, nil
}

// holdsRecord reports whether [from, to) has a line that is neither blank nor a trailer. It reads
// at most the first 64 KiB.
func holdsRecord(f *os.File, from, to int64) (bool, error) {
	b := make([]byte, min(to-from, 64<<10))
	if _, err := f.ReadAt(b, from); err != nil && err != io.EOF {
		return false, fmt.Errorf("datalog: read %s at %d: %w", f.Name(), from, err)
	}
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		if line = bytes.Trim(chomp(line), "\x00"); !isBlank(line) && !isTrailer(line) {
			return true, nil
		}
	}
	return false, nil
}
