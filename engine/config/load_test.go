package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// load loads text as the default file of a fresh working directory; "" means no file.
func load(t *testing.T, text string, env, args []string) (*Config, []Warning, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if text != "" {
		writeFile(t, DefaultFile, text)
	}
	return Load(Source{Env: env, Args: args})
}

const (
	someKey  = "082300cdc1a90b9c5c3e5b13916e2147f6efcee7475c7936fda24d7a21e29887"
	otherKey = "0a180faac7b47fccf19ba542f4b409a09a87f89a84300c3dcbe4d16020fa4c3f"
)

func TestPrecedence(t *testing.T) {
	const file = `{"DISTRIBUTOR_IP": "file", "RATE_LIMIT": 1, "LOG_FORMAT": "json", "DRAIN_MS": 1500}`
	cfg, warnings, err := load(t, file,
		[]string{"DISTRIBUTOR_IP=env", "RATE_LIMIT=2", "DRAIN_MS=", "PATH=/bin", "=odd", "odd"},
		[]string{"--DISTRIBUTOR_IP", "flag"})
	if err != nil || len(warnings) != 0 {
		t.Fatal(warnings, err)
	}
	if cfg.DistributorIP != "flag" || cfg.RateLimit != 2 || cfg.LogFormat != "json" ||
		cfg.Drain != 1500*time.Millisecond ||
		cfg.DistributorPort != 6100 || cfg.File != DefaultFile {
		t.Errorf("got %v", cfg)
	}
}

