package shardus

import (
	"crypto/ed25519"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
)

// HashKey is the key of the hash of everything that is signed. Each network has one, which
// everybody who verifies knows.
type HashKey [32]byte

// PublicKey is an Ed25519 public key. It identifies a signer.
type PublicKey [32]byte

// SecretKey is an Ed25519 secret key in libsodium's form: seed ‖ public key. Printing it in any
// way, also as part of another value, shows "SecretKey(redacted)".
type SecretKey struct {
	key [64]byte
}

// ParseHashKey parses 64 hex digits. Errors wrap ErrKey, and do not repeat the text.
func ParseHashKey(digits string) (HashKey, error) {
	var k HashKey
	return k, parseHex(k[:], digits, "hash key")
}

// ParsePublicKey parses 64 hex digits. Errors wrap ErrKey. Whether the key is a valid point is
// checked when it is used.
func ParsePublicKey(digits string) (PublicKey, error) {
	var k PublicKey
	return k, parseHex(k[:], digits, "public key")
}

// ParseSecretKey parses 128 hex digits, and checks that the second half is the public key of the
// first: signatures with halves that do not belong together would reveal the secret. Errors wrap
// ErrKey, and do not repeat the text.
func ParseSecretKey(digits string) (SecretKey, error) {
	var k SecretKey
	if err := parseHex(k.key[:], digits, "secret key"); err != nil {
		return SecretKey{}, err
	}
	if subtle.ConstantTimeCompare(ed25519.NewKeyFromSeed(k.key[:32]), k.key[:]) != 1 {
		return SecretKey{}, fmt.Errorf("%w: the public half of the secret key does not belong to its seed", ErrKey)
	}
	return k, nil
}

// parseHex accepts exactly the expected number of hex digits, of either case. (Node's decoder
// accepts more.)
func parseHex(dst []byte, digits, what string) error {
	if len(digits) != 2*len(dst) {
		return fmt.Errorf("%w: a %s has %d hex digits, not %d characters",
			ErrKey, what, 2*len(dst), len(digits))
	}
	if !decodeHex(dst, digits) {
		clear(dst)
		return fmt.Errorf("%w: a %s holds characters that are no hex digits", ErrKey, what)
	}
	return nil
}

// decodeHex fills dst from twice as many hex digits of either case. It returns false if digits is
// anything else.
func decodeHex[T string | []byte](dst []byte, digits T) bool {
	if len(digits) != 2*len(dst) {
		return false
	}
	for i := range dst {
		high, low := hexValue[digits[2*i]], hexValue[digits[2*i+1]]
		if high|low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

// GenerateKey makes a new key pair from the system's randomness.
func GenerateKey() (PublicKey, SecretKey, error) {
	_, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		return PublicKey{}, SecretKey{}, fmt.Errorf("shardus: make a key pair: %w", err)
	}
	k := SecretKey{[64]byte(secret)}
	return k.Public(), k, nil
}

// String returns the 64 lower-case hex digits that messages contain.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// Public returns the public half.
func (k SecretKey) Public() PublicKey { return PublicKey(k.key[32:]) }

// Reveal returns the 128 hex digits for the settings. Use it only to write down a new key.
func (k SecretKey) Reveal() string { return hex.EncodeToString(k.key[:]) }

const redacted = "SecretKey(redacted)"

// String returns "SecretKey(redacted)".
func (SecretKey) String() string { return redacted }

// Format prints "SecretKey(redacted)" for every verb.
func (SecretKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText returns "SecretKey(redacted)", for JSON and logs.
func (SecretKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// expand returns the scalar and the prefix of a seed (RFC 8032, 5.1.5).
func (k SecretKey) expand() (scalar, prefix [32]byte) {
	h := sha512.Sum512(k.key[:32])
	h[0] &= 248
	h[31] &= 127
	h[31] |= 64
	return [32]byte(h[:32]), [32]byte(h[32:])
}
