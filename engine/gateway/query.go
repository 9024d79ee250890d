package gateway

import (
	"strings"
	"unicode/utf8"

	"distributor/wsproto/shardus"
)

// The query of an upgrade request is read from the raw request target by the rules of Node's
// url.parse and querystring, which the replaced service used. url.Query() would drop pairs with a
// bad escape or a semicolon.

// queryOf returns the text between the first '?' of a request target and its fragment.
func queryOf(target string) string {
	target, _, _ = strings.Cut(target, "#")
	_, query, _ := strings.Cut(target, "?")
	return query
}

// parameter returns the decoded value of the first parameter of that name, and how many such
// parameters there are.
func parameter(query, name string) (value string, count int) {
	for pair := range strings.SplitSeq(query, "&") {
		key, v, _ := strings.Cut(pair, "=")
		if key != name && unescape(key) != name {
			continue
		}
		if count++; count == 1 {
			value = unescape(v)
		}
	}
	return value, count
}

// unescape works like querystring.unescape, with '+' for a space. Text that is not an escape stays
// unchanged, and bytes that are not UTF-8 become U+FFFD.
func unescape(s string) string {
	s, _ = percentDecode(strings.ReplaceAll(s, "+", " "))
	return shardus.TextValue(s).Text()
}

// decodeComponent works like JavaScript's decodeURIComponent. It returns false where that throws:
// on a bad escape, and on escapes that are not UTF-8.
func decodeComponent(s string) (string, bool) {
	s, clean := percentDecode(s)
	return s, clean && utf8.ValidString(s)
}

// percentDecode replaces the escapes in s. Bad escapes stay, and clean is then false.
func percentDecode(s string) (decoded string, clean bool) {
	at := strings.IndexByte(s, '%')
	if at < 0 {
		return s, true
	}
	clean = true
	out := append(make([]byte, 0, len(s)), s[:at]...)
	for i := at; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 < len(s) {
			if high, low := hexDigit(s[i+1]), hexDigit(s[i+2]); high >= 0 && low >= 0 {
				out = append(out, byte(high<<4|low))
				i += 2
				continue
			}
		}
		out, clean = append(out, '%'), false
	}
	return string(out), clean
}

// hexDigit returns the value of a hexadecimal digit, and -1 for any other byte.
func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
