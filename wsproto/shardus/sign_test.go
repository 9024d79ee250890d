package shardus

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestParseKeys(t *testing.T) {
	secret, err := ParseSecretKey(testSecretKey)
	if err != nil || secret.Public().String() != testSecretKey[64:] ||
		secret.Reveal() != testSecretKey {
		t.Fatalf("%v, %v", secret.Public(), err)
	}
	if upper, err := ParseSecretKey(strings.ToUpper(testSecretKey)); err != nil || upper != secret {
		t.Errorf("upper case: %v", err)
	}
	if k, err := ParseHashKey(testHashKey); err != nil || hex.EncodeToString(k[:]) != testHashKey {
		t.Errorf("hash key: %x, %v", k, err)
	}
	for _, bad := range []string{"", "ab", testHashKey[1:], testHashKey + "0", testHashKey + "zz",
		"zz" + testHashKey[2:], testHashKey[:62] + " 0", "0x" + testHashKey[2:], testHashKey[:62] + "é"} {
		if k, err := ParseHashKey(bad); !errors.Is(err, ErrKey) || k != (HashKey{}) {
			t.Errorf("hash key %q: %v", bad, err)
		}
		if k, err := ParsePublicKey(bad); !errors.Is(err, ErrKey) || k != (PublicKey{}) {
			t.Errorf("public key %q: %v", bad, err)
		}
		_, err := ParseSecretKey(testSecretKey[:64] + bad)
		if !errors.Is(err, ErrKey) || strings.Contains(err.Error(), testSecretKey[:8]) {
			t.Errorf("secret key with half %q: %v", bad, err)
		}
	}
	if _, err := ParseSecretKey(testSecretKey[:64] + testHashKey); !errors.Is(err, ErrKey) {
		t.Errorf("halves that do not fit: %v", err)
	}
}

func TestSecretKeyIsNotShown(t *testing.T) {
	secret, err := ParseSecretKey(testSecretKey)
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
		fmt.Fprintf(&shown, verb+verb, secret, struct{ Key SecretKey }{secret})
	}
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("x", "key", secret, "in",
		struct{ Key SecretKey }{secret})
	slog.New(slog.NewTextHandler(&shown, nil)).Info("x", "key", secret)
	b, _ := json.Marshal(map[string]any{"k": secret})
	shown.Write(b)
	shown.WriteString(secret.String())
	for _, leak := range []string{testSecretKey[:16], strings.ToUpper(testSecretKey[:16]),
		"59 224 0 25", "0x3b"} {
		if strings.Contains(shown.String(), leak) {
			t.Errorf("shown: %s", shown.String())
		}
	}
}

// TestSignersAgree compares our signatures with the standard library's.
func TestSignersAgree(t *testing.T) {
	for i := range 50 {
		public, secret, err := GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		key := newExpandedKey(secret)
		hash := [32]byte{byte(i)}
		sig := key.sign(&hash)
		if want := ed25519.Sign(ed25519.PrivateKey(secret.key[:]),
			hash[:]); string(want) != string(sig[:]) {
			t.Fatalf("signature %x, want %x", sig, want)
		}
		if !verifyStrict(&public, &hash, &sig) {
			t.Fatal("does not verify")
		}
	}
}

