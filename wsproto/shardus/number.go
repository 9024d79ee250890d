package shardus

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// appendNumber appends a finite number as JavaScript's Number::toString writes it: the shortest
// digits that parse to the same number, plain from 1e-6 up to 1e21, otherwise with an exponent. At
// most 25 bytes.
func appendNumber(dst []byte, f float64) []byte {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.AppendInt(dst, int64(f), 10) // -0 becomes 0
	}
	var scratch [32]byte
	e := strconv.AppendFloat(scratch[:0], f, 'e', -1, 64) // -d.ddde+xx
	if e[0] == '-' {
		dst = append(dst, '-')
		e = e[1:]
	}
	mark := 1
	for e[mark] != 'e' {
		mark++
	}
	exp, _ := strconv.Atoi(string(e[mark+1:]))
	digits := e[:1]
	if mark > 1 {
		e[1] = e[0] // over the point, so that the digits are contiguous
		digits = e[1:mark]
	}
	point := exp + 1 // number of digits before the decimal point
	switch {
	case point > 21 || point < -5:
		dst = append(dst, digits[0])
		if len(digits) > 1 {
			dst = append(dst, '.')
			dst = append(dst, digits[1:]...)
		}
		dst = append(dst, 'e')
		if exp > 0 {
			dst = append(dst, '+')
		}
		return strconv.AppendInt(dst, int64(exp), 10)
	case point <= 0:
		dst = append(dst, "0.00000"[:2-point]...)
		return append(dst, digits...)
	case point >= len(digits):
		dst = append(dst, digits...)
		return append(dst, "00000000000000000000"[:point-len(digits)]...)
	}
	dst = append(dst, digits[:point]...)
	dst = append(dst, '.')
	return append(dst, digits[point:]...)
}

// numberOfText is JavaScript's StringToNumber.
func numberOfText(s string) float64 {
	s = strings.TrimFunc(s, isSpace)
	if s == "" {
		return 0
	}
	if len(s) > 2 && s[0] == '0' {
		base := 0
		switch s[1] | 0x20 {
		case 'x':
			base = 16
		case 'o':
			base = 8
		case 'b':
			base = 2
		}
		if base != 0 {
			n, ok := new(big.Int).SetString(s[2:], base)
			if !ok || s[2] == '-' || s[2] == '+' || strings.Contains(s, "_") {
				return math.NaN()
			}
			f, _ := n.Float64()
			return f
		}
	}
	switch s {
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	// This excludes forms that only strconv accepts: inf, nan, 0x1p4, _.
	if strings.Trim(s, "0123456789.eE+-") != "" {
		return math.NaN()
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return math.NaN()
	}
	return f
}

// isSpace tells whether JavaScript trims r: its white space and line ends.
func isSpace(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ',
		0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF:
		return true
	}
	return r >= 0x2000 && r <= 0x200A
}

// toUint8 is JavaScript's conversion for storing into a Uint8Array.
func toUint8(f float64) byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return byte(int64(math.Mod(math.Trunc(f), 256)))
}

// hexOfBigInt returns BigInt('0x' + s) as lower-case hex digits without leading zeros. White space
// is allowed after the digits, and nothing else.
func hexOfBigInt(s string) (string, bool) {
	n, upper := 0, false
	for n < len(s) && hexValue[s[n]] < 16 {
		upper = upper || s[n] >= 'A' && s[n] <= 'F'
		n++
	}
	if n == 0 {
		return "", false
	}
	for rest := s[n:]; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		if !isSpace(r) {
			return "", false
		}
		rest = rest[size:]
	}
	s = s[:n]
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	if upper {
		s = strings.ToLower(s)
	}
	return s, true
}

// hexValue is the value of a hex digit of either case, 0xFF for other bytes.
var hexValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xFF
	}
	for i := range byte(16) {
		t[hexDigits[i]] = i
		t[strings.ToUpper(hexDigits)[i]] = i
	}
	return t
}()
