package query

import (
	"strconv"

	"distributor/wsproto/shardus"
)

// answer is an object's canonical text without `sign`, and the place where `sign` goes.
type answer struct {
	text []byte
	sign int
}

// signHere marks the place of `sign`: after the opening brace or after a member.
// seal returns the seal of the answer, with the hash of its text.
func (a *answer) signHere()       { a.sign = len(a.text) }
func (a *answer) add(text string) { a.text = append(a.text, text...) }
func (a *answer) addInt(n int64)  { a.text = strconv.AppendInt(a.text, n, 10) }

// seal hashes the text.
func (a *answer) seal(key shardus.HashKey) seal {
	return seal{key.Hash(a.text), a.sign, a.text[a.sign-1] == '{'}
}

// refusing returns the answer of a refusal.
func refusing(why *refusal) *answer {
	a := new(answer)
	a.add(`{"error":`)
	a.text = append(a.text, why.quoted...)
	a.signHere()
	a.add(`,"success":false}`)
	return a
}
