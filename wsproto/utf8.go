package wsproto

import "encoding/binary"

// utf8Checker checks text that comes in pieces, divided anywhere. The zero value is ready. If need
// is not zero at the end of the text, the text ends inside a character.
type utf8Checker struct {
	need   uint8 // bytes that the current character still needs
	lo, hi uint8 // allowed range of the next of them
}

// feed reports whether p can continue the text so far. After false the checker must not be used
// again.
func (u *utf8Checker) feed(p []byte) bool {
	for len(p) > 0 {
		if u.need == 0 {
			for len(p) >= 8 && binary.NativeEndian.Uint64(p)&0x8080808080808080 == 0 {
				p = p[8:]
			}
			if len(p) == 0 {
				return true
			}
		}
		c := p[0]
		p = p[1:]
		switch {
		case u.need > 0:
			if c < u.lo || c > u.hi {
				return false
			}
			u.need, u.lo, u.hi = u.need-1, 0x80, 0xbf
		case c < 0x80:
		case c < 0xc2 || c > 0xf4:
			return false
		default:
			u.begin(c)
		}
	}
	return true
}

// begin sets the allowed bytes after c, the first byte of a character (RFC 3629 §4).
func (u *utf8Checker) begin(c byte) {
	u.need, u.lo, u.hi = 1, 0x80, 0xbf
	if c >= 0xe0 {
		u.need++
	}
	if c >= 0xf0 {
		u.need++
	}
	switch c {
	case 0xe0: // longer than needed
		u.lo = 0xa0
	case 0xed: // surrogates
		u.hi = 0x9f
	case 0xf0: // longer than needed
		u.lo = 0x90
	case 0xf4: // above U+10FFFF
		u.hi = 0x8f
	}
}
