package shardus

import (
	"strings"
	"testing"
)

func TestMemberInt(t *testing.T) {
	for _, c := range []struct {
		text string
		n    float64
		ok   bool
	}{
		{`{"cycle":5}`, 5, true},
		{`{"a":{"cycle":1},"b":["cycle",{"cycle":2}],"c":"\"cycle\":3}","cycle":-4.5,"d":0}`, -4.5, true},
		{`{"cycle":1e+21,"z":[]}`, 1e21, true},
		{`{"cycle":"5"}`, 0, false}, {`{"cycle":null}`, 0, false}, {`{"cycle":[5]}`, 0, false},
		{`{"cycle":{"dataType":"bi","value":"5"}}`, 0, false},
		{`{"cycles":5}`, 0, false}, {`{}`, 0, false}, {`[{"cycle":5}]`, 0, false}, {`"cycle"`, 0, false},
		{`5`, 0, false}, {``, 0, false},
		{`{"`, 0, false}, {`{"cycle`, 0, false}, {`{"cycle"`, 0, false}, {`{"cycle":`, 0, false},
		{`{"a":"\`, 0, false}, {`{"a":{`, 0, false}, {`{`, 0, false}, {`{"cycle":}`, 0, false},
	} {
		m := MembersOf([]byte(c.text))
		if n, ok := m.Int("cycle"); n != c.n || ok != c.ok {
			t.Errorf("cycle of %s is %v, %v", c.text, n, ok)
		}
	}
}

// In every recorded line each member is found, in one pass and each on its own. A missing member is
// added where parsing and writing the whole object would put it.
func TestMembersOfVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		if !v.Reject {
			checkMembers(t, v.line())
		}
	}
}

func TestMembersWithOddNames(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"a":1}`, `{"executionShardKey":"x"}`, `{"z":{"executionShardKey":"x"}}`,
		`{"\"":1,"executionShard\u0000":2,"z":3}`, `{"\ud800":1}`, `{"ü":1,"é":{"x":"}"}}`,
		`{"execution\\":0}`,
		`{"executionShardKey\u0001":1}`, `{"executionShardKe\u0079":"x"}`,
		`{"executionShardKey":1,"executionShardKey":2}`,
		`{"😀":1,"\ue000":2}`, `{"e":"\\\"","f":"{[,\"executionShardKey\":\"no\"]}"}`,
		strings.Repeat(`{"a":`, 2000) + `1` + strings.Repeat(`}`, 2000),
	} {
		checkMembers(t, []byte(text))
	}
}

// checkMembers compares Members with a parse of the whole text, if it has a canonical form. Any
// other text must not cause a panic.
func checkMembers(t *testing.T, text []byte) {
	t.Helper()
	probes := []string{"counter", "cycle", "executionShardKey", "signedReceipt", "zzz"}
	wild := MembersOf(text)
	for _, name := range probes {
		if _, ok := wild.Find(name); !ok {
			wild.AppendWith(nil, name, []byte(`""`))
		}
	}
	record, err := AppendRecord(nil, text)
	if err != nil {
		return
	}
	tree, err := Parse(record)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := tree.AppendCanonical(nil); err != nil || string(again) != string(record) {
		return // a Buffer or a typed `sig` that changes with every pass
	}
	all := MembersOf(record)
	for _, name := range probes {
		want := tree.Get(name)
		value, ok := all.Find(name)
		alone := MembersOf(record)
		if one, found := alone.Find(name); found != ok || string(one) != string(value) {
			t.Fatalf("%.300q: %s is %q, %v; asked for after others %q, %v",
				record, name, one, found, value, ok)
		}
		if ok != (want.Kind() != Undefined) {
			t.Fatalf("%.300q: %s found: %v", record, name, ok)
		}
		if ok {
			if whole, err := want.AppendCanonical(nil); err != nil || string(whole) != string(value) {
				t.Fatalf("%.300q: %s is %q, want %q (%v)", record, name, value, whole, err)
			}
			continue
		}
		if tree.Kind() != Object {
			continue
		}
		want = tree.With(name, TextValue("key"))
		with, err := want.AppendCanonical(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := all.AppendWith(nil, name, []byte(`"key"`))
		if string(got) != string(with) && !want.isBuffer() {
			t.Fatalf("%.300q with %s is %.300q, want %.300q", record, name, got, with)
		}
	}
}
