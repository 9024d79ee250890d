package gateway

import (
	"bytes"
	"io"
	"slices"
)

// maxEmpty is how many bytes of empty lines are passed over before a request: eight lines. The
// server answers more with 400.
const maxEmpty = 16

// input is what comes in on a connection, as the server is to read it. It passes over empty lines
// before a request (RFC 9112 §2.2), which net/http itself does after a POST alone. So it has to know
// where each request ends: it returns no byte behind the headers with them, and the handler says how
// long the body is. A mistake in that could hide a request from us that a proxy sees, so when input
// does not know the end, it passes over nothing from then on.
type input struct {
	head  []byte // the beginning of the request that is read, or was last
	begun bool   // the headers are not complete
	line  int    // bytes of the present line of the headers, of which one may be its CR
	cr    bool   // the first of them is a CR
	body  int64  // bytes of the body that have not come; -1: nobody knows where it ends
	empty []byte // what was passed over since the headers were complete
	ahead []byte // what came behind the headers, and is not read yet
}

// read reads from conn. It returns at least a byte, or an error.
func (in *input) read(conn io.Reader, b []byte) (n int, err error) {
	for n == 0 && err == nil && len(b) > 0 {
		if in.body > 0 {
			b = b[:min(int64(len(b)), in.body)]
		}
		if len(in.ahead) > 0 {
			n = copy(b, in.ahead)
			if in.ahead = in.ahead[n:]; len(in.ahead) == 0 {
				in.ahead = nil // not to be kept for an idle connection
			}
		} else {
			n, err = conn.Read(b)
		}
		n = in.divide(b[:n])
	}
	return n, err
}

// divide returns how many bytes the server is to have now. They stand at the beginning of b.
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

// begin passes over the empty lines before a request, and returns what follows, moved to the
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

// headers returns how many bytes of b belong to the headers. They end with an empty line.
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

// behind returns all that came behind the request, of which the server has buffered. It must not be
// called while the server reads.
func (in *input) behind(buffered []byte) []byte {
	return slices.Concat(in.empty, buffered, in.ahead)
}
