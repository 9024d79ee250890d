package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// messages are inputs that cause errors or warnings. testdata/messages.golden holds the exact
// texts.
var messages = []struct {
	name string
	file string
	env  []string
	args []string
}{
	{name: "types", file: `{
  "DISTRIBUTOR_IP": 127,
  "DISTRIBUTOR_PORT": 70000, "RATE_LIMIT": "", "DRAIN_MS": 1.5, "PING_INTERVAL_MS": null,
  "VERBOSE": "true", "limitToSubscribersOnly": 1,
  "subscribers": {}, "ARCHIVER_DATA": [],
  "DISTRIBUTOR_HASH_KEY": "abc", "DATA_LOG_DIR": "", "LOG_FORMAT": "JSON", "LOG_LEVEL": [1],
  "LISTEN_ADDR": "127.0.0.1:6100", "ADMIN_ADDR": "6101", "distributorMode": "MQ",
  "FRAME_LOG_BYTES": 123456789012345678901234567890123456789012345678901234567890
}`},
	{name: "characters not bytes", file: `{"DISTRIBUTOR_IP": "äöü😀", "RATE_LIMIT": -1}`},
	{name: "top is a list", file: ` [1]`},
	{name: "empty file", file: "\n"},
	{name: "missing comma", file: "{\n  \"RATE_LIMIT\": 5\n  \"VERBOSE\": true\n}"},
	{name: "unquoted secret", file: "{\n  // ü\n  \"DISTRIBUTOR_SECRET_KEY\": " + sampleSecretKey +
		"\n}"},
	{name: "open comment", file: "{} /*"},
	{name: "two documents", file: "{}{}"},
	{name: "not UTF-8", file: "{\xff}"},
	{name: "unknown keys", file: `{"hello": {"a": 1}, "DISTRIBUTOR_EXTRA": 5, "RATE_LIMITS": 5, "distributor_port": 1,
  "ARCHIVER_DATA": {"cyclesDB": "x"}, "` + strings.Repeat("x", 100) + `": 1}`},
	{name: "subscribers", file: `{"subscribers": [
  5,
  {},
  {"publicKey": "` + someKey + `", "expirationTimestamp": 0, "subscriptionType": "FIREHOSE", "name": "me"},
  {"publicKey": "` + strings.ToUpper(someKey) + `", "expirationTimestamp": 0, "subscriptionType": "ACCOUNTS"},
  {"publicKey": "` + someKey + `00", "expirationTimestamp": -1, "subscriptionType": "firehose"},
  {"publicKey": 5, "expirationTimestamp": "soon", "subscriptionType": null}
]}`},
	{name: "archiver data", file: `{"ARCHIVER_DATA": {"cycleDB": "", "accountDB": 5}}`},
	{name: "environment", env: []string{"RATE_LIMIT=abc", "VERBOSE=1", "limitToSubscribersOnly=yes",
		"subscribers=[{", "ARCHIVER_DATA=5", "LOG_FORMAT=xml"}},
	{name: "flags", args: []string{"--RATE_LIMIT", "abc", "--VERBOSE=1",
		"--no-limitToSubscribersOnly=true", "--DISTRIBUTOR_PORT", "--DISTRIBUTOR_IP=", "--DRAIN_MS="}},
	{name: "passed over", args: []string{"--nonsense", "5", "word", "--RATE_LIMITS=5", "-VERBOSE",
		"-x", "--no-RATE_LIMIT", "--subscribers", "[]", "--ARCHIVER_DATA={}",
		strings.Repeat("w", 100), "--DISTRIBUTOR_SECRET", "geheim", "-", "--", "--RATE_LIMIT", "5"}},
	{name: "secret key of another", file: `{"DISTRIBUTOR_PUBLIC_KEY": "` + someKey + `"}`, env: []string{"DISTRIBUTOR_SECRET_KEY=" + sampleSecretKey}},
	{name: "secret key malformed", file: `{"DISTRIBUTOR_SECRET_KEY": 4711, "DISTRIBUTOR_PUBLIC_KEY": "` + someKey + `"}`,
		env:  []string{"DISTRIBUTOR_SECRET_KEY=geheim"},
		args: []string{"--DISTRIBUTOR_SECRET_KEY=" + sampleSecretKey + "0"}},
	{name: "secret key damaged", file: `{"DISTRIBUTOR_SECRET_KEY": "4` + sampleSecretKey[1:] + `"}`},
	{name: "do not go together", file: `{"FRAME_LOG_BYTES": 1048576, "PING_TIMEOUT_MS": 1000, "PING_INTERVAL_MS": 1000}`},
	{name: "records too long", file: `{"MAX_RECORD_BYTES": 268435456}`},
	{name: "wrong ones are not compared", file: `{"FRAME_LOG_BYTES": 1, "PING_TIMEOUT_MS": 1, "MAX_WORKERS": 0, "NUMBER_OF_WORKERS": 9}`},
	{name: "few collectors", file: `{"MAX_CLIENTS_PER_CHILD": 2}`,
		env: []string{"NUMBER_OF_WORKERS=100"}},
	{name: "nobody can connect", args: []string{"--limitToSubscribersOnly"}},
	{name: "db path takes over", file: `{"ARCHIVER_DB_PATH": "all.sqlite3", "ARCHIVER_DB_DIR": "db", "ARCHIVER_DATA": {}}`},
	{name: "Latin-1", file: "{\"DATA_LOG_DIR\": \"caf\xe9\"}"},
}

