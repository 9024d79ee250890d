package shardus

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestRandomTexts compares with the results of the replaced service's libraries for random texts:
// typed values, escapes, numbers and Buffers in all combinations, and damaged texts: some made by
// hand, and a sample of 2.5 million that were compared.
func TestRandomTexts(t *testing.T) {
	lines := readLines(t, "random.jsonl.gz")
	if len(lines) < 3000 {
		t.Fatalf("only %d texts", len(lines))
	}
	for _, line := range lines {
		var c struct {
			In        []byte
			Canonical *string // nil: refused
			Record    string  // if a second pass changes it
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		got, err := AppendCanonical(nil, c.In)
		record, recordErr := AppendRecord(nil, c.In)
		if c.Canonical == nil {
			if err == nil || recordErr == nil || IsCanonical(c.In) {
				t.Errorf("%q accepted as %q", c.In, got)
			}
			continue
		}
		if c.Record == "" {
			c.Record = *c.Canonical
		}
		if err != nil || string(got) != *c.Canonical {
			t.Errorf("%q\n got %q, %v\nwant %q", c.In, got, err, *c.Canonical)
		}
		if recordErr != nil || string(record) != c.Record {
			t.Errorf("record of %q\n got %q, %v\nwant %q", c.In, record, recordErr, c.Record)
		}
		checkProperties(t, c.In)
	}
}

// checkProperties holds for every text.
func checkProperties(t *testing.T, text []byte) {
	t.Helper()
	got, err := AppendCanonical(nil, text)
	record, recordErr := AppendRecord([]byte("kept"), text)
	if !bytes.HasPrefix(record, []byte("kept")) {
		t.Fatalf("%q: AppendRecord lost what was there", text)
	}
	if IsCanonical(text) && (err != nil || !bytes.Equal(got, text)) {
		t.Fatalf("IsCanonical(%q), but it is %q, %v", text, got, err)
	}
	if err != nil {
		if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrDepth) && !errors.Is(err, ErrTyped) {
			t.Fatalf("%q: unnamed error %v", text, err)
		}
		if recordErr == nil || len(record) != 4 {
			t.Fatalf("%q: a record %q without canonical text", text, record)
		}
		return
	}
	if !utf8.Valid(got) || !json.Valid(got) {
		t.Fatalf("%q: canonical text %q is no JSON", text, got)
	}
	if len(got) > 6*len(text)+64 {
		t.Fatalf("%q: %d bytes became %d", text, len(text), len(got))
	}
	again, err := AppendCanonical(nil, got)
	if err != nil {
		t.Fatalf("%q: canonical text %q is refused: %v", text, got, err)
	}
	if !bytes.Equal(again, got) && !bytes.Contains(got, []byte(`"type":"Buffer"`)) &&
		!bytes.Contains(got, []byte(`"sig":{`)) {
		t.Fatalf("%q: canonical text %q\nchanges to %q", text, got, again)
	}
	if recordErr != nil || !bytes.Equal(record[4:], again) {
		t.Fatalf("%q: record %q is not %q, %v", text, record[4:], again, recordErr)
	}
}

// TestMutations damages realistic records in small ways, near the border between the two ways to
// canonical text.
func TestMutations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{`"`, `,`, `:`, `{`, `}`, `[`, `]`, `0`, `-`, `.5`, `e3`, `\`, `\u0001`, `\u000a`, `\ud800`, `é`, "\xff", " ", "\n", "A", "=",
		`"sig":{"a":1},`, `"a":{"dataType":"bi","value":"ff"},`, `{"dataType":"bi","value":"`,
		`{"value":"QQ==","dataType":"bb"}`, `,"dataType":"u8ab"`,
		`"data":"x","type":"Buffer"`, `"__proto__":1,`, `"constructor":1,`, `null`, `1e21`,
		`12345678901234567`}
	lines, _ := benchMix(t)
	canonical := 0
	for range 3000 {
		line := bytes.Clone(lines[r.IntN(len(lines))])
		line = line[:min(len(line), 5000)]
		for range 1 + r.IntN(2) {
			at, cut := r.IntN(len(line)), 0
			piece := pieces[r.IntN(len(pieces))]
			switch r.IntN(4) {
			case 0:
				cut, piece = min(1+r.IntN(3), len(line)-at), ""
			case 1:
				cut = min(len(piece), len(line)-at)
			case 2:
				from := r.IntN(len(line))
				piece = string(line[from:min(from+r.IntN(40), len(line))])
			}
			line = append(line[:at], piece+string(line[at+cut:])...)
			if len(line) == 0 {
				line = []byte("0")
			}
		}
		checkProperties(t, line)
		if IsCanonical(line) {
			canonical++
		}
	}
	t.Logf("%d of 3000 were canonical", canonical)
}