func TestFileForm(t *testing.T) {
	cfg, warnings, err := load(t, `// the port
		{
			/* of the
			   test net */ "DISTRIBUTOR_PORT": "0x1770", // text is accepted
			"RATE_LIMIT": 1e2,
			"RATE_LIMIT": 2.0E2,
			"ARCHIVER_DATA": {"cycleDB": "c.db",},
			"subscribers": [{"publicKey": "`+someKey+`", "expirationTimestamp": "1600382607359", "subscriptionType": "ACCOUNTS"},],
			"DISTRIBUTOR_IP": "caf\u00e9 \ud83d\ude00",
			"VERBOSE": true,
		}`, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := "[distributor-config.json:5:4: RATE_LIMIT is given more than once: the last one counts]"; fmt.Sprint(warnings) != want {
		t.Errorf("warnings %v", warnings)
	}
	want := ArchiverData{"c.db", "accounts.sqlite3", "transactions.sqlite3", "receipts.sqlite3",
		"originalTxsData.sqlite3"}
	if cfg.DistributorPort != 6000 || cfg.RateLimit != 200 || cfg.ArchiverData != want ||
		!cfg.Verbose || cfg.DistributorIP != "café 😀" ||
		len(cfg.Subscribers) != 1 ||
		cfg.Subscribers[0] != (Subscriber{1600382607359, someKey, Accounts}) {
		t.Errorf("got %v", cfg)
	}
}

func TestFlagForms(t *testing.T) {
	cfg, warnings, err := load(t, `{"limitToSubscribersOnly": true, "VERBOSE": true, "subscribers": [], "ADMIN_ADDR": ":1"}`, nil, []string{
		"--stopDistributionAtCycle", "-1", "--DRAIN_MS=0", "--DISTRIBUTOR_IP=a=b",
		"--no-limitToSubscribersOnly", "--VERBOSE", "FALSE",
		"--ADMIN_ADDR=", "--DISTRIBUTOR_LOGS=--odd", "--RATE_LIMIT", "7", "--RATE_LIMIT", "8"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.StopAtCycle != -1 || cfg.Drain != 0 || cfg.DistributorIP != "a=b" ||
		cfg.LimitToSubscribersOnly || cfg.Verbose ||
		cfg.AdminAddr != "" || cfg.DistributorLogs != "--odd" || cfg.RateLimit != 8 {
		t.Errorf("got %v", cfg)
	}
	if want := "[flag --RATE_LIMIT is given more than once: the last one counts]"; fmt.Sprint(warnings) != want {
		t.Errorf("warnings %v", warnings)
	}
	for _, args := range [][]string{{"--help"}, {"-h"}, {"--RATE_LIMIT=x", "--help"}} {
		if _, _, err := load(t, "", nil, args); !errors.Is(err, ErrHelp) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// DISTRIBUTOR_MODE is the replaced service's second name for distributorMode. MQ must be refused,
// not become WS.
func TestModeAlias(t *testing.T) {
	_, _, err := load(t, `{"distributorMode": "WS"}`, []string{"DISTRIBUTOR_MODE=MQ"}, nil)
	if err == nil || err.Error() != `environment variable DISTRIBUTOR_MODE: distributorMode: found "MQ", expected "WS" ("MQ", RabbitMQ, is not offered)` {
		t.Errorf("got %v", err)
	}
	if _, _, err := load(t, "", []string{"DISTRIBUTOR_MODE=MQ", "distributorMode=WS"},
		nil); err != nil {
		t.Errorf("the key itself must win: %v", err)
	}
}

// A key that was renamed is read under its former name in every layer, with a warning that names
// the new one. Within a layer the new name counts, in any order.
func TestFormerNames(t *testing.T) {
	const file = "distributor-config.json"
	for _, c := range []struct {
		name, file string
		env, args  []string
		want       time.Duration
		place      string
	}{
		{name: "file", file: `{"UPGRADE_DRAIN_MS": 5}`, want: 5, place: file + ":1:22"},
		{name: "environment", env: []string{"UPGRADE_DRAIN_MS=6"}, want: 6,
			place: "environment variable UPGRADE_DRAIN_MS"},
		{name: "flag", args: []string{"--UPGRADE_DRAIN_MS", "7"}, want: 7,
			place: "flag --UPGRADE_DRAIN_MS"},
		{name: "new name first", file: `{"HANDOVER_DRAIN_MS": 1, "UPGRADE_DRAIN_MS": 5}`, want: 1,
			place: file + ":1:46"},
		{name: "new name last", file: `{"UPGRADE_DRAIN_MS": 5, "HANDOVER_DRAIN_MS": 1}`, want: 1,
			place: file + ":1:22"},
		{name: "both in the environment", want: 1,
			env: []string{"HANDOVER_DRAIN_MS=1", "UPGRADE_DRAIN_MS=6"}},
	} {
		text := c.file
		if text == "" {
			text = "{}"
		}
		cfg, warnings, err := load(t, text, c.env, c.args)
		if err != nil || cfg.HandoverDrain != c.want*time.Millisecond {
			t.Errorf("%s: %v, %v", c.name, cfg, err)
		}
		want := "[" + c.place + ": UPGRADE_DRAIN_MS is now called HANDOVER_DRAIN_MS; " +
			"rename it, because a later version will not read it]"
		if c.place == "" {
			want = "[]"
		}
		if got := fmt.Sprint(warnings); got != want {
			t.Errorf("%s: warnings %s\nwant %s", c.name, got, want)
		}
	}
}

func TestNamedFile(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "a.json", `{"RATE_LIMIT": 1}`)
	writeFile(t, "b.json", `{"RATE_LIMIT": 2}`)
	writeFile(t, DefaultFile, `{"RATE_LIMIT": 3}`)
	for want, src := range map[int]Source{
		1: {Path: "a.json"},
		2: {Path: "a.json", Args: []string{"--config", "b.json"}},
		3: {},
	} {
		if cfg, _, err := Load(src); err != nil || cfg.RateLimit != want {
			t.Errorf("%v: %v, %v", src, cfg, err)
		}
	}
	for want, src := range map[string]Source{
		"reading the configuration: open missing.json: no such file or directory": {Path: "missing.json"},
		"reading the configuration: open none.json: no such file or directory":    {Args: []string{"--config=none.json"}},
		"reading the configuration: read .: is a directory":                       {Path: "."},
		"flag --config: found no value, expected --config PATH or --config=PATH":  {Path: "a.json", Args: []string{"--config="}},
		"flag --config: found no value, expected --config PATH or --config=PATH\n" +
			"flag --RATE_LIMIT: found no value, expected --RATE_LIMIT VALUE or --RATE_LIMIT=VALUE": {Args: []string{"--config", "--RATE_LIMIT"}},
	} {
		if _, _, err := Load(src); err == nil || err.Error() != want {
			t.Errorf("%v:\ngot  %v\nwant %s", src, err, want)
		}
	}
	if err := os.WriteFile("long.json", bytes.Repeat([]byte(" "), maxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(Source{Path: "long.json"}); err == nil ||
		!strings.Contains(err.Error(), "longer than") {
		t.Errorf("long file: %v", err)
	}
}

func TestMissingDefaultFileWarns(t *testing.T) {
	cfg, warnings, err := load(t, "", nil, nil)
	want := "[distributor-config.json: there is no such file in the working directory; going on without one]"
	if err != nil || fmt.Sprint(warnings) != want || cfg.File != "" {
		t.Errorf("%v, %v, %q", err, warnings, cfg.File)
	}
	if cfg.DistributorPort != 6100 || !cfg.UsesSampleKeys() {
		t.Errorf("got %v", cfg)
	}
}

// A variable with a list or object replaces that of the file. Names that it leaves out have their
// defaults.
func TestEnvironmentReplacesObjects(t *testing.T) {
	cfg, _, err := load(t, `{"ARCHIVER_DATA": {"cycleDB": "c.file", "accountDB": "a.file"}}`, []string{`ARCHIVER_DATA={"cycleDB":"c.env"}`}, nil)
	if err != nil || cfg.ArchiverData.CycleDB != "c.env" ||
		cfg.ArchiverData.AccountDB != "accounts.sqlite3" {
		t.Errorf("%v, %v", cfg, err)
	}
}

func TestSampleKeys(t *testing.T) {
	c := Default()
	if !c.UsesSampleKeys() {
		t.Error("the defaults are the sample")
	}
	c.SecretKey = Secret(strings.ToUpper(string(c.SecretKey)))
	if !c.UsesSampleKeys() {
		t.Error("case does not make another key")
	}
	c.SecretKey = "1" + c.SecretKey[1:]
	if c.UsesSampleKeys() {
		t.Error("another key is taken for the sample")
	}
}

func TestLevel(t *testing.T) {
	for _, c := range []struct {
		level   string
		verbose bool
		want    string
	}{{"info", false, "INFO"}, {"debug", false, "DEBUG"}, {"warn", false, "WARN"},
		{"error", false, "ERROR"}, {"error", true, "DEBUG"}} {
		cfg := &Config{LogLevel: c.level, Verbose: c.verbose}
		if got := cfg.Level().String(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
