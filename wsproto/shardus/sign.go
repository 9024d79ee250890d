package shardus

import (
	"fmt"
	"hash"
	"sync"

	"golang.org/x/crypto/blake2b"
)

// Signer signs records and objects with one secret key. It is safe for concurrent use.
type Signer struct {
	key     *expandedKey
	hashers sync.Pool // of *hasher
	owner   string    // `,"sign":{"owner":"…","sig":"`, the text between record and signature
}

const (
	signHead  = `,"sign":{"owner":"`
	signSig   = `","sig":"`
	signTail  = `"}}`
	sigDigits = 2 * (64 + 32) // signature ‖ hash
	ownerLen  = 2 * 32
)

// NewSigner returns a Signer.
func NewSigner(key SecretKey, hashKey HashKey) *Signer {
	return &Signer{
		key:     newExpandedKey(key),
		hashers: sync.Pool{New: func() any { return newHasher(hashKey) }},
		owner:   signHead + key.Public().String() + signSig,
	}
}

// PublicKey returns the key with which the signatures can be verified.
func (s *Signer) PublicKey() PublicKey { return s.key.public }

// AppendMessage appends the message of a record:
// {"<stream>":<record>,"sign":{"owner":"…","sig":"…"}}. record is a result of AppendRecord. stream
// is "cycle", "originalTx" or "receipt" (any name that sorts before "sign" and needs no escapes).
// The signature is over {"<stream>":<record>}. record must not overlap the free capacity of dst.
// Nothing is allocated if dst has capacity for MessageSize bytes.
func (s *Signer) AppendMessage(dst []byte, stream string, record []byte) []byte {
	// First comes the text that is signed, so that it is hashed in one piece. Then `sign` replaces its
	// last brace.
	start := len(dst)
	dst = append(dst, `{"`...)
	dst = append(dst, stream...)
	dst = append(dst, `":`...)
	dst = append(dst, record...)
	dst = append(dst, '}')
	sig := s.sign(dst[start:])
	dst = append(dst[:len(dst)-1], s.owner...)
	dst = append(dst, sig[:]...)
	return append(dst, signTail...)
}

// MessageSize returns the length of the message that AppendMessage makes of a record of that many
// bytes.
func MessageSize(stream string, record int) int {
	const sign = len(signHead) + ownerLen + len(signSig) + sigDigits + len(signTail)
	return len(`{"":`) + len(stream) + record + sign
}

// AppendSigned appends an object with `sign` added in its sorted place, or replaced, signed over
// the object without it. Errors are ErrNotObject and ErrTyped. On an error dst is returned
// unchanged.
func (s *Signer) AppendSigned(dst []byte, object Value) ([]byte, error) {
	object = object.Without("sign")
	if object.kind != Object || object.isBuffer() {
		return dst, ErrNotObject
	}
	start := len(dst)
	out, err := object.AppendCanonical(dst)
	if err != nil {
		return dst, fmt.Errorf("sign an object: %w", err)
	}
	// As for a record, the signed object is written and parsed once more.
	if !IsCanonical(out[start:]) {
		if object, err = Parse(out[start:]); err == nil {
			out, err = object.AppendCanonical(out[:start])
		}
		if err != nil {
			return dst, fmt.Errorf("sign an object: %w", err)
		}
		if object.kind != Object || object.isBuffer() {
			return dst, ErrNotObject
		}
	}
	sig := s.sign(out[start:])
	return object.With("sign", ObjectValue(
		Member{"owner", TextValue(s.key.public.String())},
		Member{"sig", TextValue(string(sig[:]))},
	)).AppendCanonical(out[:start])
}

// AppendSign appends the member `"sign":{"owner":"…","sig":"…"}` for an object whose canonical text
// without `sign` has this HashKey.Hash. It is for answers that are composed of canonical pieces.
// The caller must put the member into its sorted place, so that the signed object is canonical.
func (s *Signer) AppendSign(dst []byte, hash [32]byte) []byte {
	sig := s.signHash(&hash)
	dst = append(dst, s.owner[len(","):]...)
	dst = append(dst, sig[:]...)
	return append(dst, signTail[:len(signTail)-len("}")]...)
}

// sign returns the combined signature of a canonical text, in hex.
func (s *Signer) sign(canonical []byte) [sigDigits]byte {
	h := s.hashers.Get().(*hasher)
	h.Reset()
	h.Write(canonical)
	hash := *h.sum()
	s.hashers.Put(h)
	return s.signHash(&hash)
}

func (s *Signer) signHash(hash *[32]byte) (digits [sigDigits]byte) {
	sig := s.key.sign(hash)
	putHex(digits[:128], sig[:])
	putHex(digits[128:], hash[:])
	return digits
}

// Hash returns the keyed BLAKE2b-256 of a canonical text, which is what is signed.
func (k HashKey) Hash(canonical []byte) [32]byte {
	h := newHasher(k)
	h.Write(canonical)
	return *h.sum()
}

func putHex(dst, src []byte) {
	for i, b := range src {
		dst[2*i], dst[2*i+1] = hexDigits[b>>4], hexDigits[b&15]
	}
}

// hasher is a keyed BLAKE2b-256 with memory for its result, so that both can be reused.
type hasher struct {
	hash.Hash
	result [blake2b.Size256]byte
}

func newHasher(key HashKey) *hasher {
	h, err := blake2b.New256(key[:])
	if err != nil {
		panic("shardus: " + err.Error()) // impossible: keys of 32 bytes are valid
	}
	return &hasher{Hash: h}
}

// sum returns the hash of what was written. It is valid until the next call of sum.
func (h *hasher) sum() *[32]byte {
	h.Sum(h.result[:0])
	return &h.result
}