// TestRecogniser lists texts that the fast path accepts, and texts that it leaves to the slow one.
func TestRecogniser(t *testing.T) {
	for _, text := range []string{
		`null`, `true`, `false`, `""`, `0`, `-1`, `123456789012345`, `9007199254740991`, `0.000001`,
		`1e-7`, `1e+21`, `-12.5`, `5e-324`,
		`{}`, `[]`, `[[],{},[{}]]`, `{"":0,"0":1,"10":2,"9":3,"A":4,"a":5,"aa":6,"ab":7}`,
		`{"abcdefgh":1,"abcdefgha":2,"abcdefghb":3}`,
		`"é😀` + "\u2028\u007f" + `/\"\\\b\f\n\r\t\u0000\u001f"`, `{"sig":"x"}`,
		`{"sig":[{"dataType":"bi","value":"0"}]}`,
		`{"a":{"dataType":"bi","value":"10ff"},"b":{"value":"","dataType":"bb"},"c":{"value":"AA==","dataType":"u8ab"},"d":{"value":"AAA=","dataType":"u8ab"}}`,
		`{"value":"x"}`, `{"value":"x","z":1}`, `{"type":"buffer"}`, `{"dataTypes":1}`,
		`{"constructors":1,"prototypes":2}`, `{"dataType":"bi","value":"1"}`,
		strings.Repeat("[", scanDepth) + strings.Repeat("]", scanDepth),
	} {
		if !IsCanonical([]byte(text)) {
			t.Errorf("IsCanonical(%s) = false", text)
		}
		checkProperties(t, []byte(text))
	}
	for _, text := range []string{
		``, ` `, ` 1`, `1 `, `nul`, `tru`, `-`, `-0`, `01`, `-01`, `1.0`, `.5`, `5.`, `1e5`, `1E21`,
		`1e21`, `1e-6`, `0.0000001`, `123456789012345678`, `1e400`, `0x1`,
		`"`, `"\`, `"\u`, `"\u00`, `"\u000`, `"\u0020"`, `"\u000A"`, `"\u000a"`, `"\u001F"`, `"\/"`,
		`"\x"`, "\"\x01\"", "\"\xff\"", "\"\xed\xa0\x80\"", `"a`,
		`[`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 ,2]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`,
		`{"a":1,}`, `{"a" :1}`, `{a:1}`,
		`{"b":1,"a":2}`, `{"a":1,"a":2}`, `{"":1,"":2}`, `{"abcdefghb":1,"abcdefgha":2}`,
		`{"abcdefgh":1,"abcdefgh":2}`, `{"aa":1,"a":2}`,
		`{"__proto__":1}`, `{"constructor":1}`, `{"prototype":1}`, `{"a":{"prototype":{}}}`,
		`{"dataType":"bi","value":""}`, `{"dataType":"bi","value":"00"}`,
		`{"dataType":"bi","value":"0f"}`, `{"dataType":"bi","value":"FF"}`,
		`{"dataType":"bi","value":"f"`,
		`{"dataType":"bi","value":"f","x":1}`, `{"dataType":"bi","value":1}`,
		`{"dataType":"u8ab","value":"AA=="}`, `{"value":"1","dataType":"bi"}`,
		`{"value":"AA=","dataType":"bb"}`, `{"value":"AA","dataType":"bb"}`,
		`{"value":"AB==","dataType":"bb"}`, `{"value":"AAB=","dataType":"bb"}`,
		`{"value":"A===","dataType":"bb"}`,
		`{"value":"====","dataType":"bb"}`, `{"value":"-_-_","dataType":"bb"}`,
		`{"value":"A\nAA","dataType":"bb"}`, `{"value":"AAAA","dataType":"bb","x":1}`,
		`{"value":"AAAA","dataType":"b"}`,
		`{"sig":{"value":"AAAA","dataType":"bb"}}`, `{"data":[],"type":"Buffer"}`,
		strings.Repeat("[", 101) + strings.Repeat("]", 101),
	} {
		if IsCanonical([]byte(text)) {
			t.Errorf("IsCanonical(%s) = true", text)
		}
		checkProperties(t, []byte(text))
	}
}

func TestLimits(t *testing.T) {
	nest := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	bigInt := func(levels int, digits string) []byte {
		return []byte(strings.Repeat(`{"dataType":"bi","value":`, levels) + `"` + digits + `"` +
			strings.Repeat("}", levels))
	}
	for _, c := range []struct {
		name string
		text []byte
		want error
	}{
		{"depth", nest(MaxDepth), nil},
		{"too deep", nest(MaxDepth + 1), ErrDepth},
		{"too deep and never closed", bytes.Repeat([]byte(`{"a":`), 1<<20), ErrDepth},
		{"long big integer", bigInt(1, strings.Repeat("f", 1<<20)), nil},
		{"nested big integer at the limit", bigInt(2, strings.Repeat("f", maxDecimal)), nil},
		{"nested big integer beyond the limit", bigInt(2, strings.Repeat("f", maxDecimal+1)), ErrTyped},
		{"big integers that grow by a fifth a level", bigInt(1000, "f"), ErrTyped},
		{"long text in nested arrays", bytes.Join([][]byte{[]byte(`{"dataType":"bi","value":`),
			nest(1000)[:1000], []byte(`"` + strings.Repeat("f", 1<<20) + `"`), nest(1000)[1000:], {'}'}},
			nil), nil},
	} {
		if _, err := AppendRecord(nil, c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	signer, _ := testSigner(t)
	lines, _ := benchMix(t)
	record, message := make([]byte, 0, 1<<20), make([]byte, 0, 1<<20)
	if n := testing.AllocsPerRun(100, func() {
		for _, line := range lines[:10] {
			record, _ = AppendRecord(record[:0], line)
			message = signer.AppendMessage(message[:0], "receipt", record)
			members := MembersOf(record)
			members.Int("cycle")
			members.Find("executionShardKey")
		}
		// Fewer come from the pool of hashers, which a collection (or the race detector) may empty
	}); n >= 10 {
		t.Errorf("%v allocations for ten records", n)
	}
}

func FuzzCanonical(f *testing.F) {
	for _, v := range readVectors(f) {
		if line := v.line(); len(line) < 4000 {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		checkProperties(t, text)
		checkMembers(t, text)
		if v, err := Parse(text); err == nil {
			walk(v)
		}
	})
}

// walk calls every accessor on every value of a tree.
func walk(v Value) {
	_, _, _, _, _ = v.Bool(), v.Number(), v.Text(), v.Hex(), v.Bytes()
	for key, child := range v.All() {
		if v.Kind() == Object && v.Get(key).Kind() != child.Kind() {
			panic("a member is not found")
		}
		walk(child)
	}
}
