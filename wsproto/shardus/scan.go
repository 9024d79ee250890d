package shardus

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// This file recognizes canonical text. It accepts only text that parsing and writing would return
// byte for byte. To save time it refuses some canonical text too: keys with escapes or outside
// ASCII, escaped lone surrogates, nesting deeper than scanDepth, an object as `sig`, and a dataType
// or a "type":"Buffer" other than those that the writer makes of typed values. Each scan function
// takes the index where an element begins, and returns the index after it, or no.
const (
	no        = -1
	scanDepth = 100
)

// IsCanonical tells whether text is valid and certainly its own canonical form, in one pass and
// without allocation. If it returns false the text may still be canonical; AppendCanonical decides.
func IsCanonical(text []byte) bool {
	return scanValue(text, 0, 0) == len(text)
}

func scanValue(t []byte, i, depth int) int {
	if uint(i) >= uint(len(t)) {
		return no
	}
	switch t[i] {
	case '"':
		return scanText(t, i+1)
	case '{':
		return scanObject(t, i+1, depth+1)
	case '[':
		return scanArray(t, i+1, depth+1)
	case 't':
		return scanWord(t, i, "true")
	case 'f':
		return scanWord(t, i, "false")
	case 'n':
		return scanWord(t, i, "null")
	}
	return scanNumber(t, i)
}

func scanWord(t []byte, i int, word string) int {
	if len(t)-i < len(word) || string(t[i:i+len(word)]) != word {
		return no
	}
	return i + len(word)
}

func scanArray(t []byte, i, depth int) int {
	if depth > scanDepth || i >= len(t) {
		return no
	}
	if t[i] == ']' {
		return i + 1
	}
	for {
		if i = scanValue(t, i, depth); uint(i) >= uint(len(t)) {
			return no
		}
		switch t[i] {
		case ',':
			i++
		case ']':
			return i + 1
		default:
			return no
		}
	}
}

// The first eight bytes of the keys with a meaning, as keyWord returns them.
const (
	wordSig       = 's'<<56 | 'i'<<48 | 'g'<<40
	wordType      = 't'<<56 | 'y'<<48 | 'p'<<40 | 'e'<<32
	wordValue     = 'v'<<56 | 'a'<<48 | 'l'<<40 | 'u'<<32 | 'e'<<24
	wordDataType  = 'd'<<56 | 'a'<<48 | 't'<<40 | 'a'<<32 | 'T'<<24 | 'y'<<16 | 'p'<<8 | 'e'
	wordProto     = '_'<<56 | '_'<<48 | 'p'<<40 | 'r'<<32 | 'o'<<24 | 't'<<16 | 'o'<<8 | '_'
	wordPrototype = 'p'<<56 | 'r'<<48 | 'o'<<40 | 't'<<32 | 'o'<<24 | 't'<<16 | 'y'<<8 | 'p'
	wordConstruct = 'c'<<56 | 'o'<<48 | 'n'<<40 | 's'<<32 | 't'<<24 | 'r'<<16 | 'u'<<8 | 'c'
)

// keyWord returns the first eight bytes of a key, zero-padded, as a number. Numbers that differ
// have the order of their keys. A plain key has no zero bytes, so keys of less than eight bytes
// with the same number are equal.
func keyWord(t []byte, start, end int) uint64 {
	n := end - start
	if start+8 <= len(t) {
		w := binary.BigEndian.Uint64(t[start:])
		if n < 8 {
			w &= ^(^uint64(0) >> (8 * uint(n)))
		}
		return w
	}
	var w uint64 // the last bytes of the text
	for j := range min(n, 8) {
		w |= uint64(t[start+j]) << (56 - 8*j)
	}
	return w
}

func scanObject(t []byte, i, depth int) int {
	if depth > scanDepth || i >= len(t) {
		return no
	}
	if t[i] == '}' {
		return i + 1
	}
	// Keys must be in rising order. Their first eight bytes nearly always decide that.
	var previous uint64
	from, to := -1, -1 // span of the previous key; -1: there is none
	for {
		if uint(i) >= uint(len(t)) || t[i] != '"' {
			return no
		}
		start := i + 1
		end := plainEnd(t, start)
		if end+2 >= len(t) || t[end] != '"' || t[end+1] != ':' {
			return no
		}
		word := keyWord(t, start, end)
		if word <= previous && from >= 0 &&
			(word < previous || bytes.Compare(t[from:to], t[start:end]) >= 0) {
			return no
		}
		i = end + 2
		switch word {
		case wordDataType:
			if end-start == 8 {
				if from >= 0 { // {"a":1,"dataType":…}: its value depends on what follows
					return no
				}
				return scanBigInt(t, i)
			}
		case wordValue:
			if from < 0 && t[i] == '"' { // bytes are the one object whose members are not sorted
				next := scanText(t, i+1)
				if next < 0 {
					return no
				}
				if hasPrefix(t, next, `,"dataType":`) {
					return scanBytes(t, i+1, next-1)
				}
			}
		case wordType:
			if hasPrefix(t, i, `"Buffer"`) { // may be written as bytes
				return no
			}
		case wordSig:
			if t[i] == '{' { // not revived, so its members would be sorted
				return no
			}
		case wordProto, wordPrototype, wordConstruct:
			if dropped(string(t[start:end])) {
				return no
			}
		}
		previous, from, to = word, start, end

		if i = scanValue(t, i, depth); uint(i) >= uint(len(t)) {
			return no
		}
		switch t[i] {
		case ',':
			i++
		case '}':
			return i + 1
		default:
			return no
		}
	}
}

