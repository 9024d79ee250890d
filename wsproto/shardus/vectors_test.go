package shardus

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// The replaced service's default keys, which are public. The recorded signatures were made with
// them.
const (
	testHashKey   = "69fa4195670576c0160d660c3be36556ff8d504725be8a59b5a96509e0c994bc"
	testSecretKey = "3be00019f23847529bd63e41124864983175063bb524bd54ea3c155f2fa12969758b1c119412298802cd28dbfa394cdfeecc4074492d60844cc192d632d84de3"
)

func testSigner(tb testing.TB) (*Signer, HashKey) {
	tb.Helper()
	hashKey, err := ParseHashKey(testHashKey)
	if err != nil {
		tb.Fatal(err)
	}
	secret, err := ParseSecretKey(testSecretKey)
	if err != nil {
		tb.Fatal(err)
	}
	return NewSigner(secret, hashKey), hashKey
}

// vector is the result of the replaced service's libraries for one line of a data log.
type vector struct {
	Name       string
	Tier       string
	Stream     string
	Input      *string
	InputB64   []byte `json:"input_b64"`
	Reject     bool
	Same       bool
	Canonical  string
	Hash       string
	Sig        string
	Message    string
	Verifies   *bool
	Idempotent *bool
}

func (v *vector) line() []byte {
	if v.Input != nil {
		return []byte(*v.Input)
	}
	return v.InputB64
}

func (v *vector) canonical() string {
	if v.Same { // as the input is read, with invalid UTF-8 replaced
		return repaired(string(v.line()))
	}
	return v.Canonical
}

// readLines returns the lines of a gzipped file in testdata.
func readLines(tb testing.TB, name string) [][]byte {
	tb.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	var all [][]byte
	for lines.Scan() {
		all = append(all, bytes.Clone(lines.Bytes()))
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return all
}

func readVectors(tb testing.TB) []vector {
	tb.Helper()
	var all []vector
	for _, line := range readLines(tb, "vectors.jsonl.gz") {
		var v vector
		if err := json.Unmarshal(line, &v); err != nil {
			tb.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func TestVectors(t *testing.T) {
	signer, hashKey := testSigner(t)
	vectors := readVectors(t)
	if len(vectors) != 698 {
		t.Fatalf("%d vectors, want 698", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			line := v.line()
			got, err := AppendCanonical(nil, line)
			record, recordErr := AppendRecord(nil, line)
			if v.Reject {
				if err == nil || recordErr == nil {
					t.Fatalf("accepted as %.200s", got)
				}
				if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrDepth) && !errors.Is(err, ErrTyped) {
					t.Fatalf("unnamed error %v", err)
				}
				if IsCanonical(line) {
					t.Fatal("refused, but IsCanonical")
				}
				return
			}
			if err != nil || recordErr != nil {
				t.Fatalf("%.200s refused: %v, %v", line, err, recordErr)
			}
			if string(got) != v.canonical() {
				t.Fatalf("canonical\n got %.500s\nwant %.500s", got, v.canonical())
			}
			if IsCanonical(line) && !bytes.Equal(got, line) {
				t.Fatalf("IsCanonical(%.200s)", line)
			}
			if v.Tier == "realistic" && !IsCanonical(line) {
				t.Fatalf("a realistic record misses the fast path: %.200s", line)
			}
			if sig := signer.sign(got); string(sig[:]) != v.Sig || string(sig[128:]) != v.Hash {
				t.Fatalf("signature\n got %s\nwant %s", sig, v.Sig)
			}
			message := signer.AppendMessage(nil, v.Stream, record)
			if string(message) != v.Message {
				t.Fatalf("message\n got %.500s\nwant %.500s", message, v.Message)
			}
			if len(message) != MessageSize(v.Stream, len(record)) {
				t.Fatalf("MessageSize %d, length %d", MessageSize(v.Stream, len(record)), len(message))
			}
			stream, inner, err := VerifyMessage(message, signer.PublicKey(), hashKey)
			if err != nil || stream != v.Stream || !bytes.Equal(inner, record) {
				t.Fatalf("VerifyMessage: %q %.100s %v", stream, inner, err)
			}
			tree, err := Parse(message)
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifyObject(tree, hashKey); (err == nil) != (v.Verifies == nil || *v.Verifies) {
				t.Fatalf("VerifyObject: %v", err)
			}
			if v.Idempotent == nil || *v.Idempotent {
				if again, err := AppendCanonical(nil, got); err != nil || !bytes.Equal(again, got) {
					t.Fatalf("not idempotent: %.200s, %v", again, err)
				}
			}
		})
	}
}
