package shardus

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested. The replaced service has no such limit,
// but its stack ends near 2,600 levels.
const MaxDepth = 2500

// MaxValues is how many values a text may hold. Each takes 72 bytes during parsing, so a few
// hundred MiB of numbers would need tens of GiB. The largest records of archivers hold about ten
// thousand values.
const MaxValues = 4 << 20

// Parse parses JSON text as safeJsonParse does: as JSON.parse, with typed values revived. It does
// not keep text. Errors are ErrSyntax, ErrDepth, ErrLarge and ErrTyped. Time and memory are linear
// in the length of the text.
func Parse(text []byte) (Value, error) {
	if !utf8.Valid(text) {
		text = appendRepaired(make([]byte, 0, len(text)+len(text)/8), text)
	}
	p := parser{b: text, s: string(text)}
	p.space()
	v, err := p.value(0, true)
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.i != len(p.b) {
		return Value{}, p.syntax("more text after the value")
	}
	if v.kind == broken {
		return Value{}, fmt.Errorf("%w: %s", ErrTyped, v.text)
	}
	return v, nil
}

// parser parses the text in one pass. b and s are the same valid UTF-8. Texts without escapes are
// slices of s.
type parser struct {
	b       []byte
	s       string
	i       int
	values  int      // so far
	scratch []Member // children of the open containers, until they are closed
}

func (p *parser) syntax(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrSyntax, what, p.i)
}

