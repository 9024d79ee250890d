package gateway

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"distributor/wsproto/shardus"
)

// policy is Settings in a form for fast lookups. It does not change.
type policy struct {
	limit       bool
	subscribers map[shardus.PublicKey]Subscriber
	window      time.Duration
	hashKey     shardus.HashKey
	deflate     bool
}

func newPolicy(s Settings) *policy {
	p := &policy{
		limit: s.LimitToSubscribersOnly, window: s.HandshakeWindow,
		hashKey: s.HashKey, deflate: s.Deflate,
		subscribers: make(map[shardus.PublicKey]Subscriber, len(s.Subscribers)),
	}
	for _, one := range s.Subscribers {
		p.subscribers[one.Key] = one
	}
	return p
}

// An identity is what an upgrade request has proved.
type identity struct {
	key     shardus.PublicKey
	expires time.Time // end of the subscription; zero: never

	// sig may be used once, until the time until. A zero until means any number of times (without a
	// subscriber list there is no timestamp to check either).
	sig   signature
	until time.Time
}

// authenticate parses the data parameter, which is decoded once, and checks it. It remembers
// nothing: replays makes sure that a signed upgrade is used once.
//
// The replaced service decodes the value a second time, so a collector that escapes twice has to be
// accepted. A collector that signs a '%' has to be accepted too, which the second decoding would
// destroy. So authenticate tries both readings, and the second one only if it differs and the first
// one does not pass.
func (p *policy) authenticate(data string, now time.Time) (identity, *refusal) {
	first, err := shardus.Parse([]byte(data))
	var id identity
	var why *refusal
	if err != nil {
		why = refuse(malformedData, fmt.Sprintf(
			"data is not what safeStringify makes of an object: %.200v", err))
	} else if id, why = p.check(first, now); why == nil {
		return id, nil
	}
	again, ok := decodeComponent(data)
	if !ok || again == data {
		return identity{}, why
	}
	second, err2 := shardus.Parse([]byte(again))
	if err2 != nil {
		return identity{}, why
	}
	id, why2 := p.check(second, now)
	if why2 != nil && err == nil {
		return identity{}, why // the first reading explains the error better
	}
	return id, why2
}

// check makes the checks in their order. The signature comes last, because it costs more than all
// other checks together.
func (p *policy) check(v shardus.Value, now time.Time) (identity, *refusal) {
	id, why := read(v)
	if why != nil {
		return identity{}, why
	}
	if p.limit {
		if why := p.subscribed(&id, v.Get("collectorInfo"), now); why != nil {
			return identity{}, why
		}
	}
	switch err := shardus.VerifyObject(v, p.hashKey); {
	case errors.Is(err, shardus.ErrSignature):
		return identity{}, refuse(wrongSignature, "the signature is not one of "+id.key.String()+
			" over this data: a wrong secret key, another hash key, or data that was changed after signing")
	case err != nil:
		return identity{}, refuse(malformedData, fmt.Sprintf("data cannot be verified: %.200v", err))
	}
	return id, nil
}

