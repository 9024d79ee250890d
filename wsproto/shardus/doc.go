// Package shardus holds the formats in which all nodes of the network must agree to the byte:
// canonical JSON text, the keyed hash of that text, the signatures of that hash, and the keys.
//
// # Canonical text
//
// The canonical text of a JSON text is safeStringify(safeJsonParse(text)) of Shardeum's TypeScript
// libraries: members sorted by UTF-16, no white space, numbers and strings as JavaScript prints
// them, and typed values
//
//	{"dataType":"bi","value":"<hex>"}            a big integer
//	{"value":"<base64>","dataType":"u8ab"}       a Uint8Array (value first: not sorted)
//	{"value":"<base64>","dataType":"bb"}         a Node Buffer
//
// There are two ways to the canonical text. IsCanonical recognises, in one pass and without
// allocating, a text that is its own canonical form. Archivers write canonical text, so this way
// serves nearly every record. Parse builds a tree of Values and Value.AppendCanonical writes the
// tree, which is slower, but handles every text. IsCanonical may refuse a text that is canonical,
// and never accepts a text that is not; FuzzCanonical and TestMutations search for a
// counterexample.
//
// # Messages
//
//	message     {"receipt":<record>,"sign":{"owner":"<64 hex>","sig":"<192 hex>"}}
//	hash        BLAKE2b-256, keyed, over {"receipt":<record>}
//	            (any object: over its canonical text without `sign`)
//	sig         Ed25519 signature of the 32 bytes of the hash ‖ those 32 bytes, in hex
//	            (libsodium's combined form)
//
// # Quirks kept
//
// All quirks are JavaScript's or the libraries' own. testdata/vectors.jsonl.gz (recorded from the
// replaced service) and testdata/random.jsonl.gz (random texts put through the same libraries) pin
// them.
//
//   - Members named __proto__, constructor and prototype are dropped (vectors proto/*).
//   - The direct value of a member `sig` is not revived (vectors sig/*).
//   - A bad typed value is an error, unless a later duplicate key replaces it or what contains it.
//   - A big integer's value is turned to text first: ["ff"] is ff, and a nested big integer goes
//     through decimal (vectors bi/*).
//   - base64 is read as leniently as Node does it (vectors u8ab/*, bb/*).
//   - {"type":"Buffer","data":…} becomes bytes when it is *written*, one level a pass. So canonical
//     text that still holds "type":"Buffer", or bytes as the value of a `sig`, may change once
//     more; AppendRecord does the two passes that the replaced service did (vectors with idempotent
//     false).
//
// # Kept differently
//   - More than MaxValues values are refused. The replaced service was limited only by its memory.
//   - Nesting beyond MaxDepth is refused. The replaced service's stack ended near 2,600 levels.
//   - A big integer inside a big integer or inside a Buffer's array may have 1,024 hex digits.
//     Without this limit the work would be exponential in the nesting.
//   - Hex of keys and signatures is parsed strictly. The replaced service stopped at the first odd
//     character.
//     character.
//
// With these limits, time and memory for any text are linear in its length, and its canonical text
// is at most six times as long.
//
// # Callers
//
// The encoder signs records, the gateway verifies upgrade requests, the query API reads bodies and
// signs answers, and collectors verify messages. Every function is a pure function of its arguments
// or safe for concurrent use, and keeps no byte slice that it was given. Input from outside is
// refused with one of the errors in errors.go, which never hold key material. A panic means a bug
// in this package.
package shardus
