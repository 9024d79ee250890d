package query

import (
	"slices"
	"strconv"

	"distributor/wsproto/shardus"
)

// answer is an object's canonical text without `sign`, and where that goes: at its sorted place.
type answer struct {
	text []byte
	sign int
}

// signHere marks the place of `sign`: behind the opening brace or behind a member.
func (a *answer) signHere()       { a.sign = len(a.text) }
func (a *answer) add(text string) { a.text = append(a.text, text...) }
func (a *answer) addInt(n int64)  { a.text = strconv.AppendInt(a.text, n, 10) }

// signed puts the signature in.
func (a *answer) signed(by *shardus.Signer) {
	var room [400]byte
	member := append(room[:0], ',')
	member = by.AppendSign(member, a.text)
	if a.text[a.sign-1] == '{' {
		member = append(member[1:], ',')
	}
	a.text = slices.Insert(a.text, a.sign, member...)
}

func refusing(why *refusal) *answer {
	a := new(answer)
	a.add(`{"error":`)
	a.text = append(a.text, why.quoted...)
	a.signHere()
	a.add(`,"success":false}`)
	return a
}
