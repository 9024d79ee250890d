package shardus

import (
	"encoding/base64"
	"fmt"
	"math"
)

// AppendCanonical appends the canonical text of any JSON text: safeStringify(safeJsonParse(text)). On an error dst
// comes back as it was. text may not overlap the free room of dst.
func AppendCanonical(dst, text []byte) ([]byte, error) {
	v, err := Parse(text)
	if err != nil {
		return dst, err
	}
	return v.AppendCanonical(dst)
}

// AppendRecord appends the record of a data log's line as it is sent: what the replaced service makes of it by parsing
// and writing it, and once more when it copies the object before it signs. Only a few Buffer objects are not done after
// the first time. A line that IsCanonical is copied. On an error the line is no record, and dst comes back as it was.
func AppendRecord(dst, line []byte) ([]byte, error) {
	if IsCanonical(line) {
		return append(dst, line...), nil
	}
	start := len(dst)
	out, err := AppendCanonical(dst, line)
	if err != nil || IsCanonical(out[start:]) {
		return out, err
	}
	again, err := Parse(out[start:])
	if err != nil {
		return dst, err
	}
	if out, err = again.AppendCanonical(out[:start]); err != nil {
		return dst, err
	}
	return out, nil
}

// AppendCanonical appends the canonical text of v: safeStringify(v). It fails with ErrTyped where a Buffer's array
// holds what is no number, and then dst comes back as it was. An Undefined value is left out of an object and null
// anywhere else.
func (v Value) AppendCanonical(dst []byte) ([]byte, error) {
	out, err := v.append(dst)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (v Value) append(dst []byte) ([]byte, error) {
	switch v.kind {
	case Bool:
		if v.num != 0 {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case Number:
		if math.IsInf(v.num, 0) || math.IsNaN(v.num) {
			return append(dst, "null"...), nil
		}
		return appendNumber(dst, v.num), nil
	case Text:
		return appendQuoted(dst, v.text), nil
	case BigInt:
		dst = append(dst, `{"dataType":"bi","value":"`...)
		dst = append(dst, v.text...)
		return append(dst, `"}`...), nil
	case Bytes:
		return appendBytes(dst, []byte(v.text), "u8ab"), nil
	case Buffer:
		return appendBytes(dst, []byte(v.text), "bb"), nil
	case Array:
		return v.appendArray(dst)
	case Object:
		return v.appendObject(dst)
	case Null, Undefined:
		return append(dst, "null"...), nil
	}
	panic(fmt.Sprintf("shardus: value of kind %d written", v.kind))
}

func (v Value) appendArray(dst []byte) ([]byte, error) {
	dst = append(dst, '[')
	for i, m := range v.list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = m.Value.append(dst); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func (v Value) appendObject(dst []byte) ([]byte, error) {
	if v.isBuffer() {
		b, err := bufferBytes(v.list[0].Value)
		if err != nil {
			return nil, err
		}
		return appendBytes(dst, b, "bb"), nil
	}
	dst = append(dst, '{')
	first := true
	for _, m := range v.list {
		if m.Value.kind == Undefined {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendQuoted(dst, m.Key), ':')
		var err error
		if dst, err = m.Value.append(dst); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// appendBytes writes bytes with the value first: the one place where members are not sorted.
func appendBytes(dst, b []byte, dataType string) []byte {
	dst = append(dst, `{"value":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	dst = append(dst, `","dataType":"`...)
	dst = append(dst, dataType...)
	return append(dst, `"}`...)
}
