package config

import (
	"strconv"
	"testing"
)

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }

// The results of Number() in Node 20, if they are whole numbers in range.
func TestWholeNumber(t *testing.T) {
	for text, want := range map[string]int64{
		"50": 50, " 50\n": 50, "+5": 5, "-1": -1, "007": 7, "1e3": 1000, "1E3": 1000, "100e-1": 10,
		"5.0": 5, "5.": 5,
		".5e1": 5, "0x10": 16, "0XfF": 255, "0o17": 15, "0b101": 5, "-0": 0, "9007199254740991": maxSafe,
	} {
		if got, ok := wholeNumber(text, -maxSafe, maxSafe); !ok || got != want {
			t.Errorf("%q: %d %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", " ", "abc", "5x", "1,000", "1_000", "0x", "0xg", "0x1_0", "-0x10", "0x1p2", "Infinity",
		"inf", "NaN", "nan",
		"1e400", "1.5", "0x10000000000000000", "9007199254740993", "1e16", "--5", "5 5", "0b2", "e",
		".", "-",
	} {
		if got, ok := wholeNumber(text, -maxSafe, maxSafe); ok {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		rule rule
		yes  []string
		no   []string
	}{
		{hostOrEmpty, []string{"", "127.0.0.1", "::1", "::", "fe80::1%lo", "localhost", "a.example"},
			[]string{"127.0.0.1:80", "[::1]", "a b", "a:b:"}},
		{hostPortOrOff, []string{"", "off", ":9100", "127.0.0.1:9100", "[::1]:0", "localhost:65535"},
			[]string{"9100", "Off", "::1", "localhost", "localhost:http", "a:65536", "a:-1", "a b:1"}},
		{hexDigits(4), []string{"00ff", "ABcd"}, []string{"", "0ff", "00fff", "00fg", "0xff", " 0ff",
			"00é"}},
		{oneOf("a", "b"), []string{"a", "b"}, []string{"", "A", "c", "a,b"}},
		{mode, []string{"WS"}, []string{"MQ", "ws", ""}},
	} {
		for _, s := range c.yes {
			if !c.rule.ok(s) {
				t.Errorf("%s: %q refused", c.rule.want, s)
			}
		}
		for _, s := range c.no {
			if c.rule.ok(s) {
				t.Errorf("%s: %q accepted", c.rule.want, s)
			}
		}
	}
}
