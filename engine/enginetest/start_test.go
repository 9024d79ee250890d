package enginetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"distributor/wsproto/shardus"
)

// What cannot be used is refused at the start, with words that say where to
// look, and nothing is left running or listening.
func TestConfigurationErrors(t *testing.T) {
	t.Parallel()
	other := newKey(t)
	sample := hexSecret(signer.PublicKey().String())
	for name, c := range map[string]struct {
		file  string
		flags []string
		says  []string
	}{
		"ill-typed":      {"{\n  \"RATE_LIMIT\": 5,\n  \"PING_INTERVAL_MS\": \"soon\"\n}", nil, []string{"distributor-config.json:3:", "PING_INTERVAL_MS", `"soon"`}},
		"out of range":   {"{\"DISTRIBUTOR_PORT\": 70000}", nil, []string{"distributor-config.json:1:", "DISTRIBUTOR_PORT", "70000", "65535"}},
		"no JSON":        {"{\n  \"RATE_LIMIT\": 5,,\n}", nil, []string{"distributor-config.json:2:"}},
		"two problems":   {"{\n  \"RATE_LIMIT\": 0,\n  \"DRAIN_MS\": -1\n}", nil, []string{"distributor-config.json:2:", "RATE_LIMIT", "distributor-config.json:3:", "DRAIN_MS"}},
		"subscriber":     {"{\n  \"subscribers\": [\n    {\"publicKey\": \"abc\"}\n  ]\n}", nil, []string{"distributor-config.json:3:", "subscribers[0].publicKey"}},
		"flag":           {"{}", []string{"--LOG_FORMAT", "xml"}, []string{"--LOG_FORMAT", `"xml"`}},
		"another's key":  {"{\n  \"DISTRIBUTOR_SECRET_KEY\": \"" + other.Reveal() + "\"\n}", nil, []string{"distributor-config.json:2:", "DISTRIBUTOR_SECRET_KEY", "DISTRIBUTOR_PUBLIC_KEY"}},
		"broken key":     {"{\n  \"DISTRIBUTOR_SECRET_KEY\": \"" + sample + "\"\n}", nil, []string{"distributor-config.json:2:", "DISTRIBUTOR_SECRET_KEY"}},
		"no such file":   {"{}", []string{"--config", "elsewhere.json"}, []string{"elsewhere.json"}},
		"do not fit":     {"{\n  \"PING_TIMEOUT_MS\": 1000,\n  \"PING_INTERVAL_MS\": 2000\n}", nil, []string{"distributor-config.json:2:", "distributor-config.json:3:", "PING_TIMEOUT_MS", "PING_INTERVAL_MS"}},
		"not offered":    {"{\"distributorMode\": \"MQ\"}", nil, []string{"distributor-config.json:1:", "distributorMode"}},
		"flag's value":   {"{}", []string{"--DISTRIBUTOR_PORT"}, []string{"--DISTRIBUTOR_PORT"}},
		"hash key":       {"{\n\n  \"DISTRIBUTOR_HASH_KEY\": \"12\"\n}", nil, []string{"distributor-config.json:3:", "DISTRIBUTOR_HASH_KEY"}},
		"list for value": {"[]", nil, []string{"distributor-config.json:1:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "distributor-config.json"), []byte(c.file), 0o644); err != nil {
				t.Fatal(err)
			}
			r := Run(t, dir, append([]string{"serve"}, c.flags...)...)
			if r.Status != exitConfig {
				t.Errorf("exit status %d, want %d", r.Status, exitConfig)
			}
			for _, words := range c.says {
				if !strings.Contains(r.Stderr, words) {
					t.Errorf("%q is not in: %s", words, r.Stderr)
				}
			}
			for _, secret := range []string{other.Reveal(), sample} {
				if strings.Contains(r.Stderr, secret[:64]) {
					t.Errorf("a secret key is shown: %s", r.Stderr)
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("files were made: %v, %v", left, err)
			}
		})
	}
}

// hexSecret has a seed that does not belong to the public key.
func hexSecret(public string) string { return strings.Repeat("7", 64) + public }

