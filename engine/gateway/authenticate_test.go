package gateway

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"distributor/wsproto/shardus"
)

func policyOf(config string) *policy {
	return newPolicy(settingsOf(config))
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// sign signs an object, given as JSON, with the named key.
func sign(name, text string) string {
	return string(must(signerOf(name).AppendSigned(nil, must(shardus.Parse([]byte(text))))))
}

// info returns what a collector with the key "known" signs, with any timestamp and subscription
// type.
func info(timestamp, kind string) string {
	return fmt.Sprintf(`{"collectorInfo":{"subscriptionType":%s,"timestamp":%s},"sender":%q}`, kind,
		timestamp, keys["known"].PublicKey)
}

func TestReasons(t *testing.T) {
	known := keys["known"].PublicKey
	good := signedData("known", noon, "")
	at := func(offset time.Duration) string { return signedData("known", noon.Add(offset), "") }
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	sig := good[strings.Index(good, `"sig":"`)+7:][:192]
	for _, c := range []struct {
		name, data, want string
		says             string // part of the sentence
	}{
		{"good", good, "", ""},
		{"escaped twice", url.PathEscape(good), "", ""},
		{"upper-case hex", strings.Replace(sign("known",
			strings.Replace(info(fmt.Sprint(noon.UnixMilli()), `"FIREHOSE"`), known,
				strings.ToUpper(known), 1)),
			`"owner":"`+known, `"owner":"`+strings.ToUpper(known), 1), "", ""},
		{"upper-case signature", with(sig, strings.ToUpper(sig)), "", ""},

		{"not JSON", "hello", "malformed_data", "not JSON"},
		{"a bad big integer", `{"x":{"dataType":"bi","value":"zz"}}`, "malformed_data", "typed value"},
		{"too deep", strings.Repeat("[", 10_000), "malformed_data", ""},
		{"a big integer in a buffer",
			strings.Replace(good, `{`, `{"a":{"type":"Buffer","data":[{"dataType":"bi","value":"1"}]},`,
				1), "malformed_data", ""},

		{"null", "null", "wrong_type", "data must be an object, not null"},
		{"no collectorInfo", `{}`, "wrong_type", "collectorInfo must be an object, not missing"},
		{"collectorInfo an array", `{"collectorInfo":[]}`, "wrong_type", "not an array"},
		{"collectorInfo bytes", `{"collectorInfo":{"dataType":"u8ab","value":""}}`, "wrong_type",
			"not bytes"},
		{"sender a number", `{"collectorInfo":{},"sender":1}`, "wrong_type",
			"sender must be a text, not a number"},
		{"no sign", `{"collectorInfo":{},"sender":""}`, "wrong_type", "sign must be an object"},
		{"no owner", `{"collectorInfo":{},"sender":"","sign":{}}`, "wrong_type", "sign.owner"},
		{"no sig", `{"collectorInfo":{},"sender":"","sign":{"owner":""}}`, "wrong_type",
			"sign.sig must be a text, not missing"},
		{"owner is not sender", with(`"owner":"`+known, `"owner":"`+keys["second"].PublicKey),
			"owner_not_sender", ""},
		{"owner in another case", with(`"owner":"`+known, `"owner":"`+strings.ToUpper(known)),
			"owner_not_sender", ""},
		{"key with junk", strings.ReplaceAll(good, known, known+"zz"), "malformed_key", "64"},
		{"key too short", strings.ReplaceAll(good, known, known[:63]), "malformed_key", ""},
		{"key no hex", strings.ReplaceAll(good, known, "g"+known[1:]), "malformed_key", ""},
		{"sig with junk", with(sig, sig+"zz"), "malformed_signature", "192"},
		{"sig with half a byte", with(sig, sig+"0"), "malformed_signature", ""},
		{"sig no hex", with(sig, "g"+sig[1:]), "malformed_signature", ""},

		{"not in the list", signedData("unknown", noon, ""), "unknown_subscriber",
			keys["unknown"].PublicKey},
		{"expired", signedData("expired", noon, ""), "subscription_expired", "2020-09-17T22:43:27Z"},
		{"not yet expired", signedData("notYetExpired", noon, ""), "", ""},
		{"no subscriptionType", sign("known", `{"collectorInfo":{"timestamp":1},"sender":"`+known+
			`"}`), "wrong_type", "subscriptionType"},
		{"other subscription", sign("known", info("1", `"ACCOUNTS"`)), "other_subscription", "ACCOUNTS"},
		{"long subscription", sign("known", info("1", `"`+strings.Repeat("x", 5000)+`"`)),
			"other_subscription", "FIREHOSE"},

		{"timestamp a text", sign("known", info(`"1"`, `"FIREHOSE"`)), "no_timestamp", "not a text"},
		{"timestamp a big integer", sign("known", info(`{"dataType":"bi","value":"19b7e0f5800"}`,
			`"FIREHOSE"`)), "no_timestamp", ""},
		{"timestamp 0", sign("known", info("0", `"FIREHOSE"`)), "no_timestamp", "is 0"},
		{"timestamp -0", sign("known", info("-0", `"FIREHOSE"`)), "no_timestamp", "is 0"},
		{"timestamp huge", sign("known", info("1e300", `"FIREHOSE"`)), "timestamp_in_future",
			"more than a year"},
		{"timestamp very negative", sign("known", info("-1e300", `"FIREHOSE"`)), "timestamp_too_old",
			"more than a year"},
		{"30 s old", at(-30 * time.Second), "", ""},
		{"just over 30 s old", at(-30*time.Second - time.Millisecond), "timestamp_too_old",
			"30.001s in the past"},
		{"30 s ahead", at(30 * time.Second), "", ""},
		{"just over 30 s ahead", at(30*time.Second + time.Millisecond), "timestamp_in_future",
			"30.001s in the future"},
		{"half a millisecond too old",
			sign("known", info(fmt.Sprintf("%d.5", noon.UnixMilli()-30_001), `"FIREHOSE"`)),
			"timestamp_too_old", ""},

		{"changed", with(`FIREHOSE"`, `FIREHOSE","x":1`), "wrong_signature", ""},
		{"another's signature", strings.ReplaceAll(signedData("second", noon, ""),
			keys["second"].PublicKey, known), "wrong_signature", ""},
		{"another signature", with(sig, "0"+sig[1:]), "wrong_signature", ""},
		// The clock is checked before the signature.
		{"old and changed", strings.Replace(at(-time.Hour), `FIREHOSE"`, `FIREHOSE","x":1`, 1),
			"timestamp_too_old", "1h0m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, why := policyOf("subs").authenticate(c.data, noon)
			if why == nil {
				if c.want != "" {
					t.Fatalf("let in, want %s", c.want)
				}
				if !strings.EqualFold(hex.EncodeToString(id.sig[:]), sig[:128]) && c.name == "good" {
					t.Errorf("signature %x", id.sig)
				}
				return
			}
			if why.reason.name != c.want || !strings.Contains(why.sentence, c.says) {
				t.Fatalf("%s: %s; want %s: …%s…", why.reason.name, why.sentence, c.want, c.says)
			}
			if len(why.sentence) > 400 || strings.Contains(why.sentence, sig[:20]) {
				t.Errorf("a sentence that is too long or tells the signature: %s", why.sentence)
			}
		})
	}
}

