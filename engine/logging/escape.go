package logging

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// escaping is a writer for lines that end with '\n'. Clients influence what is logged. So escaping
// writes as \uXXXX every character that a terminal would obey, reorder or hide: C0 and C1 controls,
// DEL, bidirectional and other format characters, line separators, and bytes that are not UTF-8.
// slog's text form quotes these by itself; its JSON form leaves most of them unchanged.
type escaping struct{ w io.Writer }

func (e escaping) Write(line []byte) (int, error) {
	body, end := bytes.CutSuffix(line, []byte{'\n'})
	if shown(body) {
		return e.w.Write(line)
	}
	out := appendVisible(make([]byte, 0, len(line)+64), body)
	if end {
		out = append(out, '\n')
	}
	if _, err := e.w.Write(out); err != nil {
		return 0, err
	}
	return len(line), nil
}

// Visible returns text with its invisible characters escaped: see escaping.
func Visible(text string) string {
	if shown([]byte(text)) {
		return text
	}
	return string(appendVisible(nil, []byte(text)))
}

// shown reports whether text needs no escapes.
func shown(text []byte) bool {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if !unicode.IsPrint(r) || r == utf8.RuneError && n == 1 {
			return false
		}
		text = text[n:]
	}
	return true
}

func appendVisible(dst, text []byte) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, `\ufffd`...)
		case unicode.IsPrint(r):
			dst = append(dst, text[:n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r) // a surrogate pair, as in JSON
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		text = text[n:]
	}
	return dst
}
