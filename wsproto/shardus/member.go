package shardus

import (
	"bytes"
	"strconv"
)

// Members finds members of a canonical object from front to back, without parsing the others. For
// text that is not canonical the answers are undefined, but nothing panics.
type Members struct {
	text []byte
	at   int // where the next member begins, or the brace that ends the object
}

// MembersOf returns the members of a canonical object; of any other text, none.
func MembersOf(canonical []byte) Members {
	if len(canonical) < 2 || canonical[0] != '{' {
		return Members{text: canonical, at: len(canonical)}
	}
	return Members{text: canonical, at: 1}
}

// Find returns the text of the member with that name, which must be plain ASCII. Names must be
// given in rising order, because Find continues where it stopped, and stops before the first
// greater name.
func (m *Members) Find(name string) (value []byte, ok bool) {
	t := m.text
	for m.at < len(t) && t[m.at] == '"' {
		start := m.at + 1
		end := textEnd(t, start)
		if end+2 > len(t) {
			m.at = len(t)
			break
		}
		order := compareName(t[start:end], name)
		if order > 0 {
			break
		}
		next := skipValue(t, end+2)
		if order == 0 {
			return t[end+2 : next], true
		}
		if m.at = next; next < len(t) && t[next] == ',' {
			m.at++
		}
	}
	return nil, false
}

// Int is Find for a number. ok is false if there is no such member, or if it is no number.
func (m *Members) Int(name string) (n float64, ok bool) {
	v, ok := m.Find(name)
	if !ok || len(v) == 0 || v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(v), 64)
	return n, err == nil
}

// AppendWith appends the object with one member added. The last call of Find must have said that
// the object has no member of that name. value is canonical text. dst must not overlap the object
// or value.
func (m *Members) AppendWith(dst []byte, name string, value []byte) []byte {
	t := m.text
	if m.at >= len(t) {
		return append(dst, t...)
	}
	dst = append(dst, t[:m.at]...)
	last := t[m.at] == '}'
	if last && m.at > 1 {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	dst = append(dst, value...)
	if !last {
		dst = append(dst, ',')
	}
	return append(dst, t[m.at:]...)
}

// compareName compares a member's name, as it is written, with a name in plain ASCII. Byte order
// equals the order of UTF-16 units here, except in names with escapes, which are rare.
func compareName(written []byte, name string) int {
	if bytes.IndexByte(written, '\\') < 0 {
		return bytes.Compare(written, []byte(name))
	}
	v, err := Parse(append(append([]byte{'"'}, written...), '"'))
	if err != nil {
		return -1
	}
	return compareUTF16(v.Text(), name)
}

// skipValue returns the index after the value that begins at i: that of the comma, or of the end of
// the container.
func skipValue(t []byte, i int) int {
	for depth := 0; i < len(t); i++ {
		switch t[i] {
		case '"':
			i = textEnd(t, i+1)
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(t)
}

// textEnd returns the index of the quote that ends a text, or len(t) if there is none.
func textEnd(t []byte, i int) int {
	for i = plainEnd(t, i); i < len(t) && t[i] != '"'; i = plainEnd(t, i) {
		if t[i] == '\\' {
			i++
		}
		i++
	}
	return min(i, len(t))
}
