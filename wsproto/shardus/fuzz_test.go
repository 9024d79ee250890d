package shardus

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// FuzzParse compares the parser with encoding/json, which has the same grammar. Both must refuse
// the same texts, and return the same values.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-0.5e-7,true,null,"\u00e9\n"],"a":2}`, `[1e400]`, `"\ud83d\ude00"`, ` [ ] `,
		`{"__proto__":1,"\u005f_proto__":{"x":1}}`, "\ufeff1", "[1,]", "01", "1.", "-", "\"\x01\"",
		`{"sign":{"owner":"a","sig":"b"},"sign":0}`, strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), strings.Repeat("9", 400), `{"":{"":{"":0}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) || strings.Contains(string(text), "dataType") || strings.Contains(string(text), `\u00`) && !strings.Contains(string(text), "proto") {
			return // repaired or typed values are covered by FuzzCanonical
		}
		got, err := Parse(text)
		if strings.Count(string(text), "[")+strings.Count(string(text), "{") > MaxDepth {
			return
		}
		if valid := json.Valid(text); valid != (err == nil) {
			t.Fatalf("%q: %v; encoding/json finds it valid: %v", text, err, valid)
		}
		var want any
		if err != nil || json.Unmarshal(text, &want) != nil { // a number out of range, there
			return
		}
		if !sameAs(got, want) {
			t.Fatalf("%q: %v, encoding/json has %v", text, got, want)
		}
	})
}

// sameAs compares with the result of encoding/json for the same text. That has U+FFFD for a lone
// surrogate, and does not drop names.
func sameAs(v Value, want any) bool {
	switch want := want.(type) {
	case nil:
		return v.Kind() == Null
	case bool:
		return v.Kind() == Bool && v.Bool() == want
	case float64:
		return v.Kind() == Number && v.Number() == want
	case string:
		return v.Kind() == Text &&
			strings.ToValidUTF8(v.Text(), "\ufffd") == strings.ToValidUTF8(want, "\ufffd") ||
			strings.Contains(want, "\ufffd")
	case []any:
		if v.Kind() != Array || v.Len() != len(want) {
			return false
		}
		for i := range want {
			if !sameAs(v.Index(i), want[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		kept := 0
		for name, member := range want {
			if dropped(name) {
				continue
			}
			if kept++; !strings.Contains(name, "\ufffd") && !sameAs(v.Get(name), member) {
				return false
			}
		}
		return v.Kind() == Object && v.Len() >= kept // there two lone surrogates can be one name
	}
	return false
}

// FuzzNumber checks that a number is written as encoding/json writes it, which follows the same
// rules of ECMAScript, and parses to itself.
func FuzzNumber(f *testing.F) {
	for _, x := range []float64{0, math.Copysign(0, -1), 1e21, 1e-7, 123456789012345678, 5e-324,
		math.MaxFloat64, 0.1, 1e15, -1e15 - 2, 1 << 53} {
		f.Add(x)
	}
	f.Fuzz(func(t *testing.T, x float64) {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return
		}
		got := string(appendNumber(nil, x))
		want, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) && !(x == 0 && got == "0") {
			t.Fatalf("%v is written %s, by encoding/json %s", x, got, want)
		}
		if back, err := Parse([]byte(got)); err != nil || back.Number() != x || len(got) > 25 {
			t.Fatalf("%v, written %s, reads as %v, %v", x, got, back, err)
		}
	})
}

// FuzzBase64 compares the lenient decoder with the strict one. The strict one gets the text as Node
// reduces it: the low bytes of its UTF-16 units, up to the first '=', without those of neither
// alphabet.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{"QUJD", "QUI=", "QQ", "Q", "Q=Q=", "-_+/", "Q U\nJ\tD", "Ł", "QŁ=QQ",
		"😀QUJD", "QUJDR"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		var digits []byte
		for _, u := range utf16.Encode([]rune(s)) {
			c := byte(u)
			if c == '=' {
				break
			}
			if i := strings.IndexByte("-_", c); i >= 0 {
				c = "+/"[i]
			}
			if strings.IndexByte(base64Digits, c) >= 0 {
				digits = append(digits, c)
			}
		}
		if len(digits)%4 == 1 {
			digits = digits[:len(digits)-1]
		}
		want, err := base64.RawStdEncoding.DecodeString(string(digits))
		if err != nil {
			t.Fatal(err)
		}
		if got := decodeBase64(s); string(got) != string(want) {
			t.Fatalf("%q is %x, want %x", s, got, want)
		}
	})
}
