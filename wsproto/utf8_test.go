package wsproto

import (
	"errors"
	"slices"
	"testing"
	"unicode/utf8"
)

// checkText feeds text in pieces, and in fragments of such pieces to a Reader. The result must be
// that of utf8.Valid.
func checkText(t *testing.T, text []byte, piece int) {
	t.Helper()
	var u utf8Checker
	ok := true
	for chunk := range slices.Chunk(text, piece) {
		ok = ok && u.feed(chunk)
	}
	if got, want := ok && u.need == 0, utf8.Valid(text); got != want {
		t.Fatalf("% x in pieces of %d: %v, want %v", text, piece, got, want)
	}
	var stream []byte
	first := byte(0x01)
	for chunk := range slices.Chunk(text, piece) {
		stream = append(append(stream, masked(first, string(chunk))...), masked(0x89, "p")...)
		first = 0
	}
	stream = append(stream, masked(first|finBit, "")...)
	for _, cut := range []int{1, 2, 3, 5, len(stream)} {
		_, err := read(new(Reader), stream, cut)
		var why Disconnect
		if want := utf8.Valid(text); (err == nil) != want || err != nil &&
			(!errors.As(err, &why) || why != InvalidPayload) {
			t.Fatalf("% x in fragments of %d, cut every %d bytes: %v, want %v", text, piece, cut, err, want)
		}
	}
}

func TestTextIsCheckedWhereverItIsCut(t *testing.T) {
	for _, text := range []string{
		"", "a", "\u00e9\u20ac\U0001f600", "\xc2\x80\xdf\xbf", "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80",
		"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
		"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x7f", "\xc2\xc0", "\xe0\x9f\xbf",
		"\xed\xa0\x80", "\xe2\x82", "\xe2\x28\xa1",
		"\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xfe", "\xf0\x9f\x98",
		"01234567\xff", "0123456\xc3\xa901234567\xc3",
		"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64",
	} {
		for piece := 1; piece <= len(text)+1; piece++ {
			checkText(t, []byte(text), piece)
		}
	}
}

// Binary and compressed messages are not checked. A text after them is.
func TestOnlyPlainTextIsChecked(t *testing.T) {
	bad := "\xff"
	for _, stream := range [][]byte{masked(0x82, bad), masked(0xc1, bad),
		slices.Concat(masked(0x41, bad), masked(0x80, bad))} {
		if _, err := read(&Reader{Deflate: true}, stream, 3); err != nil {
			t.Errorf("% x: %v", stream, err)
		}
		var why Disconnect
		if _, err := read(&Reader{Deflate: true}, append(stream, masked(0x81, bad)...),
			3); !errors.As(err, &why) || why != InvalidPayload {
			t.Errorf("% x and a text: %v", stream, err)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("\u00e9\xe2\x82"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		checkText(t, text[:min(len(text), 4096)],
			int(piece)+1)
	})
}
