package shardus

import (
	"iter"
	"slices"
	"unicode/utf8"
)

// Kind is the JavaScript type of a Value.
type Kind uint8

// The kinds. The zero Value is Undefined, which Get returns for a missing member.
const (
	Undefined Kind = iota
	Null
	Bool
	Number
	Text
	BigInt // {"dataType":"bi"}
	Bytes  // {"dataType":"u8ab"}, a Uint8Array
	Buffer // {"dataType":"bb"}, a Node Buffer
	Array
	Object

	broken // only while parsing: a typed value for which JavaScript would throw an error
)

// Value is one JavaScript value as safeJsonParse makes it. It is immutable and may be shared
// between goroutines. It keeps the text in memory from which it was parsed.
type Value struct {
	kind Kind
	num  float64 // Number; Bool: 1 or 0
	// Text: WTF-8. BigInt: hex digits, lower case, no leading zeros. Bytes, Buffer: the bytes.
	text string
	// Array: items, with empty keys. Object: members, sorted by UTF-16, without duplicate keys.
	list []Member
}

// Member is a named value of an object.
type Member struct {
	Key   string
	Value Value
}

// NullValue returns null.
func NullValue() Value { return Value{kind: Null} }

// BoolValue returns true or false.
func BoolValue(b bool) Value {
	if b {
		return Value{kind: Bool, num: 1}
	}
	return Value{kind: Bool}
}

// NumberValue returns a number. NaN and the infinities are written as null.
func NumberValue(f float64) Value { return Value{kind: Number, num: f} }

// TextValue returns a text. Invalid UTF-8 in s becomes U+FFFD.
func TextValue(s string) Value { return Value{kind: Text, text: repaired(s)} }

func repaired(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string(appendRepaired(nil, []byte(s)))
}

// ArrayValue returns an array of the items.
func ArrayValue(items ...Value) Value {
	list := make([]Member, len(items))
	for i, v := range items {
		list[i].Value = v
	}
	return Value{kind: Array, list: list}
}

// ObjectValue returns an object. Members may be in any order. Of several with the same key the last
// one counts. Keys are UTF-8, like texts.
func ObjectValue(members ...Member) Value {
	list := make([]Member, len(members))
	for i, m := range members {
		list[i] = Member{repaired(m.Key), m.Value}
	}
	return Value{kind: Object, list: sorted(list)}
}

// sorted sorts members into canonical order, in place. Of several with the same key it keeps the
// last.
func sorted(list []Member) []Member {
	order := func(a, b Member) int { return compareUTF16(a.Key, b.Key) }
	for i := 1; i < len(list); i++ {
		if order(list[i-1], list[i]) < 0 {
			continue
		}
		slices.SortStableFunc(list, order)
		kept := list[:0]
		for j, m := range list {
			if j+1 == len(list) || list[j+1].Key != m.Key {
				kept = append(kept, m)
			}
		}
		return kept
	}
	return list
}

// Kind returns the kind of v.
func (v Value) Kind() Kind { return v.kind }

// Bool returns the value of a Bool, false for every other kind.
func (v Value) Bool() bool { return v.kind == Bool && v.num != 0 }

// Number returns the number of a Number, 0 for every other kind. It is infinite if the text was too
// large.
func (v Value) Number() float64 {
	if v.kind != Number {
		return 0
	}
	return v.num
}

// Text returns the text of a Text, "" for every other kind. It is UTF-8 except for lone surrogates.
// Each of those is held as the three bytes ED A0..BF 80..BF, so that different texts stay
// different.
func (v Value) Text() string {
	if v.kind != Text {
		return ""
	}
	return v.text
}

// Hex returns the lower-case hex digits of a BigInt, without leading zeros; "" for every other
// kind.
func (v Value) Hex() string {
	if v.kind != BigInt {
		return ""
	}
	return v.text
}

// Bytes returns the bytes of Bytes or a Buffer as a string, "" for every other kind.
func (v Value) Bytes() string {
	if v.kind != Bytes && v.kind != Buffer {
		return ""
	}
	return v.text
}

// Len returns the number of items of an Array or of members of an Object, 0 for every other kind.
func (v Value) Len() int { return len(v.list) }

// Index returns an item of an Array, or a member's value of an Object, in canonical order. It
// panics unless 0 <= i < Len().
func (v Value) Index(i int) Value { return v.list[i].Value }

// Get returns an Object's member, or an Undefined value if there is none or v is no Object.
func (v Value) Get(key string) Value {
	if v.kind != Object {
		return Value{}
	}
	if i, ok := v.find(key); ok {
		return v.list[i].Value
	}
	return Value{}
}

func (v Value) find(key string) (int, bool) {
	return slices.BinarySearchFunc(v.list, key, func(m Member, key string) int {
		return compareUTF16(m.Key, key)
	})
}

// All iterates over the members of an Object in canonical order, or the items of an Array (with
// empty keys).
func (v Value) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for _, m := range v.list {
			if !yield(m.Key, m.Value) {
				return
			}
		}
	}
}

// With returns a copy of an Object with one member set.
func (v Value) With(key string, member Value) Value {
	without := v.Without(key)
	i, _ := without.find(key)
	list := slices.Insert(slices.Clip(without.list), i, Member{repaired(key), member})
	return Value{kind: Object, list: list}
}

// Without returns an Object without the member with that key. If there is none it returns v itself.
func (v Value) Without(key string) Value {
	i, ok := v.find(key)
	if !ok {
		return v
	}
	return Value{kind: v.kind, list: slices.Concat(v.list[:i], v.list[i+1:])}
}