// What cannot be had is refused at the start with exit status 1.
func TestCannotStart(t *testing.T) {
	t.Parallel()
	running := newHealthy(t, nil)
	running.Start()
	for name, c := range map[string]struct {
		settings Settings
		says     []string
	}{
		"port in use":        {Settings{"DISTRIBUTOR_PORT": running.Port}, []string{"DISTRIBUTOR_PORT", "address already in use"}},
		"second instance":    {Settings{"STATE_DIR": filepath.Join(running.Dir, "state")}, []string{"STATE_DIR", fmt.Sprintf("process %d", running.Pid())}},
		"state in a file":    {Settings{"STATE_DIR": running.ConfigFile()}, []string{"STATE_DIR", running.ConfigFile(), "not a directory"}},
		"state below a file": {Settings{"STATE_DIR": running.ConfigFile() + "/state"}, []string{"STATE_DIR", running.ConfigFile(), "not a directory"}},
		"state not writable": {Settings{"STATE_DIR": "/proc/distributor"}, []string{"STATE_DIR", "/proc/distributor"}}, // nor for root
		"admin port in use":  {Settings{"ADMIN_ADDR": fmt.Sprintf("127.0.0.1:%d", running.Port)}, []string{"ADMIN_ADDR", "address already in use"}},
		"no such address":    {Settings{"LISTEN_ADDR": "192.0.2.1"}, []string{"LISTEN_ADDR"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t, c.settings)
			r := Run(t, d.Dir, "serve")
			if r.Status != 1 {
				t.Errorf("exit status %d, want 1", r.Status)
			}
			for _, words := range c.says {
				if !strings.Contains(r.Stderr, words) {
					t.Errorf("%q is not in: %s", words, r.Stderr)
				}
			}
		})
	}
	t.Cleanup(func() { // when all have tried
		if status, body := running.Health(); status != 200 {
			t.Errorf("the first instance is disturbed: %d %s", status, body)
		}
		running.Stop()
	})
}

// The secret key is in no process but the primary, whichever way that got it: not
// in their environment, their arguments, nor their memory.
func TestOnlyThePrimaryKnowsTheSecretKey(t *testing.T) {
	for name, give := range map[string]func(d *Distributor, public, secret string){
		"file": func(d *Distributor, public, secret string) {
			d.Configure(Settings{"DISTRIBUTOR_PUBLIC_KEY": public, "DISTRIBUTOR_SECRET_KEY": secret})
		},
		"environment": func(d *Distributor, public, secret string) {
			d.Env = []string{"DISTRIBUTOR_PUBLIC_KEY=" + public, "DISTRIBUTOR_SECRET_KEY=" + secret}
		},
		"flag": func(d *Distributor, public, secret string) {
			d.Args = []string{"--DISTRIBUTOR_PUBLIC_KEY", public, "--DISTRIBUTOR_SECRET_KEY=" + secret}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := newKey(t)
			d := New(t, Settings{"ADMIN_ADDR": "127.0.0.1:0", "LOG_LEVEL": "debug"})
			give(d, secret.Public().String(), secret.Reveal())
			d.Start()
			MustConnect(t, d.URL, PeerOptions{Key: newKey(t)})
			seed := secret.Reveal()[:64]
			raw, err := shardus.ParsePublicKey(seed) // 32 bytes of hex, whatever they are
			if err != nil {
				t.Fatal(err)
			}
			if !inMemory(t, d.Pid(), []byte(seed), raw[:]) {
				t.Error("the key is not found in the primary: this test would find nothing")
			}
			if _, body := ask(t, "POST", d.URL+"/totalData", "{}", "Content-Type", "application/json"); !strings.Contains(body, `"sign":{"owner":"`+secret.Public().String()) {
				t.Errorf("the API does not sign: %s", body)
			}
			for _, path := range []string{
				"/", "/status", "/is-healthy", "/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1",
				"/debug/pprof/symbol", "/debug/pprof/trace?seconds=0.1", "/debug/pprof/profile?seconds=1", "/debug/pprof/query/cmdline", "/debug/pprof/worker/1/cmdline",
			} {
				code, text := ask(t, "GET", d.admin()+path, "")
				if strings.Contains(text, seed) {
					t.Errorf("%s shows the secret key", path)
				}
				if path == "/debug/pprof/cmdline" && (code != 200 || !strings.Contains(text, "\x00serve") || name == "flag" && !strings.Contains(text, "--DISTRIBUTOR_SECRET_KEY=(secret)")) {
					t.Errorf("%d %q", code, text)
				}
			}
			if said := d.Log(func(l Line) bool { return strings.Contains(l.Text, seed) }); len(said) != 0 {
				t.Errorf("the secret key is in the log: %v", said)
			}
			for _, w := range append(d.Workers(), d.Query()) {
				for _, file := range []string{"environ", "cmdline"} {
					text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", w.Pid, file))
					if err != nil {
						t.Fatal(err)
					}
					if strings.Contains(string(text), seed) {
						t.Errorf("the secret key is in the %s of process %d", file, w.Pid)
					}
				}
				if inMemory(t, w.Pid, []byte(seed), raw[:]) {
					t.Errorf("process %d holds the secret key", w.Pid)
				}
			}
		})
	}
}
