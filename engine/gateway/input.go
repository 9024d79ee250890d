package gateway

import (
	"bytes"
	"io"
	"slices"
)

// maxEmpty is how many bytes of empty lines are skipped before a request: eight lines. The server
// answers more with 400.
const maxEmpty = 16

// input is the input of a connection as the server should read it. It skips empty lines before a
// request (RFC 9112 §2.2), which net/http itself does only after a POST. So input has to know where
// each request ends: it never returns bytes behind the headers together with the headers, and the
// handler reports how long the body is. A mistake here could hide a request from us that a proxy
// sees. So if input does not know the end of a request, it skips nothing from then on.
type input struct {
	head  []byte // the beginning of the present or the last request
	begun bool   // the headers have begun and are not complete
	line  int    // bytes of the present header line, including a CR
	cr    bool   // the first byte of the line is a CR
	body  int64  // bytes of the body that have not come; -1: the end is not known
	empty []byte // bytes skipped since the headers were complete
	ahead []byte // bytes that came behind the headers and are not read yet
}

// read reads from conn. It returns at least one byte, or an error.
func (in *input) read(conn io.Reader, b []byte) (n int, err error) {
	for n == 0 && err == nil && len(b) > 0 {
		if in.body > 0 {
			b = b[:min(int64(len(b)), in.body)]
		}
		if len(in.ahead) > 0 {
			n = copy(b, in.ahead)
			if in.ahead = in.ahead[n:]; len(in.ahead) == 0 {
				in.ahead = nil // frees the memory while the connection is idle
			}
		} else {
			n, err = conn.Read(b)
		}
		n = in.divide(b[:n])
	}
	return n, err
}

// divide returns how many bytes the server gets now. They are at the beginning of b.
func (in *input) divide(b []byte) int {
	if !in.begun && in.body == 0 {
		b = in.begin(b)
	}
	switch {
	case in.body > 0:
		in.body -= int64(len(b))
		return len(b)
	case in.body < 0:
		return len(b)
	}
	n := in.headers(b)
	if n < len(b) {
		in.ahead = slices.Concat(b[n:], in.ahead)
	}
	if room := headKept - len(in.head); room > 0 {
		in.head = append(in.head, b[:min(n, room)]...)
	}
	return n
}

// begin skips the empty lines before a request, and returns the bytes that follow, moved to the
// beginning of b.
func (in *input) begin(b []byte) []byte {
	for n, c := range b {
		switch {
		case c != '\r' && c != '\n':
			in.begun = true
		case len(in.empty) == maxEmpty:
			in.body = -1
		default:
			in.empty = append(in.empty, c)
			continue
		}
		in.head = in.head[:0]
		return b[:copy(b, b[n:])]
	}
	return nil
}

// headers returns how many bytes of b belong to the headers, which end with an empty line.
func (in *input) headers(b []byte) int {
	for n, c := range b {
		if c != '\n' {
			in.cr = in.line == 0 && c == '\r'
			in.line++
			continue
		}
		in.begun = in.line > 1 || in.line == 1 && !in.cr
		in.line = 0
		if !in.begun {
			in.empty = in.empty[:0]
			return n + 1
		}
	}
	return len(b)
}

// waits reports whether bytes of another request came.
func (in *input) waits() bool { return in.begun || len(bytes.TrimLeft(in.ahead, "\r\n")) > 0 }

// behind returns all bytes that came behind the request. buffered are those that the server has
// buffered. behind must not be called while the server reads.
func (in *input) behind(buffered []byte) []byte {
	return slices.Concat(in.empty, buffered, in.ahead)
}