// Without the list, subscriber, type and time are not checked, and nothing is remembered.
func TestWithoutList(t *testing.T) {
	for _, data := range []string{
		signedData("unknown", noon, ""), signedData("expired", noon.Add(-time.Hour), ""),
		sign("known", info("0", "7")),
		sign("known", `{"collectorInfo":{},"sender":"`+keys["known"].PublicKey+`"}`),
	} {
		id, why := policyOf("open").authenticate(data, noon)
		if why != nil || !id.until.IsZero() || !id.expires.IsZero() {
			t.Errorf("%s: %+v, %+v", data, id, why)
		}
	}
}

// Bug 23 of the replaced service: its second decoding destroyed a signed '%'.
func TestBothReadings(t *testing.T) {
	percent := signedData("known", noon, `,"x":"100% %41 %zz"`)
	for name, data := range map[string]string{
		"once": percent, "twice": url.PathEscape(percent),
		// Made for the replaced service by somebody who knew the bug.
		"only the percent signs twice": strings.ReplaceAll(percent, "%", "%25"),
	} {
		if _, why := policyOf("subs").authenticate(data, noon); why != nil {
			t.Errorf("%s: %s", name, why.sentence)
		}
	}
	// The reason is that of the reading that is valid JSON.
	stale := signedData("known", noon.Add(-time.Hour), `,"x":"%41"`)
	for _, data := range []string{stale, url.PathEscape(stale),
		strings.ReplaceAll(stale, "%", "%25")} {
		if _, why := policyOf("subs").authenticate(data, noon); why == nil || why.reason != tooOld {
			t.Errorf("%s: %+v", data, why)
		}
	}
}

func TestWhatAnIdentityHolds(t *testing.T) {
	stamp := noon.Add(3 * time.Second)
	id, why := policyOf("subs").authenticate(signedData("notYetExpired", stamp, ""), noon)
	if why != nil {
		t.Fatal(why.sentence)
	}
	if id.key.String() != keys["notYetExpired"].PublicKey ||
		id.expires.UnixMilli() != keys["notYetExpired"].ExpirationTimestamp {
		t.Errorf("%+v", id)
	}
	// The request must be remembered as long as its timestamp passes, and at most a moment longer.
	p := policyOf("subs")
	last := stamp.Add(30 * time.Second)
	if _, why := p.authenticate(signedData("known", stamp, ""), last); why != nil ||
		last.After(id.until) {
		t.Errorf("passes at %v, remembered until %v", last, id.until)
	}
	if id.until.Sub(last) > time.Millisecond {
		t.Errorf("remembered %v too long", id.until.Sub(last))
	}
}

func FuzzAuthenticate(f *testing.F) {
	good := signedData("known", noon, "")
	for _, s := range []string{good, url.PathEscape(good),
		strings.ReplaceAll(good, "FIREHOSE", "%46IREHOSE"), "null", `{"sign":{}}`,
		`{"collectorInfo":{},"sender":"a","sign":{"owner":"a","sig":"b"}}`, `%22%ff`,
		sign("known", info("1e400", `"\ud800"`))} {
		f.Add(s)
	}
	open, subs := policyOf("open"), policyOf("subs")
	f.Fuzz(func(t *testing.T, data string) {
		for _, p := range []*policy{open, subs} {
			id, why := p.authenticate(data, noon)
			if why != nil {
				if why.reason.name == "" || why.sentence == "" || len(why.body()) > 3000 {
					t.Fatalf("%+v", why)
				}
				continue
			}
			// Only the keys of the corpus can have signed anything, and what they signed is in the seeds.
			if id.key.String() != keys["known"].PublicKey {
				t.Fatalf("let in: %x with %s", id.key, data)
			}
			if p.limit != !id.until.IsZero() {
				t.Fatalf("limit %v, until %v", p.limit, id.until)
			}
		}
	})
}
