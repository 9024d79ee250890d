package query

import (
	"errors"
	"time"

	"distributor/wsproto/shardus"
)

// A signed request is {…parameters, sender, sign: {owner, sig}}. Refusals have the texts and the
// order of the replaced service's, which authors of collectors know. Nothing here does I/O.

// refusal is an answer with an error in place of the data. quoted is its text as canonical JSON, so
// that text from the request is repeated unchanged, lone surrogates included.
type refusal struct {
	quoted   []byte
	unsigned bool
}

func refuse(sentence string) *refusal {
	return &refusal{quoted: quote(shardus.TextValue(sentence))}
}

// refuseEcho puts a text of the request between before and after, which need no escapes.
func refuseEcho(before string, text []byte, after string) *refusal {
	quoted := append([]byte{'"'}, before...)
	quoted = append(quoted, text[1:len(text)-1]...)
	return &refusal{quoted: append(append(quoted, after...), '"')}
}

// quote returns the canonical text of a value that comes from Parse or is a text, which cannot
// fail.
func quote(v shardus.Value) []byte {
	text, err := v.AppendCanonical(nil)
	if err != nil {
		panic("query: " + err.Error())
	}
	return text
}

// field is a parameter and the type it must have.
type field struct {
	name     string
	kind     shardus.Kind // Number, Text or Object
	required bool
}

// identity is the end of each endpoint's list of fields.
var identity = []field{{"sender", shardus.Text, true}, {"sign", shardus.Object, true}}

var signFields = []field{{"owner", shardus.Text, true}, {"sig", shardus.Text, true}}

func numbers(names ...string) []field { return optional(shardus.Number, names) }
func texts(names ...string) []field   { return optional(shardus.Text, names) }

func optional(kind shardus.Kind, names []string) []field {
	fields := make([]field, len(names))
	for i, name := range names {
		fields[i] = field{name, kind, false}
	}
	return fields
}

// typeName returns JavaScript's typeof.
func typeName(k shardus.Kind) string {
	switch k {
	case shardus.Undefined:
		return "undefined"
	case shardus.Bool:
		return "boolean"
	case shardus.Number:
		return "number"
	case shardus.Text:
		return "string"
	case shardus.BigInt:
		return "bigint"
	}
	return "object"
}

// is tells whether a value has the type that a field wants. Object means any kind except an array
// or null.
func is(v, want shardus.Kind) bool {
	if want == shardus.Object {
		return v == shardus.Object || v == shardus.Bytes || v == shardus.Buffer
	}
	return v == want
}

// wrongField returns the first fault of an object's members, or "".
func wrongField(v shardus.Value, fields []field) string {
	switch v.Kind() {
	case shardus.Undefined:
		return "input is undefined"
	case shardus.Null:
		return "input is null"
	case shardus.Object, shardus.Array, shardus.Bytes, shardus.Buffer: // the latter have no members
	default:
		return "input must be object, not " + typeName(v.Kind())
	}
	for _, f := range fields {
		switch got := v.Get(f.name).Kind(); {
		case got == shardus.Undefined && f.required:
			return f.name + " is required"
		case got == shardus.Undefined:
		case got == shardus.Null && f.required:
			return f.name + " cannot be null"
		case !is(got, f.kind):
			return f.name + " must be, " + typeName(f.kind)
		}
	}
	return ""
}

// check returns a refusal unless a request has the fields of its endpoint, and its sender may ask.
// Cheap checks come first, the signature last.
func (p *policy) check(
	request shardus.Value, fields []field, hashKey shardus.HashKey, now time.Time,
) *refusal {
	if wrong := wrongField(request, fields); wrong != "" {
		return refuse("Invalid request data " + wrong)
	}
	sign, sender := request.Get("sign"), request.Get("sender").Text()
	if wrong := wrongField(sign, signFields); wrong != "" {
		return refuse("Invalid request data signature " + wrong)
	}
	if sign.Get("owner").Text() != sender {
		return refuse("Data sender publicKey and sign owner key does not match")
	}
	if p.limit {
		key, err := shardus.ParsePublicKey(sender)
		expiry, known := p.expiry[key]
		if err != nil || !known {
			return refuse("Data request sender is not a subscriber")
		}
		if expiry != 0 && expiry <= now.UnixMilli() {
			return refuse("Subscriber subscription expired")
		}
	}
	switch err := shardus.VerifyObject(request, hashKey); {
	case err == nil:
		return nil
	case errors.Is(err, shardus.ErrSignature):
		return refuse("Invalid signature")
	default: // malformed: nothing could be verified
		return refuse("Error validating request data")
	}
}
