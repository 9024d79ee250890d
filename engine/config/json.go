package config

import (
	"fmt"
	"strings"

	"github.com/tailscale/hujson"
)

// json applies a value from the file, or from a variable that holds JSON. Numbers may be written as
// text, which real files do. Nothing else is converted.
func (l *loader) json(k *key, doc document, v hujson.Value) {
	place := doc.place(v)
	ok := false
	switch k.kind() {
	case kindText:
		s, is := text(v)
		ok = is && k.setText(l.cfg, s)
	case kindNumber:
		s, is := number(v)
		ok = is && k.setNumber(l.cfg, s)
	case kindBoolean:
		b, is := boolean(v)
		if ok = is; ok {
			k.set(l.cfg, b)
		}
	case kindList:
		var list *hujson.Array
		if list, ok = v.Value.(*hujson.Array); ok {
			l.subscribers(k, doc, list)
		}
	case kindObject:
		var obj *hujson.Object
		if obj, ok = v.Value.(*hujson.Object); ok {
			l.archiverData(k, doc, obj)
		}
	}
	if !ok {
		l.wrong(k, place, k.name, describe(v), k.want())
		return
	}
	l.origin[k.name] = place
}

// archiverData merges the file names into the current ones.
func (l *loader) archiverData(k *key, doc document, obj *hujson.Object) {
	files := map[string]*string{}
	var names []string
	for _, m := range l.cfg.ArchiverData.members() {
		files[m.name] = m.file
		names = append(names, m.name)
	}
	l.eachMember(doc, obj, k.name, names, func(name string, v hujson.Value) {
		s, ok := text(v)
		if !ok || !notEmpty.ok(s) {
			l.wrong(k, doc.place(v), join(k.name, name), describe(v), notEmpty.want)
			return
		}
		*files[name] = s
	})
}

// subscribers replaces the list. An entry must have all three members, because a missing expiry
// could mean never or at once.
func (l *loader) subscribers(k *key, doc document, list *hujson.Array) {
	subscribers := make([]Subscriber, 0, len(list.Elements))
	at := make(map[string]int, len(list.Elements)) // index by key in lower case
	for i, e := range list.Elements {
		name := fmt.Sprintf("%s[%d]", k.name, i)
		obj, ok := e.Value.(*hujson.Object)
		if !ok {
			l.wrong(k, doc.place(e), name, describe(e),
				"an object {publicKey, expirationTimestamp, subscriptionType}")
			continue
		}
		s := l.subscriber(k, doc, e, obj, name)
		lower := strings.ToLower(s.PublicKey)
		if first, ok := at[lower]; ok && lower != "" {
			l.warn(k.name, "%s: %s has the publicKey of %s[%d]: the last one counts",
				doc.place(e), name, k.name, first)
		}
		at[lower] = i
		subscribers = append(subscribers, s)
	}
	l.cfg.Subscribers = subscribers
}

var (
	subscriberMembers = []string{"publicKey", "expirationTimestamp", "subscriptionType"}
	subscriptionType  = oneOf(Firehose, Accounts)
	subscriberWants   = map[string]string{
		"publicKey":           hex64.want,
		"expirationTimestamp": "Unix time in milliseconds, or 0 for never",
		"subscriptionType":    subscriptionType.want,
	}
)

func (l *loader) subscriber(
	k *key, doc document, e hujson.Value, obj *hujson.Object, within string,
) (s Subscriber) {
	seen := map[string]bool{}
	l.eachMember(doc, obj, within, subscriberMembers, func(name string, v hujson.Value) {
		seen[name] = true
		var ok bool
		switch name {
		case "publicKey":
			s.PublicKey, ok = text(v)
			ok = ok && hex64.ok(s.PublicKey)
		case "expirationTimestamp":
			var digits string
			if digits, ok = number(v); ok {
				s.ExpirationTimestamp, ok = wholeNumber(digits, 0, maxSafe)
			}
		case "subscriptionType":
			s.SubscriptionType, ok = text(v)
			ok = ok && subscriptionType.ok(s.SubscriptionType)
		}
		if !ok {
			l.wrong(k, doc.place(v), join(within, name), describe(v), subscriberWants[name])
		}
	})
	for _, name := range subscriberMembers {
		if !seen[name] {
			l.wrong(k, doc.place(e), join(within, name), "none", subscriberWants[name])
		}
	}
	return s
}

func text(v hujson.Value) (string, bool) {
	lit, ok := v.Value.(hujson.Literal)
	return lit.String(), ok && lit.Kind() == '"'
}

// number returns the text of a number: a JSON number, or text, which is not checked yet.
func number(v hujson.Value) (string, bool) {
	lit, ok := v.Value.(hujson.Literal)
	return lit.String(), ok && (lit.Kind() == '0' || lit.Kind() == '"')
}

func boolean(v hujson.Value) (value, ok bool) {
	lit, ok := v.Value.(hujson.Literal)
	return lit.Bool(), ok && (lit.Kind() == 't' || lit.Kind() == 'f')
}
