package shardus

import (
	"encoding/base64"
	"fmt"
	"math"
)

// AppendCanonical appends the canonical text of any JSON text: safeStringify(safeJsonParse(text)).
// On an error dst is returned unchanged. text must not overlap the free capacity of dst.
func AppendCanonical(dst, text []byte) ([]byte, error) {
	v, err := Parse(text)
	if err != nil {
		return dst, err
	}
	return v.AppendCanonical(dst)
}

// AppendRecord appends the record in a data log's line as it is sent. The replaced service parsed
// and wrote the line, and did so again when it copied the object before signing. AppendRecord does
// both passes, but only a few Buffer objects need the second. A canonical line is copied. An error
// means that the line is no record; then dst is returned unchanged.
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

// AppendCanonical appends the canonical text of v: safeStringify(v). It fails with ErrTyped if a
// Buffer's array holds an item that is no number; then dst is returned unchanged. An Undefined
// value is left out of an object, and is null anywhere else.
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

// appendBytes writes bytes with the member value first. Only here members are not sorted.
func appendBytes(dst, b []byte, dataType string) []byte {
	dst = append(dst, `{"value":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	dst = append(dst, `","dataType":"`...)
	dst = append(dst, dataType...)
	return append(dst, `"}`...)
}
