package shardus

import (
	"errors"
	"math"
	"testing"
)

func canonicalOf(t *testing.T, v Value) string {
	t.Helper()
	b, err := v.AppendCanonical(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestValueAccessors(t *testing.T) {
	v, err := Parse([]byte(`{"n":1.5,"s":"x\ud800","t":true,"z":null,"i":{"dataType":"bi","value":"0FF"},"u":{"dataType":"u8ab","value":"AQI"},"b":{"dataType":"bb","value":"Aw"},"a":[1,{"k":2}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for key, kind := range map[string]Kind{"n": Number, "s": Text, "t": Bool, "z": Null, "i": BigInt,
		"u": Bytes, "b": Buffer, "a": Array, "missing": Undefined} {
		if got := v.Get(key).Kind(); got != kind {
			t.Errorf("%s is of kind %d, want %d", key, got, kind)
		}
	}
	if v.Get("n").Number() != 1.5 || v.Get("s").Text() != "x\xed\xa0\x80" || !v.Get("t").Bool() ||
		v.Get("i").Hex() != "ff" ||
		v.Get("u").Bytes() != "\x01\x02" || v.Get("b").Bytes() != "\x03" || v.Get("a").Len() != 2 ||
		v.Get("a").Index(1).Get("k").Number() != 2 {
		t.Errorf("wrong content: %v", v)
	}
	// Accessors of other kinds return zero values.
	if v.Number() != 0 || v.Text() != "" || v.Bool() || v.Hex() != "" || v.Bytes() != "" ||
		v.Get("a").Get("0").Kind() != Undefined || v.Get("t").Number() != 0 || v.Get("i").Text() != "" {
		t.Error("a value of another kind has content")
	}
	var keys string
	for key := range v.All() {
		keys += key
	}
	if keys != "abinstuz" {
		t.Errorf("keys %q", keys)
	}
}

func TestValueConstructors(t *testing.T) {
	v := ObjectValue(
		Member{"z", ArrayValue(NullValue(), BoolValue(true), BoolValue(false),
			NumberValue(math.Copysign(0, -1)), NumberValue(math.NaN()), NumberValue(math.Inf(1)), Value{})},
		Member{"a", NumberValue(1)},
		Member{"b", TextValue("bad \xff\xed\xa0\x80 \xe2\x82")},
		Member{"k\xff", Value{}},
		Member{"\uffff", NumberValue(3)}, Member{"😀", NumberValue(2)},
		Member{"a", NumberValue(2)},
	)
	const want = "{\"a\":2,\"b\":\"bad \uFFFD\uFFFD\uFFFD\uFFFD \uFFFD\",\"z\":[null,true,false,0,null,null,null],\"😀\":2,\"\uffff\":3}"
	if got := canonicalOf(t, v); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	small := ObjectValue(Member{"b", NumberValue(1)})
	for _, c := range []struct {
		v    Value
		want string
	}{
		{small.With("a", NullValue()), `{"a":null,"b":1}`},
		{small.With("c", NullValue()), `{"b":1,"c":null}`},
		{small.With("b", NullValue()), `{"b":null}`},
		{small.Without("b"), `{}`},
		{small.Without("x"), `{"b":1}`},
		{small, `{"b":1}`},
	} {
		if got := canonicalOf(t, c.v); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	if _, err := ObjectValue(Member{"type", TextValue("Buffer")},
		Member{"data", ArrayValue(Value{kind: BigInt,
			text: "1"})}).AppendCanonical(nil); !errors.Is(err, ErrTyped) {
		t.Errorf("a big integer among a Buffer's bytes: %v", err)
	}
}

// TestUTF16Order lists keys in JavaScript's order: surrogates, single or in pairs, sort before
// U+E000 to U+FFFF.
func TestUTF16Order(t *testing.T) {
	ordered := []string{"", "\x00", "A", "a", "aa", "b", "é", "\u2028", "\ud7ff", "\xed\xa0\x80",
		"\U00010000", "\U0001F600", "\U0001F600a", "\U0001F601", "\U0010FFFF", "\xed\xb0\x80", "\ue000",
		"\uffff"}
	for i, a := range ordered {
		for j, b := range ordered {
			for _, prefix := range []string{"", "x", "é", "\U0001F600"} {
				if got := compareUTF16(prefix+a, prefix+b); (got < 0) != (i < j) || (got > 0) != (i > j) {
					t.Errorf("compare(%q, %q) = %d", prefix+a, prefix+b, got)
				}
			}
		}
	}
	if v := (Value{kind: Object}); v.Get("\xed").Kind() != Undefined {
		t.Error("found in an empty object")
	}
	// The key may have any bytes
	ObjectValue(Member{"\xff", NullValue()}, Member{"\uffff", NullValue()}).Get("\xed\xa0")
}