// read checks the types, that the owner is the sender, and the hex of key and signature.
func read(v shardus.Value) (identity, *refusal) {
	wrong := func(what string, kind shardus.Kind, want string) *refusal {
		return refuse(wrongType, fmt.Sprintf("%s must be %s, not %s", what, want, kindNames[kind]))
	}
	sender, sign := v.Get("sender"), v.Get("sign")
	owner, sig := sign.Get("owner"), sign.Get("sig")
	switch {
	case v.Kind() != shardus.Object:
		return identity{}, wrong("data", v.Kind(), "an object")
	case v.Get("collectorInfo").Kind() != shardus.Object:
		return identity{}, wrong("collectorInfo", v.Get("collectorInfo").Kind(), "an object")
	case sender.Kind() != shardus.Text:
		return identity{}, wrong("sender", sender.Kind(), "a text")
	case sign.Kind() != shardus.Object:
		return identity{}, wrong("sign", sign.Kind(), "an object")
	case owner.Kind() != shardus.Text:
		return identity{}, wrong("sign.owner", owner.Kind(), "a text")
	case sig.Kind() != shardus.Text:
		return identity{}, wrong("sign.sig", sig.Kind(), "a text")
	case owner.Text() != sender.Text():
		return identity{}, refuse(ownerNotSender, "sign.owner is not the sender")
	}
	var id identity
	var err error
	if id.key, err = shardus.ParsePublicKey(owner.Text()); err != nil {
		return identity{}, refuse(malformedKey, "sign.owner must be 64 hexadecimal digits")
	}
	// The signature has 64 bytes; the hash that follows it has 32.
	const digits = 2 * (64 + 32)
	if len(sig.Text()) != digits {
		return identity{}, refuse(malformedSig,
			fmt.Sprintf("sign.sig must be %d hexadecimal digits, not %d bytes", digits, len(sig.Text())))
	}
	raw, err := hex.DecodeString(sig.Text())
	if err != nil {
		return identity{}, refuse(malformedSig, fmt.Sprintf("sign.sig must be %d hexadecimal digits",
			digits))
	}
	copy(id.sig[:], raw)
	return id, nil
}

// subscribed makes the checks that apply only with limitToSubscribersOnly. It stores in id how long
// the subscription and the signed upgrade are valid.
func (p *policy) subscribed(id *identity, info shardus.Value, now time.Time) *refusal {
	s, known := p.subscribers[id.key]
	wanted, stamp := info.Get("subscriptionType"), info.Get("timestamp")
	switch {
	case !known:
		return refuse(unknownSubscriber, "the key "+id.key.String()+" is not in the list of subscribers")
	case !s.Expires.IsZero() && !now.Before(s.Expires):
		return refuse(expired, fmt.Sprintf("the subscription of %s expired at %s", id.key,
			s.Expires.UTC().Format(time.RFC3339)))
	case wanted.Kind() != shardus.Text:
		return refuse(wrongType, "collectorInfo.subscriptionType must be a text, not "+
			kindNames[wanted.Kind()])
	case wanted.Text() != s.Type:
		return refuse(otherSubscription,
			fmt.Sprintf("collectorInfo.subscriptionType is %.40q, the subscription is one of type %q",
				wanted.Text(), s.Type))
	case stamp.Kind() != shardus.Number:
		return refuse(noTimestamp, "collectorInfo.timestamp must be a number, not "+
			kindNames[stamp.Kind()])
	case stamp.Number() == 0:
		return refuse(noTimestamp, "collectorInfo.timestamp is 0: it must be the time of signing, in Unix milliseconds")
	}
	window := float64(p.window.Milliseconds())
	switch age := float64(now.UnixMilli()) - stamp.Number(); {
	case age > window:
		return refuse(tooOld, fmt.Sprintf(
			"collectorInfo.timestamp is %s in the past, %s are allowed: the collector's clock is slow, or the URL is an old one", howFar(age), p.window))
	case age < -window:
		return refuse(tooNew, fmt.Sprintf(
			"collectorInfo.timestamp is %s in the future, %s are allowed: the collector's clock is fast",
			howFar(-age), p.window))
	}
	id.expires = s.Expires
	// A timestamp may have a fraction of a millisecond, so until is rounded up.
	id.until = time.UnixMilli(int64(stamp.Number()) + 1).Add(p.window)
	return nil
}

// howFar formats a distance in milliseconds, which may be any number.
func howFar(ms float64) string {
	const year = 365 * 24 * time.Hour
	if ms > float64(year.Milliseconds()) {
		return "more than a year"
	}
	return (time.Duration(ms) * time.Millisecond).String()
}

var kindNames = map[shardus.Kind]string{
	shardus.Undefined: "missing", shardus.Null: "null", shardus.Bool: "a boolean",
	shardus.Number: "a number", shardus.Text: "a text", shardus.BigInt: "a big integer",
	shardus.Bytes: "bytes", shardus.Buffer: "bytes", shardus.Array: "an array",
	shardus.Object: "an object",
}
