package wsproto

import (
	"errors"
	"math"
	"strings"
	"testing"
)

var somePosition = Position{Log: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255},
	Offset: 12345}

const someToken = "000102030405060708090a0b0c0d0eff-12345"

func TestPositionToken(t *testing.T) {
	for _, c := range []struct {
		p     Position
		token string
	}{
		{somePosition, someToken},
		{Position{}, "00000000000000000000000000000000-0"},
		{Position{Offset: math.MaxUint64}, "00000000000000000000000000000000-18446744073709551615"},
	} {
		if got := c.p.String(); got != c.token {
			t.Errorf("%v: token %q, want %q", c.p, got, c.token)
		}
		if got, err := ParsePosition(c.token); err != nil || got != c.p {
			t.Errorf("%q: %v, %v", c.token, got, err)
		}
		if got, err := ParsePosition([]byte(c.token)); err != nil || got != c.p {
			t.Errorf("%q as bytes: %v, %v", c.token, got, err)
		}
	}
}

func TestParsePositionRefuses(t *testing.T) {
	hex32 := strings.Repeat("0", 32)
	for _, token := range []string{
		"", "-", "live", hex32, hex32 + "-", hex32 + "0", hex32 + "-00", hex32 + "-01", hex32 + "-+1",
		hex32 + "--1",
		hex32 + "-1 ", " " + hex32 + "-1", hex32 + "-1a", hex32 + "_1", hex32[1:] + "-1", hex32 + "0-1",
		strings.ToUpper("000102030405060708090a0b0c0d0eff") + "-1", "g" + hex32[1:] + "-1",
		hex32 + "-18446744073709551616", hex32 + "-99999999999999999999", hex32 +
			"-118446744073709551615",
	} {
		if p, err := ParsePosition(token); !errors.Is(err, ErrPosition) || p != (Position{}) {
			t.Errorf("%q: %v, %v", token, p, err)
		}
	}
}

func TestParsePositionDoesNotAllocate(t *testing.T) {
	token, junk := []byte(someToken), []byte("keep-alive")
	if n := testing.AllocsPerRun(100, func() {
		_, _ = ParsePosition(token)
		_, _ = ParsePosition(junk)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseFrom(t *testing.T) {
	for text, want := range map[string]From{
		"": {}, "live": {Start: Live}, "earliest": {Start: Earliest},
		someToken: {Start: At, Position: somePosition},
	} {
		got, err := ParseFrom(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: %v (%q), %v", text, got, got, err)
		}
	}
	for _, text := range []string{"Live", "LIVE", "latest", "0", " ", someToken + " ",
		strings.Repeat("x", 10_000)} {
		_, err := ParseFrom(text)
		if !errors.Is(err, ErrPosition) || len(err.Error()) > 300 {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add(someToken)
	f.Add("00000000000000000000000000000000-18446744073709551616")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePosition(text)
		if err == nil && p.String() != text {
			t.Errorf("%q is accepted, but prints as %q", text, p)
		}
		if b, errB := ParsePosition([]byte(text)); b != p || (errB == nil) != (err == nil) {
			t.Errorf("%q: text and bytes differ", text)
		}
	})
}
