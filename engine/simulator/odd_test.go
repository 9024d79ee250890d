package simulator

import (
	"bytes"
	"strings"
	"testing"

	"distributor/wsproto/shardus"
)

func TestNonCanonicalIsTheSameRecord(t *testing.T) {
	for _, record := range [][]byte{
		[]byte(`{"a":1}`),
		[]byte(`{"a":{"b":[1,2,{"c":"}"}],"d":2}}`),
		[]byte(`{"a":"x,\"}\\","b":[1,2],"c":null}`),
		NewWorld("odd", 1).Append(nil, Receipt, someTime),
		NewWorld("odd", 1).Append(nil, Cycle, someTime),
	} {
		odd := appendNonCanonical(nil, record)
		if shardus.IsCanonical(odd) || bytes.ContainsAny(odd, "\r\n") {
			t.Errorf("%.100s: not odd, or no line", odd)
		}
		if got, err := shardus.AppendCanonical(nil, odd); err != nil || !bytes.Equal(got, record) {
			t.Errorf("%.100s is another record: %.100s (%v)", odd, got, err)
		}
	}
}

func TestMemoInItsPlace(t *testing.T) {
	for record, want := range map[string]string{
		`{"a":1}`:                     `{"a":1,"memo":"m"}`,
		`{"a":{"x":[]},"z":",\"}"}`:   `{"a":{"x":[]},"memo":"m","z":",\"}"}`,
		`{"z":1}`:                     `{"memo":"m","z":1}`,
		`{"mem":1,"memory":2,"tx":3}`: `{"mem":1,"memo":"m","memory":2,"tx":3}`,
	} {
		if got := string(appendMember(nil, []byte(record), "memo", "m")); got != want {
			t.Errorf("%s with a memo is %s, want %s", record, got, want)
		}
	}
	w, r := NewWorld("memo", 1), newRandom("memo")
	for i := range 300 {
		memo := r.trailerMemo()
		record := appendMember(nil, w.Append(nil, Streams[i%3], someTime), "memo", memo)
		if !shardus.IsCanonical(record) || !strings.Contains(string(record), `"memo":"End: Number of `) {
			t.Fatalf("%.300s", record)
		}
	}
}