func hasPrefix(t []byte, i int, prefix string) bool {
	return len(t)-i >= len(prefix) && string(t[i:i+len(prefix)]) == prefix
}

// scanBigInt scans the rest of an object that began with `{"dataType":`. It must be a big integer
// in its written form.
func scanBigInt(t []byte, i int) int {
	const head = `"bi","value":"`
	if !hasPrefix(t, i, head) {
		return no
	}
	i += len(head)
	start := i
	for i < len(t) && hexValue[t[i]] < 16 && t[i]&0xE0 != 'A'&0xE0 {
		i++
	}
	if i == start || t[start] == '0' && i > start+1 || !hasPrefix(t, i, `"}`) {
		return no
	}
	return i + 2
}

// scanBytes scans the rest of an object that began with `{"value":"…","dataType":`, whose text is
// t[start:end]. It must be bytes in their written form.
func scanBytes(t []byte, start, end int) int {
	i := end + len(`","dataType":`)
	switch {
	case hasPrefix(t, i, `"u8ab"}`):
		i += len(`"u8ab"}`)
	case hasPrefix(t, i, `"bb"}`):
		i += len(`"bb"}`)
	default:
		return no
	}
	if !isBase64(t[start:end]) {
		return no
	}
	return i
}

// isBase64 tells whether s is encoded base64: the standard alphabet, padded, unused bits zero.
func isBase64(s []byte) bool {
	if len(s)%4 != 0 {
		return false
	}
	if len(s) == 0 {
		return true
	}
	n, unused := len(s), byte(0)
	switch {
	case s[n-2] == '=' && s[n-1] == '=':
		n, unused = n-2, 15
	case s[n-1] == '=':
		n, unused = n-1, 3
	}
	if base64Strict[s[n-1]]&unused != 0 {
		return false
	}
	var all byte // 0x80 or more if one of them is no digit
	digits := s[:n]
	for len(digits) >= 4 {
		all |= base64Strict[digits[0]] | base64Strict[digits[1]] |
			base64Strict[digits[2]] | base64Strict[digits[3]]
		digits = digits[4:]
	}
	for _, c := range digits {
		all |= base64Strict[c]
	}
	return all < 0x80
}

// base64Strict is base64Value without the URL alphabet.
var base64Strict = func() [256]byte {
	t := base64Value
	t['-'], t['_'] = 0xFF, 0xFF
	return t
}()

// scanText scans a text whose opening quote is before i.
func scanText(t []byte, i int) int {
	for {
		i = plainEnd(t, i)
		if i >= len(t) {
			return no
		}
		switch c := t[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = scanEscape(t, i); i < 0 {
				return no
			}
		case c < ' ':
			return no
		default:
			r, n := utf8.DecodeRune(t[i:])
			if r == utf8.RuneError && n == 1 {
				return no
			}
			i += n
		}
	}
}

// scanEscape scans an escape as JSON.stringify writes it, except lone surrogates.
func scanEscape(t []byte, i int) int {
	if i+1 >= len(t) {
		return no
	}
	switch t[i+1] {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if !hasPrefix(t, i+2, "00") || i+6 > len(t) {
			return no
		}
		switch high, low := t[i+4], t[i+5]; {
		case high == '1' && (low >= '0' && low <= '9' || low >= 'a' && low <= 'f'),
			// the others have short forms
			high == '0' && (low >= '0' && low <= '7' || low == 'b' || low == 'e' || low == 'f'):
			return i + 6
		}
	}
	return no
}

// scanNumber scans a number as JavaScript writes it.
func scanNumber(t []byte, i int) int {
	start := i
	if t[i] == '-' {
		i++
	}
	first := i
	i = digitsEnd(t, i)
	if i < len(t) && (t[i] == '.' || t[i] == 'e') || i-first > 15 {
		return scanOddNumber(t, start)
	}
	// An integer of 15 digits is below 2^53, so it is exact and is written unchanged.
	if i == first || t[first] == '0' && i > start+1 {
		return no
	}
	return i
}

// digitsEnd returns the index of the first byte at or after i that is no decimal digit.
func digitsEnd(t []byte, i int) int {
	for i+8 <= len(t) {
		w := binary.LittleEndian.Uint64(t[i:]) ^ '0'*ones
		if m := ((w + 0x76*ones) | w) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(t) && t[i] >= '0' && t[i] <= '9' {
		i++
	}
	return i
}

// scanOddNumber scans fractions, exponents and long integers by parsing and writing them.
func scanOddNumber(t []byte, i int) int {
	start := i
	for i < len(t) &&
		(t[i] >= '0' && t[i] <= '9' || t[i] == '.' || t[i] == '-' || t[i] == '+' || t[i] == 'e') {
		i++
	}
	if i-start > 25 { // longer than any number that is written
		return no
	}
	f, err := strconv.ParseFloat(string(t[start:i]), 64)
	if err != nil {
		return no
	}
	var room [32]byte
	if !bytes.Equal(appendNumber(room[:0], f), t[start:i]) {
		return no
	}
	return i
}
