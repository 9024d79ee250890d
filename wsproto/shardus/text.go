package shardus

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Text is held as WTF-8. That is UTF-8 in which a lone surrogate is encoded like a character, as
// three bytes: JSON can escape a lone surrogate, UTF-8 has no form for it. A surrogate pair is
// always one character.

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plainEnd returns the index of the first byte at or after i that is not a plain character of a
// JSON string: a quote, a backslash, a control character or a byte outside ASCII; len(t) if there
// is none. It tests eight bytes per step. Each term below sets the high bit of exactly such bytes,
// up to and including the first; borrows can set wrong bits only above that one, where they do not
// matter.
func plainEnd(t []byte, i int) int {
	for ; i+8 <= len(t); i += 8 {
		w := binary.LittleEndian.Uint64(t[i:])
		quotes, backslashes := (w^'"'*ones)-ones, (w^'\\'*ones)-ones
		if m := (quotes | backslashes | (w - ' '*ones) | w) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(t); i++ {
		if c := t[i]; c == '"' || c == '\\' || c < ' ' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as JSON.stringify writes it.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0 // start of what is not copied yet
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == 0xED && s[i+1] >= 0xA0: // a lone surrogate
			u := surrogateAt(s, i)
			dst = append(dst, s[from:i]...)
			dst = append(dst, '\\', 'u', 'd', hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
			i += 2
			from = i + 1
			continue
		case c >= ' ' && c != '"' && c != '\\':
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// surrogateAt returns the lone surrogate whose three bytes begin at i.
func surrogateAt(s string, i int) uint16 {
	return 0xD000 | uint16(s[i+1]&0x3F)<<6 | uint16(s[i+2]&0x3F)
}

func isHigh(u uint16) bool { return u&0xFC00 == 0xD800 }
func isLow(u uint16) bool  { return u&0xFC00 == 0xDC00 }

// appendSurrogate appends a lone surrogate in WTF-8.
func appendSurrogate(dst []byte, u uint16) []byte {
	return append(dst, 0xED, 0x80|byte(u>>6&0x3F), 0x80|byte(u&0x3F))
}

// compareUTF16 compares texts as JavaScript's sort does, by UTF-16 code units. Byte order is the
// same, except where one side has a surrogate, single or paired: surrogates are 0xD800 to 0xDFFF,
// so they sort before U+E000 to U+FFFF.
func compareUTF16(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	if i == n {
		return len(a) - len(b)
	}
	if a[i] < 0xED && b[i] < 0xED { // no surrogate begins here, though one may go on here
		return int(a[i]) - int(b[i])
	}
	ra, rb := unitsFrom(a[i:]), unitsFrom(b[i:])
	for {
		ua, okA := ra()
		ub, okB := rb()
		switch {
		case !okA && !okB:
			return 0
		case !okA:
			return -1
		case !okB:
			return 1
		case ua != ub:
			return int(ua) - int(ub)
		}
	}
}

// unitsFrom returns a function that returns the UTF-16 code units of s one by one.
func unitsFrom(s string) func() (uint16, bool) {
	var low uint16
	return func() (uint16, bool) {
		if low != 0 {
			u := low
			low = 0
			return u, true
		}
		if s == "" {
			return 0, false
		}
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 && len(s) >= 3 { // a lone surrogate
			u := surrogateAt(s, 0)
			s = s[3:]
			return u, true
		}
		s = s[n:]
		if r < 0x10000 {
			return uint16(r), true
		}
		r -= 0x10000
		low = uint16(0xDC00 | r&0x3FF)
		return uint16(0xD800 | r>>10), true
	}
}

// appendRepaired appends t as UTF-8. Invalid bytes become U+FFFD, one for each maximal subpart of a
// sequence, as in WHATWG decoding (and so in Node). The text grows by a factor of three at most.
func appendRepaired(dst, t []byte) []byte {
	for len(t) > 0 {
		r, n := utf8.DecodeRune(t)
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, "\uFFFD"...)
			n = subpart(t)
		} else {
			dst = append(dst, t[:n]...)
		}
		t = t[n:]
	}
	return dst
}

// subpart returns the length of the longest prefix of t that could begin a character. t must not
// begin with a whole character.
func subpart(t []byte) int {
	c := t[0]
	low, high, length := byte(0x80), byte(0xBF), 0 // of the second byte; of the whole sequence
	switch {
	case c >= 0xC2 && c <= 0xDF:
		length = 2
	case c >= 0xE0 && c <= 0xEF:
		length = 3
	case c >= 0xF0 && c <= 0xF4:
		length = 4
	}
	switch c {
	case 0xE0:
		low = 0xA0
	case 0xED:
		high = 0x9F
	case 0xF0:
		low = 0x90
	case 0xF4:
		high = 0x8F
	}
	n := 1
	for n < length && n < len(t) && t[n] >= low && t[n] <= high {
		low, high = 0x80, 0xBF
		n++
	}
	return n
}

// appendUTF8 appends WTF-8 text as a JavaScript encoder writes it: lone surrogates as U+FFFD.
func appendUTF8(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == 0xED && s[i+1] >= 0xA0 {
			dst = append(dst, "\uFFFD"...)
			i += 2
		} else {
			dst = append(dst, s[i])
		}
	}
	return dst
}
