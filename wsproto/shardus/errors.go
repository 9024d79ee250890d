package shardus

import "errors"

// What a caller can ask for with errors.Is. The text around a sentinel says where and why; none ever holds key material.
var (
	// ErrSyntax: the text is no JSON (as strict as JavaScript's JSON.parse).
	ErrSyntax = errors.New("shardus: not JSON")
	// ErrDepth: arrays and objects are nested deeper than MaxDepth.
	ErrDepth = errors.New("shardus: nested too deep")
	// ErrLarge: more than MaxValues values.
	ErrLarge = errors.New("shardus: too many values")
	// ErrTyped: a {"dataType":"bi"} that is no hex number, or a {"type":"Buffer"} with an item that has no number.
	ErrTyped = errors.New("shardus: bad typed value")
	// ErrNotObject: only objects can be signed, and only while their canonical text still is that object.
	ErrNotObject = errors.New("shardus: not an object that can be signed")

	// ErrKey: a key in the settings or in a signature is not hex of the right length, or its halves do not fit.
	ErrKey = errors.New("shardus: bad key")
	// ErrUnsigned: `sign`, its owner or its sig is missing, empty or malformed. Nothing was verified.
	ErrUnsigned = errors.New("shardus: no usable signature")
	// ErrSignature: there is a well-formed signature, and it is not one of this key over this content.
	ErrSignature = errors.New("shardus: wrong signature")
)
