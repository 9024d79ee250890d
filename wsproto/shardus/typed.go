package shardus

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"
)

// Typed values: how {"dataType":…} is revived when it is parsed, and how {"type":"Buffer"} is
// written. The special cases are JavaScript's own conversions of values to text and to numbers.

// maxDecimal limits, in hex digits, the big integers that are converted to decimal text. That is
// needed only for a bi inside a bi or in a Buffer's array. The text grows by a fifth per level, so
// without a limit 30 bytes per level would cause exponential work. Real records do not come near
// this limit.
const maxDecimal = 1024

// revive returns the value that an object with a dataType stands for.
func revive(v Value) Value {
	dataType := v.Get("dataType")
	if dataType.kind != Text {
		return v
	}
	value := v.Get("value")
	switch dataType.text {
	case "u8ab", "bb":
		if value.kind != Text {
			return v
		}
		kind := Bytes
		if dataType.text == "bb" {
			kind = Buffer
		}
		return Value{kind: kind, text: string(decodeBase64(value.text))}
	case "bi":
		s := value.text
		if value.kind != Text {
			b, err := appendToString(nil, value)
			if err != nil {
				return Value{kind: broken, text: err.Error()}
			}
			s = string(b)
		}
		if s, ok := hexOfBigInt(s); ok {
			return Value{kind: BigInt, text: s}
		}
		return Value{kind: broken, text: "a big integer is not hex digits"}
	}
	return v
}

// isBuffer tells whether an object is written as the bytes of a Buffer: it has exactly two members,
// type, which is "Buffer", and data, which is a text, an array or bytes.
func (v Value) isBuffer() bool {
	if v.kind != Object || len(v.list) != 2 || v.list[0].Key != "data" || v.list[1].Key != "type" {
		return false
	}
	if t := v.list[1].Value; t.kind != Text || t.text != "Buffer" {
		return false
	}
	switch v.list[0].Value.kind {
	case Text, Array, Bytes, Buffer:
		return true
	}
	return false
}

// bufferBytes returns Buffer.from(data) for the data of such an object.
func bufferBytes(data Value) ([]byte, error) {
	switch data.kind {
	case Text:
		return appendUTF8(nil, data.text), nil
	case Array:
		out := make([]byte, len(data.list))
		for i, m := range data.list {
			f, err := toNumber(m.Value)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrTyped, err)
			}
			out[i] = toUint8(f)
		}
		return out, nil
	}
	return []byte(data.text), nil
}

// toNumber returns JavaScript's Number(v), as for storing into a typed array.
func toNumber(v Value) (float64, error) {
	switch v.kind {
	case Null:
		return 0, nil
	case Bool, Number:
		return v.num, nil
	case Text:
		return numberOfText(v.text), nil
	case BigInt:
		return 0, errors.New("a big integer is no byte")
	case Undefined:
		return math.NaN(), nil
	}
	s, err := appendToString(nil, v)
	return numberOfText(string(s)), err
}

// appendToString appends JavaScript's String(v), for hexOfBigInt and numberOfText only. If the text
// is neither hex nor a number (a negative infinity, a null in an array), it may be any such text.
// All text goes into one buffer, so that nesting does not cost one copy per level.
func appendToString(dst []byte, v Value) ([]byte, error) {
	switch v.kind {
	case Undefined:
		return append(dst, "undefined"...), nil
	case Null:
		return append(dst, "null"...), nil
	case Bool:
		return strconv.AppendBool(dst, v.num != 0), nil
	case Number:
		if math.IsInf(v.num, 0) {
			return append(dst, "Infinity"...), nil
		}
		return appendNumber(dst, v.num), nil
	case Text:
		return append(dst, v.text...), nil
	case BigInt:
		if len(v.text) > maxDecimal {
			return nil, fmt.Errorf("a nested big integer is longer than %d hex digits", maxDecimal)
		}
		n, _ := new(big.Int).SetString(v.text, 16)
		return n.Append(dst, 10), nil
	case Bytes:
		for i := range len(v.text) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, uint64(v.text[i]), 10)
		}
		return dst, nil
	case Buffer:
		if utf8.ValidString(v.text) {
			return append(dst, v.text...), nil
		}
		return appendRepaired(dst, []byte(v.text)), nil
	case Array:
		for i, m := range v.list {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendToString(dst, m.Value); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	if v.Get("toString").kind != Undefined { // hides the method, and a member can be no function
		return nil, errors.New("an object has no text")
	}
	return append(dst, "[object Object]"...), nil
}

// decodeBase64 is Node's lenient Buffer.from(s, 'base64'): it accepts both alphabets, skips other
// characters, and stops at the first =. It uses only the low byte of a UTF-16 unit, so 'Ł' (U+0141)
// counts as 'A'.
func decodeBase64(s string) []byte {
	out := make([]byte, 0, len(s)/4*3+3)
	var acc uint32
	n := 0
	unit := func(c byte) bool {
		if c == '=' {
			return false
		}
		d := base64Value[c]
		if d > 63 {
			return true
		}
		acc = acc<<6 | uint32(d)
		if n += 6; n >= 8 {
			n -= 8
			out = append(out, byte(acc>>n))
		}
		return true
	}
	for i := 0; i < len(s); i++ {
		if s[i] < utf8.RuneSelf {
			if !unit(s[i]) {
				return out
			}
			continue
		}
		next := unitsFrom(s[i:])
		for u, ok := next(); ok; u, ok = next() {
			if !unit(byte(u)) {
				return out
			}
		}
		return out
	}
	return out
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// base64Value is the value of a digit of either base64 alphabet, 0xFF for other bytes.
var base64Value = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xFF
	}
	for i := range len(base64Digits) {
		t[base64Digits[i]] = byte(i)
	}
	t['-'], t['_'] = 62, 63
	return t
}()