func TestMessages(t *testing.T) {
	var got strings.Builder
	memory = func() (int64, int64) { return 1 << 30, 1 << 29 }
	defer func() { memory = Memory }()
	for _, m := range messages {
		file := m.file
		if file == "" {
			file = "{}"
		}
		_, warnings, err := load(t, file, m.env, m.args)
		if err == nil && len(warnings) == 0 {
			t.Errorf("%s: nothing is said", m.name)
		}
		got.WriteString("== " + m.name + "\n")
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				got.WriteString("error:   " + line + "\n")
			}
		}
		for _, w := range warnings {
			got.WriteString("warning: " + w.String() + "\n")
		}
		for _, secret := range []string{sampleSecretKey[:16], "geheim", "4711"} {
			if strings.Contains(got.String(), secret) {
				t.Fatalf("%s: a secret is shown:\n%s", m.name, got.String())
			}
		}
	}
	golden(t, "testdata/messages.golden", got.String())
}

var home, _ = os.Getwd()

// golden compares text with a file of this package, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	t.Chdir(home)
	if *update {
		writeFile(t, name, got)
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (see -update):\n%s", name, got)
	}
}

// With any number of problems the output stays readable.
func TestManyProblemsAreCounted(t *testing.T) {
	file := `{"subscribers": [` + strings.Repeat("1,", 60) + `]`
	for i := range 70 {
		file += `, "x` + formatInt(int64(i)) + `": 1`
	}
	_, warnings, err := load(t, file+"}", nil, nil)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxReported+1 || lines[maxReported] != "… and 10 more problems" {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	if len(warnings) != maxReported+1 || warnings[maxReported].Text != "… and 20 more warnings" {
		t.Errorf("%d warnings, the last is %q", len(warnings), warnings[len(warnings)-1])
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"rate_limit": "RATE_LIMIT", "RATELIMIT": "RATE_LIMIT", "Verbose": "VERBOSE",
		"verbos": "VERBOSE", "LISTEN": "LISTEN_ADDR",
		"DISTRIBUTOR_SECRET": "DISTRIBUTOR_SECRET_KEY", "subscriber": "subscribers",
		"stopDistributionAtCycles": "stopDistributionAtCycle",
		"":                         "", "hello": "", "port": "", "DIST": "", "DISTRIBUTOR_EXTRA": "",
		strings.Repeat("A", 1<<20): "",
	} {
		if got := nearest(name, keyNames()); got != want {
			t.Errorf("%.40q: %q, want %q", name, got, want)
		}
	}
}
