package encoder

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"distributor/mmaplog/datalog"
	"distributor/wsproto/shardus"
)

// encodeReceipts returns the payloads that an encoder makes of receipts, and its log.
func encodeReceipts(
	t testing.TB, add bool, lines ...string,
) (e *Encoder, messages []string, log string) {
	t.Helper()
	var text bytes.Buffer
	e = New(Options{
		Signer: signer(t), StopAtCycle: func() int64 { return -1 }, AddShardKey: add,
		Log: slog.New(slog.NewTextHandler(&text, nil)),
	}, Progress{})
	c := &chunk{stream: datalog.Receipt}
	c.after.Number = 7
	for _, line := range lines {
		c.records = append(c.records, datalog.Record{Line: []byte(line)})
	}
	e.encode(c)
	start := 0
	for _, m := range c.made {
		frame := c.frames[start:m.end]
		messages = append(messages, string(frame[headerSize(frame):]))
		start = m.end
	}
	return e, messages, text.String()
}

// sent returns the record of a message that verifies.
func sent(t testing.TB, message string) string {
	t.Helper()
	hashKey, err := shardus.ParseHashKey(hashKeyHex)
	if err != nil {
		t.Fatal(err)
	}
	stream, record, err := shardus.VerifyMessage([]byte(message), signer(t).PublicKey(), hashKey)
	if err != nil || stream != "receipt" {
		t.Fatalf("%s message %.200q: %v", stream, message, err)
	}
	return string(record)
}