// TestVerifyLikeLibsodium compares verifying with libsodium's recorded results: flipped bits, S
// plus the group's order, keys and R of small and mixed order, keys that are not reduced.
func TestVerifyLikeLibsodium(t *testing.T) {
	verdicts := map[bool]int{}
	for _, line := range readLines(t, "verify.jsonl.gz") {
		var c struct {
			Name, Key, Hash, Sig string
			Ok                   bool
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		key, err := ParsePublicKey(c.Key)
		if err != nil {
			t.Fatal(err)
		}
		var hash [32]byte
		var sig [64]byte
		if !decodeHex(hash[:], c.Hash) || !decodeHex(sig[:], c.Sig) {
			t.Fatal("bad hex")
		}
		if got := verifyStrict(&key, &hash, &sig); got != c.Ok {
			t.Errorf("%s: %v, libsodium says %v", c.Name, got, c.Ok)
		}
		verdicts[c.Ok]++
	}
	if verdicts[true] < 10 || verdicts[false] < 100 {
		t.Errorf("few cases: %v", verdicts)
	}
}

func TestIsReduced(t *testing.T) {
	for low, want := range map[byte]bool{0xEC: true, 0xED: false, 0xFF: false} {
		key := PublicKey(allOnesBut(low))
		if isReduced(&key) != want {
			t.Errorf("y of %x: %v", key, !want)
		}
		key[31] |= 0x80 // the sign is not part of y
		if isReduced(&key) != want {
			t.Errorf("y of %x: %v", key, !want)
		}
		key[17] = 0xFE
		if !isReduced(&key) {
			t.Errorf("y of %x is below p", key)
		}
	}
}

func TestAppendSigned(t *testing.T) {
	signer, hashKey := testSigner(t)
	for _, text := range []string{`{}`, `{"a":1,"z":2}`,
		`{"sign":"old","z":{"dataType":"bi","value":"1"}}`, `{"\ud800":1,"s":2}`,
		`{"x":{"type":"Buffer","data":{"type":"Buffer","data":[1,2]}}}`} {
		v, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.AppendSigned([]byte("kept"), v)
		if err != nil || string(signed[:4]) != "kept" {
			t.Fatalf("%s: %s, %v", text, signed, err)
		}
		tree, err := Parse(signed[4:])
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifyObject(tree, hashKey); err != nil {
			t.Errorf("%s: %v", signed, err)
		}
		if again := canonicalOf(t, tree); again != string(signed[4:]) {
			t.Errorf("%s is not canonical", signed)
		}
	}
	for _, text := range []string{`null`, `[]`, `"x"`, `{"dataType":"bi","value":"1"}`,
		`{"type":"Buffer","data":[1]}`, `{"sign":1,"type":"Buffer","data":"x"}`} {
		v, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := signer.AppendSigned([]byte("kept"), v); !errors.Is(err, ErrNotObject) ||
			string(out) != "kept" {
			t.Errorf("%s signed: %s, %v", text, out, err)
		}
	}
}

func TestAppendSign(t *testing.T) {
	s, hashKey := testSigner(t)
	object, err := Parse([]byte(`{"receipts":[1],"total":2}`))
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.AppendSigned(nil, object)
	if err != nil {
		t.Fatal(err)
	}
	got := append([]byte(`{"receipts":[1],`), s.AppendSign(nil,
		hashKey.Hash([]byte(`{"receipts":[1],"total":2}`)))...)
	if got = append(got, `,"total":2}`...); string(got) != string(want) {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestVerifyObjectRefuses checks the error for each fault of a signature. The replaced service
// parsed hex up to the first odd character, so it accepted most malformed ones.
func TestVerifyObjectRefuses(t *testing.T) {
	signer, hashKey := testSigner(t)
	message := signer.AppendMessage(nil, "receipt", []byte(`{"a":1}`))
	good, err := Parse(message)
	if err != nil {
		t.Fatal(err)
	}
	owner, sig := good.Get("sign").Get("owner").Text(), good.Get("sign").Get("sig").Text()
	other := strings.Repeat("0", 62) + "01"
	for _, c := range []struct {
		name       string
		owner, sig Value
		want       error
	}{
		{"as it is", TextValue(owner), TextValue(sig), nil},
		{"upper case", TextValue(strings.ToUpper(owner)), TextValue(strings.ToUpper(sig)), nil},
		{"no owner", NullValue(), TextValue(sig), ErrUnsigned},
		{"no sig", TextValue(owner), Value{}, ErrUnsigned},
		{"empty sig", TextValue(owner), TextValue(""), ErrUnsigned},
		{"sig a number", TextValue(owner), NumberValue(1), ErrUnsigned},
		{"short owner", TextValue(owner[2:]), TextValue(sig), ErrUnsigned},
		{"owner and more", TextValue(owner + "zz"), TextValue(sig), ErrUnsigned},
		{"sig and more", TextValue(owner), TextValue(sig + "zz"), ErrUnsigned},
		{"sig and half a byte", TextValue(owner), TextValue(sig + "0"), ErrUnsigned},
		{"sig without the hash", TextValue(owner), TextValue(sig[:128]), ErrUnsigned},
		{"sig not hex", TextValue(owner), TextValue("g" + sig[1:]), ErrUnsigned},
		{"changed sig", TextValue(owner), TextValue(strings.Replace(sig, sig[:2], "00", 1)), ErrSignature},
		{"sig with another hash", TextValue(owner), TextValue(sig[:128] + testHashKey), ErrSignature},
		{"another key", TextValue(testHashKey), TextValue(sig), ErrSignature},
		{"small-order key, R and S nothing", TextValue(other[62:] + other[:62]),
			TextValue("01" + strings.Repeat("0", 126) + sig[128:]), ErrSignature},
	} {
		v := good.With("sign", ObjectValue(Member{"owner", c.owner}, Member{"sig", c.sig}))
		if err := VerifyObject(v, hashKey); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := VerifyObject(good.With("a", NullValue()), hashKey); !errors.Is(err, ErrSignature) {
		t.Errorf("other content: %v", err)
	}
	if err := VerifyObject(good, HashKey{}); !errors.Is(err, ErrSignature) {
		t.Errorf("other hash key: %v", err)
	}
	for _, v := range []Value{{}, NullValue(), good.Without("sign"),
		good.With("sign", TextValue("x")), ArrayValue(good)} {
		if err := VerifyObject(v, hashKey); !errors.Is(err, ErrUnsigned) {
			t.Errorf("%v: %v", v, err)
		}
	}
}

func TestVerifyMessageRefuses(t *testing.T) {
	signer, hashKey := testSigner(t)
	message := string(signer.AppendMessage(nil, "receipt", []byte(`{"a":1}`)))
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"as it is", message, nil},
		{"cut", message[:len(message)-1], ErrUnsigned},
		{"empty", "", ErrUnsigned},
		{"sign only", message[len(`{"receipt":{"a":1}`):], ErrUnsigned},
		{"not an object", strings.Replace(message, `{"r`, `["r`, 1), ErrUnsigned},
		{"no stream", strings.Replace(message, `{"receipt":{"a":1}`, `{"receipt,{1}`, 1), ErrUnsigned},
		{"white space", message + " ", ErrUnsigned},
		{"sig not hex", message[:len(message)-4] + "g" + message[len(message)-3:], ErrUnsigned},
		{"owner not hex", strings.Replace(message, `"owner":"7`, `"owner":"g`, 1), ErrUnsigned},
		{"another owner", strings.Replace(message, `"owner":"7`, `"owner":"8`, 1), ErrKey},
		{"another stream", strings.Replace(message, "receipt", "cycle", 1), ErrSignature},
		{"another record", strings.Replace(message, `"a":1`, `"a":2`, 1), ErrSignature},
		{"changed R", strings.Replace(message, `"sig":"`+sigOf(message)[:2],
			`"sig":"`+flipHex(sigOf(message)[:2]), 1), ErrSignature},
	} {
		if _, _, err := VerifyMessage([]byte(c.text), signer.PublicKey(), hashKey); !errors.Is(err,
			c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func sigOf(message string) string { return message[len(message)-len(signTail)-sigDigits:] }

func flipHex(digits string) string {
	if digits == "00" {
		return "01"
	}
	return "00"
}

func TestSignerIsConcurrent(t *testing.T) {
	signer, hashKey := testSigner(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var message []byte
			for i := range 50 {
				record := fmt.Appendf(nil, `{"g":%d,"i":%d}`, g, i)
				message = signer.AppendMessage(message[:0], "cycle", record)
				if _, got, err := VerifyMessage(message, signer.PublicKey(), hashKey); err != nil ||
					string(got) != string(record) {
					t.Errorf("%s: %v", message, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzVerify(f *testing.F) {
	signer, hashKey := testSigner(f)
	public := signer.PublicKey()
	f.Add(signer.AppendMessage(nil, "receipt", []byte(`{"a":1}`)))
	f.Add(signer.AppendMessage(nil, "cycle", []byte(`null`)))
	f.Add([]byte(`{"a":1,"sign":{"owner":"` + public.String() + `","sig":""}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		stream, record, err := VerifyMessage(text, public, hashKey)
		if err == nil { // only this test has the key, so the signature must equal one of ours
			if again := signer.AppendMessage(nil, stream, record); !strings.EqualFold(string(again),
				string(text)) {
				t.Fatalf("%q verifies", text)
			}
		}
		if v, err := Parse(text); err == nil {
			err := VerifyObject(v, hashKey)
			if err != nil && !errors.Is(err, ErrUnsigned) && !errors.Is(err, ErrSignature) &&
				!errors.Is(err, ErrTyped) {
				t.Fatalf("%q: unnamed error %v", text, err)
			}
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(testSecretKey)
	f.Add(testHashKey)
	f.Add(strings.ToUpper(testHashKey))
	f.Fuzz(func(t *testing.T, digits string) {
		if k, err := ParsePublicKey(digits); err == nil && !strings.EqualFold(k.String(), digits) {
			t.Fatalf("%q became %s", digits, k)
		} else if err != nil && !errors.Is(err, ErrKey) {
			t.Fatal(err)
		}
		if k, err := ParseSecretKey(digits); err == nil && !strings.EqualFold(k.Reveal(), digits) {
			t.Fatalf("%q became another key", digits)
		} else if err != nil && !errors.Is(err, ErrKey) {
			t.Fatal(err)
		}
	})
}
