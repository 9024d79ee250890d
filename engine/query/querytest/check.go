package querytest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"distributor/wsproto/shardus"
)

// The keys, in hex, of the recorded service: those of the public sample configuration.
const (
	HashKey   = "69fa4195670576c0160d660c3be36556ff8d504725be8a59b5a96509e0c994bc"
	ServerKey = "758b1c119412298802cd28dbfa394cdfeecc4074492d60844cc192d632d84de3"
)

// Check returns an error that says why an answer to a case is wrong, or nil. The address, the time
// and the process may differ.
func (c *Corpus) Check(asked *Case, got Answer) error {
	signed := false
	if got.Body != "" && strings.HasPrefix(got.Header.Get("Content-Type"), "application/json") {
		var err error
		if signed, err = Verify(got.Body); err != nil {
			return err
		}
	}
	want := asked.Want
	if sane := asked.Sane; sane != nil && sane.SameAs != "" {
		want = c.byName[sane.SameAs].Want
	} else if sane != nil {
		return asked.checkSane(got, signed)
	}
	if got.Status != want.Status {
		return fmt.Errorf("status %d, want %d: %.300s", got.Status, want.Status, got.Body)
	}
	if asked.Loose == "status" {
		return nil
	}
	if kind := got.Header.Get("Content-Type"); kind != want.Type {
		return fmt.Errorf("content type %q, want %q", kind, want.Type)
	}
	for name, value := range want.Headers {
		if strings.HasPrefix(name, "access-control") && got.Header.Get(name) != value {
			return fmt.Errorf("%s: %q, want %q", name, got.Header.Get(name), value)
		}
	}
	switch {
	case asked.Loose != "":
	case signed != want.Signed:
		return fmt.Errorf("signed: %v", signed)
	case asked.Volatile != nil && asked.Method != "HEAD":
		return sameButFor(asked.Volatile, got.Body, want.Body)
	case !same(got.Body, want.Body):
		return fmt.Errorf("%.300s\nwant %.300s", got.Body, want.Body)
	}
	return nil
}

func (c *Case) checkSane(got Answer, signed bool) error {
	switch {
	case got.Status != c.Sane.Status:
		return fmt.Errorf("status %d, want %d", got.Status, c.Sane.Status)
	case !signed:
		return errors.New("not signed")
	case c.Sane.Like != nil && !like(c.Sane.Like, got.Body):
		return fmt.Errorf("%s, want something like %v", got.Body, c.Sane.Like)
	case c.Sane.Like != nil:
		return nil
	}
	for _, body := range c.Sane.Bodies {
		if same(got.Body, body) {
			return nil
		}
	}
	return fmt.Errorf("%.300s is not sane", got.Body)
}

// Verify checks that a body is JSON, canonical unless it is an error of the framework, and checks
// its signature if it has one.
func Verify(body string) (signed bool, err error) {
	v, err := shardus.Parse([]byte(body))
	if err != nil {
		return false, fmt.Errorf("%.200s: %w", body, err)
	}
	again, err := v.AppendCanonical(nil)
	if err != nil {
		return false, fmt.Errorf("%.200s: %w", body, err)
	}
	if string(again) != body && v.Get("statusCode").Kind() == shardus.Undefined {
		return false, fmt.Errorf("%.200s is not canonical, but %.200s", body, again)
	}
	if v.Get("sign").Kind() == shardus.Undefined {
		return false, nil
	}
	hashKey, err := shardus.ParseHashKey(HashKey)
	if err != nil {
		panic(err) // a constant
	}
	if owner := v.Get("sign").Get("owner").Text(); owner != ServerKey {
		return false, fmt.Errorf("signed by %s: %.200s", owner, body)
	}
	if err := shardus.VerifyObject(v, hashKey); err != nil {
		return false, fmt.Errorf("signature of %.200s: %w", body, err)
	}
	return true, nil
}

// same compares a body with a text or a digest, "sha256:…".
func same(body, want string) bool {
	if digest, hashed := strings.CutPrefix(want, "sha256:"); hashed {
		sum := sha256.Sum256([]byte(body))
		return hex.EncodeToString(sum[:]) == digest
	}
	return body == want
}

// like tells whether a body has the wanted members. The text of an error is not compared.
func like(want map[string]any, body string) bool {
	var got map[string]any
	if json.Unmarshal([]byte(body), &got) != nil {
		return false
	}
	for name, value := range want {
		if name == "error" && got[name] != nil {
			continue
		}
		if !reflect.DeepEqual(got[name], value) {
			return false
		}
	}
	return true
}

// sameButFor compares two bodies without some members, which both must have.
func sameButFor(paths []string, got, want string) error {
	a, err := without(paths, got)
	if err != nil {
		return err
	}
	b, err := without(paths, want)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("%v\nwant %v", a, b)
	}
	return nil
}

func without(paths []string, body string) (tree map[string]any, err error) {
	if err := json.Unmarshal([]byte(body), &tree); err != nil {
		return nil, fmt.Errorf("%.200s: %w", body, err)
	}
	for _, path := range paths {
		at, names := tree, strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			at, _ = at[name].(map[string]any)
		}
		last := names[len(names)-1]
		if _, there := at[last]; !there {
			return nil, fmt.Errorf("no %s in %.200s", path, body)
		}
		delete(at, last)
	}
	return tree, nil
}
