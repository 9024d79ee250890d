package shardus

import (
	"bytes"
	"fmt"
)

// VerifyObject checks an object's `sign`: {owner, sig} over the canonical text of the object
// without `sign`. It is strict: it accepts exactly the expected number of hex digits (of either
// case), and no key or signature that libsodium would refuse. Errors: ErrUnsigned if `sign` is
// missing or malformed, ErrSignature if it is wrong, ErrTyped if the rest has no canonical text.
//
// The caller must check that owner is the expected key.
func VerifyObject(v Value, hashKey HashKey) error {
	sign := v.Get("sign")
	owner, sig := sign.Get("owner"), sign.Get("sig")
	if owner.Text() == "" || sig.Text() == "" {
		return fmt.Errorf("%w: sign has no owner or no sig", ErrUnsigned)
	}
	key, err := ParsePublicKey(owner.Text())
	if err != nil {
		return fmt.Errorf("%w: owner: %w", ErrUnsigned, err)
	}
	canonical, err := v.Without("sign").AppendCanonical(nil)
	if err != nil {
		return fmt.Errorf("verify an object: %w", err)
	}
	h := newHasher(hashKey)
	h.Write(canonical)
	return verifyCombined(&key, h.sum(), sig.Text())
}

// verifyCombined checks the hex digits of signature ‖ hash.
func verifyCombined[T string | []byte](key *PublicKey, hash *[32]byte, digits T) error {
	var combined [96]byte
	if !decodeHex(combined[:], digits) {
		return fmt.Errorf("%w: sig is not %d hex digits", ErrUnsigned, sigDigits)
	}
	if [32]byte(combined[64:]) != *hash {
		return fmt.Errorf("%w: it was made for other content", ErrSignature)
	}
	if !verifyStrict(key, hash, (*[64]byte)(combined[:64])) {
		return ErrSignature
	}
	return nil
}

// VerifyMessage checks a message as AppendMessage makes it. It returns its stream and its record,
// which is part of text. It checks the two ends and the signature only. It does not parse the
// record, because the signer has. Errors: ErrUnsigned if text is no such message, ErrKey if another
// key signed it, ErrSignature.
func VerifyMessage(
	text []byte, key PublicKey, hashKey HashKey,
) (stream string, record []byte, err error) {
	const tail = len(signHead) + ownerLen + len(signSig) + sigDigits + len(signTail)
	at := len(text) - tail // where `,"sign"` begins
	if at < len(`{"":0`) || !hasPrefix(text, 0, `{"`) {
		return "", nil, fmt.Errorf("%w: not a message", ErrUnsigned)
	}
	name := bytes.IndexByte(text[2:at], '"')
	if name < 0 || !hasPrefix(text, 2+name, `":`) {
		return "", nil, fmt.Errorf("%w: not a message", ErrUnsigned)
	}
	owner := text[at+len(signHead):][:ownerLen]
	sig := text[at+len(signHead)+ownerLen+len(signSig):][:sigDigits]
	if !hasPrefix(text, at, signHead) || !hasPrefix(text, at+len(signHead)+ownerLen, signSig) ||
		!bytes.HasSuffix(text, []byte(signTail)) {
		return "", nil, fmt.Errorf("%w: the message has no sign at its end", ErrUnsigned)
	}
	var by PublicKey
	if !decodeHex(by[:], owner) {
		return "", nil, fmt.Errorf("%w: owner is not hex digits", ErrUnsigned)
	}
	if by != key {
		return "", nil, fmt.Errorf("%w: the message is signed by %s", ErrKey, by)
	}
	h := newHasher(hashKey)
	h.Write(text[:at])
	h.Write([]byte{'}'})
	if err := verifyCombined(&key, h.sum(), sig); err != nil {
		return "", nil, err
	}
	return string(text[2 : 2+name]), text[2+name+len(`":`) : at], nil
}
