package config

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// recordedCase is a line of testdata/cases.jsonl: the configuration with which the replaced service
// was started.
type recordedCase struct {
	Name string            `json:"name"`
	File json.RawMessage   `json:"file"`
	Env  map[string]string `json:"env"`
	Argv []string          `json:"argv"`
	Bug  string            `json:"upstream_bug"`
}

// recordedAnswer is a line of testdata/expected.jsonl: its answer, or that it ended.
type recordedAnswer struct {
	Name         string          `json:"name"`
	Config       json.RawMessage `json:"config"`
	SignedAnswer string          `json:"signed_answer"`
	Exit         json.RawMessage `json:"exit"`
}

// answeredOtherwise are the cases in which this package differs from the recording: it returns an
// error with this text, or another value of limitToSubscribersOnly. All but one are the "sane"
// answers of the corpus.
var answeredOtherwise = map[string]string{
	"file not json":       "distributor-config.json:1:30: no JSON: parsing value: unexpected EOF",
	"env subscribers bad": "environment variable subscribers:1:3: no JSON: parsing value: unexpected EOF",
	"argv no-flag":        "limitToSubscribersOnly=false",
	// Recorded without a sane answer: the replaced service went on with NaN, which is no limit.
	"env port not a number": `environment variable RATE_LIMIT: found "abc", expected a whole number from 1 to 1000000 (requests/s)`,
}

func TestRecordedCases(t *testing.T) {
	answers := map[string]recordedAnswer{}
	for _, a := range readLines[recordedAnswer](t, "testdata/expected.jsonl") {
		answers[a.Name] = a
	}
	cases := readLines[recordedCase](t, "testdata/cases.jsonl")
	if len(cases) != 26 || len(answers) != 26 {
		t.Fatalf("%d cases, %d answers", len(cases), len(answers))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			put := strings.NewReplacer(`"{PORT}"`, "6123", "{PORT}", "6123", "{DB}", "db", "{LOGS}", "logs").Replace
			if string(c.File) != "null" {
				text := string(c.File)
				var asText string
				if json.Unmarshal(c.File, &asText) == nil {
					text = asText
				}
				writeFile(t, DefaultFile, put(text))
			}
			var src Source
			for name, value := range c.Env {
				src.Env = append(src.Env, name+"="+put(value))
			}
			for _, a := range c.Argv {
				src.Args = append(src.Args, put(a))
			}
			cfg, _, err := Load(src)

			want, otherwise := answeredOtherwise[c.Name]
			if c.Bug != "" && !otherwise {
				t.Fatal("a bug of the replaced service without an answer of ours")
			}
			if otherwise && want == "limitToSubscribersOnly=false" {
				if err != nil || cfg.LimitToSubscribersOnly {
					t.Fatalf("got %v, %v", cfg, err)
				}
				return
			}
			if otherwise {
				if err == nil || err.Error() != want {
					t.Fatalf("got  %v\nwant %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			a := answers[c.Name]
			if got, want := configAnswer(t, cfg), put(string(a.Config)); !sameJSON(t, got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			// The recorded answer shows which key signs.
			if !strings.Contains(a.SignedAnswer, `"owner":"`+cfg.PublicKey+`"`) {
				t.Errorf("signs as %s", cfg.PublicKey)
			}
			if string(cfg.SecretKey[64:]) != cfg.PublicKey {
				t.Errorf("the secret key is not that of %s", cfg.PublicKey)
			}
			if (cfg.HashKey != sampleHashKey) != (c.Name == "hash key") {
				t.Errorf("hash key %s", cfg.HashKey)
			}
			if cfg.NumberOfWorkers != 1 || cfg.DataLogDir != "logs" || cfg.ArchiverDBDir != "db" {
				t.Errorf("settings that every case has are lost: %v", cfg)
			}
			if c.Name == "file numbers as text" && cfg.FileStreamInterval.Milliseconds() != 50 {
				t.Errorf("interval %v", cfg.FileStreamInterval)
			}
		})
	}
}

// configAnswer is the config member of the answer to GET /config.
func configAnswer(t *testing.T, c *Config) string {
	text, err := json.Marshal(map[string]any{
		"DISTRIBUTOR_IP": c.DistributorIP, "DISTRIBUTOR_PORT": c.DistributorPort,
		"DISTRIBUTOR_PUBLIC_KEY": c.PublicKey,
		"limitToSubscribersOnly": c.LimitToSubscribersOnly, "subscribers": c.Subscribers,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func sameJSON(t *testing.T, a, b string) bool {
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

func readLines[T any](t *testing.T, path string) (all []T) {
	f, err := os.Open(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