func (p *parser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// next returns the current byte, 0 at the end of the text (a NUL byte is an error in the same
// places).
func (p *parser) next() byte {
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

// value parses one value. revive is false for the direct value of a `sig`, and for members that
// will be dropped.
func (p *parser) value(depth int, revive bool) (Value, error) {
	switch c := p.next(); {
	case c == '"':
		p.i++
		s, err := p.text()
		return Value{kind: Text, text: s}, err
	case c == '{':
		return p.object(depth+1, revive)
	case c == '[':
		return p.array(depth + 1)
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == 't':
		return Value{kind: Bool, num: 1}, p.word("true")
	case c == 'f':
		return Value{kind: Bool}, p.word("false")
	case c == 'n':
		return Value{kind: Null}, p.word("null")
	}
	return Value{}, p.syntax("no value")
}

func (p *parser) word(w string) error {
	if len(p.s)-p.i < len(w) || p.s[p.i:p.i+len(w)] != w {
		return p.syntax("no value")
	}
	p.i += len(w)
	return nil
}

func (p *parser) array(depth int) (Value, error) {
	if depth > MaxDepth {
		return Value{}, ErrDepth
	}
	p.i++
	base := len(p.scratch)
	bad := Value{}
	p.space()
	for first := true; p.next() != ']'; first = false {
		if !first {
			if p.next() != ',' {
				return Value{}, p.syntax("no comma or end of array")
			}
			p.i++
			p.space()
		}
		v, err := p.value(depth, true)
		if err != nil {
			return Value{}, err
		}
		if v.kind == broken {
			bad = v
		}
		if err := p.keep(Member{Value: v}); err != nil {
			return Value{}, err
		}
		p.space()
	}
	p.i++
	list := p.take(base)
	if bad.kind == broken {
		return bad, nil
	}
	return Value{kind: Array, list: list}, nil
}

// keep adds a child of the container that is open.
func (p *parser) keep(m Member) error {
	if p.values++; p.values > MaxValues {
		return ErrLarge
	}
	p.scratch = append(p.scratch, m)
	return nil
}

// take returns a copy of the children that were added since base.
func (p *parser) take(base int) []Member {
	list := make([]Member, len(p.scratch)-base)
	copy(list, p.scratch[base:])
	p.scratch = p.scratch[:base]
	return list
}

func (p *parser) object(depth int, revived bool) (Value, error) {
	if depth > MaxDepth {
		return Value{}, ErrDepth
	}
	p.i++
	base := len(p.scratch)
	p.space()
	for first := true; p.next() != '}'; first = false {
		if !first {
			if p.next() != ',' {
				return Value{}, p.syntax("no comma or end of object")
			}
			p.i++
			p.space()
		}
		if p.next() != '"' {
			return Value{}, p.syntax("no key")
		}
		p.i++
		key, err := p.text()
		if err != nil {
			return Value{}, err
		}
		p.space()
		if p.next() != ':' {
			return Value{}, p.syntax("no colon")
		}
		p.i++
		p.space()
		v, err := p.value(depth, key != "sig" && !dropped(key))
		if err != nil {
			return Value{}, err
		}
		if err := p.keep(Member{key, v}); err != nil {
			return Value{}, err
		}
		p.space()
	}
	p.i++
	return finish(sorted(p.take(base)), revived), nil
}

// dropped tells whether safeJsonParse leaves out members with that key, at every depth.
func dropped(key string) bool {
	return key == "__proto__" || key == "constructor" || key == "prototype"
}

// finish returns the value of an object without duplicate keys. Only now a broken value in it
// counts, because a value that a later duplicate replaces is never revived.
func finish(list []Member, revived bool) Value {
	kept := list[:0]
	for _, m := range list {
		if m.Value.kind == broken {
			return m.Value
		}
		if !dropped(m.Key) {
			kept = append(kept, m)
		}
	}
	v := Value{kind: Object, list: kept}
	if revived {
		return revive(v)
	}
	return v
}

// text parses a text after its opening quote.
func (p *parser) text() (string, error) {
	from := p.i
	var out []byte // what was read so far, once there was an escape
	for {
		p.i = plainEnd(p.b, p.i)
		switch c := p.next(); {
		case c == '"':
			s := p.s[from:p.i]
			p.i++
			if out != nil {
				s = string(append(out, s...))
			}
			return s, nil
		case c == '\\':
			out = append(out, p.b[from:p.i]...)
			var ok bool
			if out, ok = p.escape(out); !ok {
				return "", p.syntax("bad escape")
			}
			from = p.i
		case c < ' ':
			return "", p.syntax("control character or end inside a text")
		default: // outside ASCII, and known to be valid
			p.i++
		}
	}
}

// escape parses one escape, or the two of a surrogate pair.
func (p *parser) escape(out []byte) ([]byte, bool) {
	if p.i+1 >= len(p.b) {
		return out, false
	}
	c := p.b[p.i+1]
	p.i += 2
	switch c {
	case '"', '\\', '/':
		return append(out, c), true
	case 'b':
		return append(out, '\b'), true
	case 'f':
		return append(out, '\f'), true
	case 'n':
		return append(out, '\n'), true
	case 'r':
		return append(out, '\r'), true
	case 't':
		return append(out, '\t'), true
	case 'u':
		u, ok := p.unit()
		if !ok {
			return out, false
		}
		if isHigh(u) && p.i+1 < len(p.b) && p.b[p.i] == '\\' && p.b[p.i+1] == 'u' {
			p.i += 2
			if low, ok := p.unit(); ok && isLow(low) {
				return utf8.AppendRune(out, 0x10000+(rune(u&0x3FF)<<10|rune(low&0x3FF))), true
			} else if !ok {
				return out, false
			}
			p.i -= 6 // an escape of its own
		}
		if isHigh(u) || isLow(u) {
			return appendSurrogate(out, u), true
		}
		return utf8.AppendRune(out, rune(u)), true
	}
	return out, false
}

// unit parses the four hex digits of an escape.
func (p *parser) unit() (uint16, bool) {
	if p.i+4 > len(p.b) {
		return 0, false
	}
	var u uint16
	for _, c := range p.b[p.i : p.i+4] {
		d := hexValue[c]
		if d > 15 {
			return 0, false
		}
		u = u<<4 | uint16(d)
	}
	p.i += 4
	return u, true
}

func (p *parser) number() (Value, error) {
	from := p.i
	if p.next() == '-' {
		p.i++
	}
	whole := p.digits()
	if whole == 0 || whole > 1 && p.b[p.i-whole] == '0' {
		return Value{}, p.syntax("bad number")
	}
	if p.next() == '.' {
		p.i++
		if p.digits() == 0 {
			return Value{}, p.syntax("bad number")
		}
	}
	if p.next()|0x20 == 'e' {
		p.i++
		if c := p.next(); c == '+' || c == '-' {
			p.i++
		}
		if p.digits() == 0 {
			return Value{}, p.syntax("bad number")
		}
	}
	f, _ := strconv.ParseFloat(p.s[from:p.i], 64) // the only possible error is overflow: f is infinite
	return Value{kind: Number, num: f}, nil
}

// digits skips decimal digits, and returns their number.
func (p *parser) digits() int {
	from := p.i
	for c := p.next(); c >= '0' && c <= '9'; c = p.next() {
		p.i++
	}
	return p.i - from
}
