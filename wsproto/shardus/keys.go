package shardus

import (
	"crypto/ed25519"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
)

// HashKey keys the hash of everything that is signed: one per network, known to all who verify.
type HashKey [32]byte

// PublicKey is an Ed25519 public key, the name of whoever signs.
type PublicKey [32]byte

// SecretKey is an Ed25519 secret key as libsodium has it: seed ‖ public key. Printing one in any way, also as part of
// something else, shows "SecretKey(redacted)".
type SecretKey struct {
	key [64]byte
}

// ParseHashKey reads 64 hex digits. Errors are ErrKey, and do not repeat the text.
func ParseHashKey(digits string) (HashKey, error) {
	var k HashKey
	return k, parseHex(k[:], digits, "hash key")
}

// ParsePublicKey reads 64 hex digits. Errors are ErrKey. Whether the key is one that can sign is looked at when it is
// used.
func ParsePublicKey(digits string) (PublicKey, error) {
	var k PublicKey
	return k, parseHex(k[:], digits, "public key")
}

// ParseSecretKey reads 128 hex digits, and checks that the second half is the public key of the first: signing with
// halves that do not fit would give the secret away. Errors are ErrKey, and do not repeat the text.
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

// parseHex is strict where Node's decoder is lax: exactly the digits wanted, of either case, and nothing else.
func parseHex(dst []byte, digits, what string) error {
	if len(digits) != 2*len(dst) {
		return fmt.Errorf("%w: a %s has %d hex digits, not %d characters", ErrKey, what, 2*len(dst), len(digits))
	}
	if !decodeHex(dst, digits) {
		clear(dst)
		return fmt.Errorf("%w: a %s holds characters that are no hex digits", ErrKey, what)
	}
	return nil
}

// decodeHex fills dst from twice as many hex digits of either case, and tells whether they were.
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

// String gives the 64 lower-case hex digits that stand in messages.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// Public gives the public half.
func (k SecretKey) Public() PublicKey { return PublicKey(k.key[32:]) }

// Reveal gives the 128 hex digits that the settings hold. It is for writing a new key down, and for nothing else.
func (k SecretKey) Reveal() string { return hex.EncodeToString(k.key[:]) }

const redacted = "SecretKey(redacted)"

// String does not tell.
func (SecretKey) String() string { return redacted }

// Format does not tell either, whatever the verb.
func (SecretKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText keeps keys out of JSON and logs.
func (SecretKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// expand gives the scalar and the prefix of a seed (RFC 8032, 5.1.5).
func (k SecretKey) expand() (scalar, prefix [32]byte) {
	h := sha512.Sum512(k.key[:32])
	h[0] &= 248
	h[31] &= 127
	h[31] |= 64
	return [32]byte(h[:32]), [32]byte(h[32:])
}