func TestAddShardKey(t *testing.T) {
	long := strings.Repeat("k", maxShardKey)
	for _, c := range []struct{ name, line, want string }{
		{"by its signatures",
			`{"cycle":1,"globalModification":false,"signedReceipt":{"proposal":{"applied":true,"executionShardKey":"ab","txid":"c"}}}`,
			`{"cycle":1,"executionShardKey":"ab","globalModification":false,"signedReceipt":{"proposal":{"applied":true,"executionShardKey":"ab","txid":"c"}}}`},
		{"global",
			`{"cycle":1,"globalModification":true,"signedReceipt":{"signs":[],"tx":{"address":"1","source":"ab","txId":"c"}}}`,
			`{"cycle":1,"executionShardKey":"ab","globalModification":true,"signedReceipt":{"signs":[],"tx":{"address":"1","source":"ab","txId":"c"}}}`},
		{"proposal null", `{"signedReceipt":{"proposal":null,"tx":{"source":"s"}}}`,
			`{"executionShardKey":"s","signedReceipt":{"proposal":null,"tx":{"source":"s"}}}`},
		{"first of the members", `{"signedReceipt":{"proposal":{"executionShardKey":"k"}}}`,
			`{"executionShardKey":"k","signedReceipt":{"proposal":{"executionShardKey":"k"}}}`},
		{"empty", `{"signedReceipt":{"proposal":{"executionShardKey":""}}}`,
			`{"executionShardKey":"","signedReceipt":{"proposal":{"executionShardKey":""}}}`},
		{"not canonical", ` { "signedReceipt":{"proposal":{"executionShardKe\u0079":"\u006b\ud800"}} , "a":1}`,
			`{"a":1,"executionShardKey":"k\ud800","signedReceipt":{"proposal":{"executionShardKey":"k\ud800"}}}`},
		{"members twice", `{"signedReceipt":{"proposal":{"executionShardKey":"no","executionShardKey":"k"}},"signedReceipt":{"proposal":{"executionShardKey":"k"}}}`,
			`{"executionShardKey":"k","signedReceipt":{"proposal":{"executionShardKey":"k"}}}`},
		{"names with escapes", `{"executionShardKey\u0000":1,"exec\"":2,"signedReceipt":{"proposal":{"executionShardKey":"k"},"\\":3}}`,
			`{"exec\"":2,"executionShardKey":"k","executionShardKey\u0000":1,"signedReceipt":{"\\":3,"proposal":{"executionShardKey":"k"}}}`},
		{"as long as can be", `{"signedReceipt":{"proposal":{"executionShardKey":"` + long + `"}}}`,
			`{"executionShardKey":"` + long + `","signedReceipt":{"proposal":{"executionShardKey":"` +
				long + `"}}}`},

		{"has it", `{"executionShardKey":"x","signedReceipt":{"proposal":{"executionShardKey":"k"}}}`,
			""},
		{"has it, null", `{"executionShardKey":null,"signedReceipt":{"proposal":{"executionShardKey":"k"}}}`, ""},
		{"too long", `{"signedReceipt":{"proposal":{"executionShardKey":"` + long + `k"}}}`, ""},
		{"no receipt signed", `{"a":1,"z":2}`, ""},
		{"null", `null`, ""}, {"array", `[{"signedReceipt":{"proposal":{"executionShardKey":"k"}}}]`, ""},
		{"typed", `{"value":"AQID","dataType":"u8ab"}`, ""}, {"empty object", `{}`, ""},
		{"signed null", `{"signedReceipt":null}`, ""},
		{"signed text", `{"signedReceipt":"{\"proposal\":{}}"}`, ""},
		{"signed array", `{"signedReceipt":[{"proposal":{"executionShardKey":"k"}}]}`, ""},
		{"proposal without it", `{"signedReceipt":{"proposal":{},"tx":{"source":"s"}}}`, ""},
		{"proposal text", `{"signedReceipt":{"proposal":"executionShardKey"}}`, ""},
		{"number", `{"signedReceipt":{"proposal":{"executionShardKey":5}}}`, ""},
		{"object", `{"signedReceipt":{"proposal":{"executionShardKey":{"executionShardKey":"k"}}}}`, ""},
		{"big integer", `{"signedReceipt":{"tx":{"source":{"dataType":"bi","value":"ff"}}}}`, ""},
		{"deeper", `{"signedReceipt":{"proposal":{"a":{"executionShardKey":"k"}}}}`, ""},
		{"below a dropped name", `{"signedReceipt":{"__proto__":{"proposal":{"executionShardKey":"k"}}}}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain, without, _ := encodeReceipts(t, false, c.line)
			e, with, _ := encodeReceipts(t, true, c.line)
			if len(with) != 1 || len(without) != 1 {
				t.Fatalf("%d and %d messages", len(without), len(with))
			}
			asLogged, err := shardus.AppendRecord(nil, []byte(c.line))
			if err != nil {
				t.Fatal(err)
			}
			if got := sent(t, without[0]); got != string(asLogged) || plain.shardKeys.added.Load() != 0 {
				t.Errorf("without the setting sent %s", got)
			}
			want, added := c.want, uint64(1)
			if want == "" {
				want, added = string(asLogged), 0
			}
			if got := sent(t, with[0]); got != want || e.shardKeys.added.Load() != added {
				t.Errorf("sent %s\nwant %s, %d added", got, want, e.shardKeys.added.Load())
			}
		})
	}
}

// Receipts without the member are counted, and the log says once that they come and which key to
// set.
func TestShardKeyIsReported(t *testing.T) {
	const has = `{"executionShardKey":"x"}`
	const derivable = `{"signedReceipt":{"proposal":{"executionShardKey":"k"}}}`
	const absent = `{"signedReceipt":{}}`
	receipts := datalog.Receipt
	for _, c := range []struct {
		add           bool
		lines         []string
		added, absent uint64
		log           string // in its only line
	}{
		{false, []string{has, has}, 0, 0, ""},
		{false, []string{has, absent, absent}, 0, 2, ""}, // nothing that could be set would help
		{false, []string{has, absent, derivable, absent, derivable}, 0, 4, "ADD_EXECUTION_SHARD_KEY"},
		{true, []string{has, derivable, derivable}, 2, 0, ""},
		{true, []string{derivable, absent, absent}, 1, 2, "a receipt has no executionShardKey"},
	} {
		e, messages, log := encodeReceipts(t, c.add, c.lines...)
		s := e.Stats(receipts)
		if len(messages) != len(c.lines) || s.ShardKeyAdded != c.added || s.ShardKeyAbsent != c.absent {
			t.Errorf("%v %q: %d messages, %+v", c.add, c.lines, len(messages), s)
		}
		lines := strings.Count(log, "\n")
		if c.log == "" && lines != 0 || c.log != "" && (lines != 1 || !strings.Contains(log, c.log)) {
			t.Errorf("%v %q: logged %q", c.add, c.lines, log)
		}
		if c.log != "" && !strings.Contains(log, "receipt-log7.txt") {
			t.Errorf("no file in %q", log)
		}
		if other := e.Stats(datalog.Cycle); other.ShardKeyAbsent+other.ShardKeyAdded != 0 {
			t.Errorf("cycles: %+v", other)
		}
	}
}

// FuzzShardKey compares what is added with a parse of the whole receipt.
func FuzzShardKey(f *testing.F) {
	for _, line := range []string{
		`{"cycle":1,"signedReceipt":{"proposal":{"executionShardKey":"k"}}}`,
		`{"signedReceipt":{"signs":[],"tx":{"source":"k"}}}`,
		`{"executionShardKey":"x"}`, `{"signedReceipt":{"proposal":null}}`,
		`{"signedReceipt":{"proposal":{"executionShardKey":7}}}`,
		`{"a\"":{"signedReceipt":1},"signedReceipt":{"proposal":{"executionShardKey":"\u0000\ud800"}}}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		asLogged, err := shardus.AppendRecord(nil, line)
		if err != nil {
			return
		}
		_, messages, _ := encodeReceipts(t, true, string(line))
		if len(messages) != 1 {
			t.Fatalf("%q: %d messages", line, len(messages))
		}
		tree, err := shardus.Parse(asLogged)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := tree.AppendCanonical(nil); err != nil || !bytes.Equal(again, asLogged) {
			return // a Buffer or a typed `sig` that changes with every pass: nothing to hold it against
		}
		want := asLogged
		if key, ok := wantedKey(tree); ok {
			if want, err = tree.With(shardKey, key).AppendCanonical(nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := sent(t, messages[0]); got != string(want) {
			t.Fatalf("%q: sent %s, want %s", line, got, want)
		}
	})
}

// wantedKey returns what keyOf should return, from a parsed receipt.
func wantedKey(receipt shardus.Value) (key shardus.Value, ok bool) {
	if receipt.Kind() != shardus.Object || receipt.Get(shardKey).Kind() != shardus.Undefined {
		return key, false
	}
	signed := receipt.Get("signedReceipt")
	switch proposal := signed.Get("proposal"); proposal.Kind() {
	case shardus.Undefined, shardus.Null:
		key = signed.Get("tx").Get("source")
	default:
		key = proposal.Get(shardKey)
	}
	text, err := key.AppendCanonical(nil)
	return key, err == nil && key.Kind() == shardus.Text && len(text)-2 <= maxShardKey
}

// Completing a receipt takes no allocations once the chunk has its memory.
func TestShardKeyAllocatesNothing(t *testing.T) {
	line := fmt.Sprintf(`{"cycle":1,"pad":%q,"signedReceipt":{"proposal":{"executionShardKey":"k"}}}`,
		strings.Repeat("x", 4000))
	e := New(Options{
		Signer: signer(t), StopAtCycle: func() int64 { return -1 }, AddShardKey: true,
		Log: slog.New(slog.DiscardHandler),
	}, Progress{})
	c := &chunk{
		stream:  datalog.Receipt,
		records: make([]datalog.Record, chunkRecords),
	}
	for i := range c.records {
		c.records[i].Line = []byte(line)
	}
	e.encode(c)
	// Some allocations come from the pool of hashers, which a collection (or the race detector) may
	// empty.
	if n := testing.AllocsPerRun(20, func() { e.encode(c) }); n >= chunkRecords {
		t.Errorf("%v allocations for %d receipts", n, chunkRecords)
	}
}
