package shardus

import "errors"

// These are the errors that callers can test for with errors.Is. The text around them says where
// and why. None of them holds key material.
var (
	// ErrSyntax: the text is no JSON (as strict as JavaScript's JSON.parse).
	ErrSyntax = errors.New("shardus: not JSON")
	// ErrDepth: arrays and objects are nested deeper than MaxDepth.
	ErrDepth = errors.New("shardus: nested too deep")
	// ErrLarge: more than MaxValues values.
	ErrLarge = errors.New("shardus: too many values")
	// ErrTyped: a {"dataType":"bi"} that is no hex number, or a {"type":"Buffer"} with an item that is
	// not a number.
	ErrTyped = errors.New("shardus: bad typed value")
	// ErrNotObject: the value is not an object, or its canonical text stands for something else.
	ErrNotObject = errors.New("shardus: not an object that can be signed")

	// ErrKey: a key in the settings or in a signature is not hex of the right length, or the halves of
	// a secret key do not belong together.
	ErrKey = errors.New("shardus: bad key")
	// ErrUnsigned: `sign`, its owner or its sig is missing, empty or malformed. Nothing was verified.
	ErrUnsigned = errors.New("shardus: no usable signature")
	// ErrSignature: the signature is well-formed, but not one of this key over this content.
	ErrSignature = errors.New("shardus: wrong signature")
)
