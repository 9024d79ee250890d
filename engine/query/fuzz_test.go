package query

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"testing"

	"distributor/wsproto/shardus"
)

// FuzzColumn checks that the answer for any column value is JSON. A JSON column is answered like a
// record, a plain one reads back as the same value.
func FuzzColumn(f *testing.F) {
	f.Add(uint8(0), []byte(`{"a":{"dataType":"bi","value":"ff"}}`), int64(0), 0.0)
	f.Add(uint8(1), []byte(`{"type":"Buffer","data":[1,{"dataType":"bi","value":"1"}]}`), int64(1),
		1e300)
	f.Add(uint8(2), []byte("\xff\xed\xa0\x80\"\x00\u2028"), int64(math.MinInt64), math.Inf(-1))
	f.Add(uint8(3), []byte(""), int64(exact), math.NaN())
	f.Add(uint8(4), []byte(`"x`), int64(exact+1), math.Copysign(0, -1))
	f.Fuzz(func(t *testing.T, kind uint8, text []byte, n int64, x float64) {
		v := []any{nil, string(text), bytes.Clone(text), n, x}[kind%5]
		for name, appends := range map[string]func([]byte, any) ([]byte, error){"json": appendJSON,
			"whole": appendWhole, "plain": appendPlain} {
			out, err := appends([]byte("["), v)
			record, recordErr := shardus.AppendRecord(nil, text)
			if _, isText := v.(string); name == "json" && len(text) > 0 && (isText || kind%5 == 2) {
				if (err == nil) != (recordErr == nil) || err == nil && string(out[1:]) != string(record) {
					t.Fatalf("%q became %q, %v; as a record it is %q, %v", text, out, err, record, recordErr)
				}
			}
			if err != nil {
				continue
			}
			if out[0] != '[' || !json.Valid(out[1:]) {
				t.Fatalf("%s: %#v became %q", name, v, out)
			}
			if name != "plain" {
				continue
			}
			back, err := shardus.Parse(out[1:])
			if err != nil {
				t.Fatal(err)
			}
			same := true
			switch v := v.(type) {
			case string:
				same = back.Text() == shardus.TextValue(v).Text()
			case []byte:
				same = back.Bytes() == string(v) &&
					bytes.Contains(out, []byte(base64.StdEncoding.EncodeToString(v)))
			case int64:
				same = back.Number() == float64(v)
			case float64:
				same = back.Number() == v || back.Kind() == shardus.Null && (math.IsInf(v, 0) || math.IsNaN(v))
			}
			if !same {
				t.Fatalf("%#v became %q, which reads as %v", v, out, back)
			}
		}
	})
}
