package wsproto

import (
	"encoding/hex"
	"fmt"
	"strconv"
)

// A Position is a place in a frame log. All frames before it were sent to the client that gets it.
type Position struct {
	Log    [16]byte // id of the log; a log that lost committed frames gets a new one
	Offset uint64   // bytes
}

// MaxTokenSize is the length of the longest position token, in bytes: 32 hex digits, a dash, 20
// decimal digits.
const MaxTokenSize = 53

// String returns the position as a token: "<32 lower-case hex digits>-<decimal offset>". It is
// URL-safe and fits into a ping.
func (p Position) String() string { return string(p.AppendTo(make([]byte, 0, MaxTokenSize))) }

// AppendTo appends the token to dst.
func (p Position) AppendTo(dst []byte) []byte {
	dst = hex.AppendEncode(dst, p.Log[:])
	return strconv.AppendUint(append(dst, '-'), p.Offset, 10)
}

// ParsePosition parses a token. It accepts exactly the texts that String returns, so tokens can be
// compared as text. Any other text is ErrPosition. It does not allocate, because pongs are parsed
// with it.
func ParsePosition[T string | []byte](token T) (Position, error) {
	var p Position
	if len(token) < 34 || len(token) > MaxTokenSize || token[32] != '-' {
		return Position{}, ErrPosition
	}
	for i := range 32 {
		digit, ok := lowerHex(token[i])
		if !ok {
			return Position{}, ErrPosition
		}
		p.Log[i/2] = p.Log[i/2]<<4 | digit
	}
	if token[33] == '0' && len(token) > 34 {
		return Position{}, ErrPosition
	}
	for i := 33; i < len(token); i++ {
		digit := uint64(token[i] - '0')
		if digit > 9 || p.Offset > (1<<64-1-digit)/10 {
			return Position{}, ErrPosition
		}
		p.Offset = p.Offset*10 + digit
	}
	return p, nil
}

func lowerHex(c byte) (digit byte, ok bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// A Start is the kind of a From.
type Start uint8

const (
	// Resume: the client named no place. It resumes where it was, if it was here a short while ago;
	// otherwise it gets only new frames.
	Resume Start = iota
	// Live: only new frames.
	Live
	// Earliest: from the oldest frame that is kept.
	Earliest
	// At: from From.Position.
	At
)

// A From is where a client wants its stream to begin: the parameter `from` of the upgrade URL. The
// zero value stands for no parameter, as unmodified collectors send.
type From struct {
	Start    Start
	Position Position // for At, else zero
}

// ParseFrom parses "", "live", "earliest" or a position token. For any other text the error wraps
// ErrPosition, and says what is allowed.
func ParseFrom(text string) (From, error) {
	switch text {
	case "":
		return From{}, nil
	case "live":
		return From{Start: Live}, nil
	case "earliest":
		return From{Start: Earliest}, nil
	}
	p, err := ParsePosition(text)
	if err != nil {
		return From{}, fmt.Errorf(`from=%.60q is not "live", "earliest" or a position token: %w`, text, err)
	}
	return From{Start: At, Position: p}, nil
}

// String returns the text that ParseFrom parses.
func (f From) String() string {
	switch f.Start {
	case Live:
		return "live"
	case Earliest:
		return "earliest"
	case At:
		return f.Position.String()
	}
	return ""
}
