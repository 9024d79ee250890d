package enginetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The three commands by hand, as the README has them: the distributor, an
// archiver and a collector, each a process.
func TestByHand(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), strconv.Itoa(freePort(t))
	logs, url := filepath.Join(dir, "data-logs"), "http://127.0.0.1:"+port
	serve := start(t, dir, "serve", "--DATA_LOG_DIR", logs, "--STATE_DIR", filepath.Join(dir, "state"), "--LISTEN_ADDR", "127.0.0.1", "--DISTRIBUTOR_PORT", port, "--ADMIN_ADDR", "off")
	Until(t, "the distributor answers", func() bool {
		r, err := http.Get(url + "/is-alive")
		if err == nil {
			r.Body.Close()
		}
		return err == nil && r.StatusCode == 200
	}, nil)
	// A first start begins at the logs' current end, so what comes now is sent to the last record.
	// The logs are rotated, and are long enough that none is deleted before a distributor under the
	// race detector, on a busy machine, has read it.
	simulate := start(t, dir, "simulate", "--dir", logs, "--rate", "300", "--max-bytes", "1000000")

	const count = 400
	tail := Run(t, dir, "tail", "--url", url, "--count", strconv.Itoa(count), "--from", "earliest")
	if tail.Status != 0 {
		t.Fatalf("tail: exit status %d: %s", tail.Status, tail.Stderr)
	}
	records := strings.Split(strings.TrimSuffix(tail.Stdout, "\n"), "\n")
	if len(records) != count || !strings.Contains(tail.Stderr, fmt.Sprintf("%d verified", count)) {
		t.Errorf("tail printed %d records: %s", len(records), tail.Stderr)
	}
	for _, r := range records {
		if !json.Valid([]byte(r)) {
			t.Fatalf("no JSON: %.100q", r)
		}
	}
	other := Run(t, dir, "tail", "--url", url, "--count", "1", "--from", "earliest", "--owner", strings.Repeat("ab", 32))
	if other.Status != 1 || other.Stdout != "" {
		t.Errorf("tail that wants another's signature: exit status %d, %q", other.Status, other.Stdout)
	}

	// The archiver goes first, then everything it wrote is there, then the end.
	if status := simulate.interrupt(t); status != 0 {
		t.Errorf("simulate: exit status %d: %s", status, simulate.stderr())
	}
	written := 0
	for _, name := range files(t, logs) {
		if strings.HasPrefix(name, "active-") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(logs, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "{") {
				written++
			}
		}
	}
	all := Run(t, dir, "tail", "--url", url, "--count", strconv.Itoa(written), "--seconds", "300", "--from", "earliest", "--format", "none")
	if all.Status != 0 {
		t.Errorf("%d records are in the data logs; tail ended with status %d: %s", written, all.Status, all.Stderr)
	}
	if status := serve.interrupt(t); status != 0 {
		t.Errorf("serve: exit status %d: %s", status, serve.stderr())
	}
	gone := Run(t, dir, "tail", "--url", url, "--count", "1", "--reconnect=false")
	if gone.Status != 4 {
		t.Errorf("tail without a distributor: exit status %d: %s", gone.Status, gone.Stderr)
	}
}

// running is a command in the background.
type running struct {
	cmd *exec.Cmd
	out *output
	end chan struct{}
}

func start(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	r := &running{cmd: command(built, dir, args...), out: &output{more: make(chan struct{})}, end: make(chan struct{})}
	pipe, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.end)
		r.out.read(pipe)
		_ = r.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.end
		if fault := r.out.fault(); fault != "" {
			t.Error(fault)
		}
	})
	return r
}

func (r *running) stderr() string { return r.out.last(50) }

// interrupt is Ctrl-C.
func (r *running) interrupt(t *testing.T) (status int) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	within(t, r.end, func() {})
	return r.cmd.ProcessState.ExitCode()
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What keygen prints, in either form, is what the configuration takes; messages
// are signed with it then.
func TestKeygen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var pair struct{ PublicKey, SecretKey string }
	r := Run(t, dir, "keygen")
	if err := json.Unmarshal([]byte(r.Stdout), &pair); err != nil || r.Status != 0 {
		t.Fatalf("%+v: %v", r, err)
	}
	lines := Run(t, dir, "keygen", "--config")
	if lines.Status != 0 || strings.Contains(lines.Stdout, pair.SecretKey) {
		t.Fatalf("%+v", lines)
	}
	fromLines := make(Settings)
	if err := json.Unmarshal([]byte("{"+lines.Stdout+"}"), &fromLines); err != nil || len(fromLines) != 2 {
		t.Fatalf("%q: %v", lines.Stdout, err)
	}
	for name, settings := range map[string]Settings{
		"JSON":   {"DISTRIBUTOR_PUBLIC_KEY": pair.PublicKey, "DISTRIBUTOR_SECRET_KEY": pair.SecretKey},
		"config": fromLines,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t, settings)
			archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: NewBook(), Sizes: []int{100}})
			d.Start()
			if err := archiver.Write(3); err != nil {
				t.Fatal(err)
			}
			tail := Run(t, d.Dir, "tail", "--url", d.URL, "--count", "3", "--from", "earliest", "--owner", settings["DISTRIBUTOR_PUBLIC_KEY"].(string))
			if tail.Status != 0 {
				t.Errorf("exit status %d: %s", tail.Status, tail.Stderr)
			}
			d.Stop()
		})
	}
	// And as the key of a collector.
	file := filepath.Join(dir, "collector.json")
	if err := os.WriteFile(file, []byte(r.Stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	d := New(t, Settings{"limitToSubscribersOnly": true, "subscribers": []Settings{{"publicKey": pair.PublicKey, "expirationTimestamp": 0, "subscriptionType": "FIREHOSE"}}})
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: NewBook(), Sizes: []int{100}})
	d.Start()
	if err := archiver.Write(2); err != nil {
		t.Fatal(err)
	}
	if tail := Run(t, dir, "tail", "--url", d.URL, "--count", "2", "--from", "earliest", "--key-file", file); tail.Status != 0 {
		t.Errorf("tail with the key: exit status %d: %s", tail.Status, tail.Stderr)
	}
	if tail := Run(t, dir, "tail", "--url", d.URL, "--count", "2", "--from", "earliest"); tail.Status != 3 || !strings.Contains(tail.Stderr, "not in the list of subscribers") {
		t.Errorf("tail without the key: exit status %d: %s", tail.Status, tail.Stderr)
	}
}

// The demonstration does what it says, and leaves nothing.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := Run(t, dir, "demo", "--seconds", "1", "--rate", "100", "--dir", filepath.Join(dir, "kept"))
	if r.Status != 0 || !strings.Contains(r.Stdout, "each verified once") {
		t.Errorf("exit status %d: %s\n%s", r.Status, r.Stdout, r.Stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "kept", "state", "checkpoint.json")); err != nil {
		t.Error(err)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		args   string
		status int
		stdout string
		stderr string
	}{
		{"version", 0, "distributor ", ""},
		{"help", 0, "usage: distributor [command] [flags]", ""},
		{"--help", 0, "usage: distributor [command] [flags]", ""},
		{"serve --help", 0, "DATA_LOG_DIR", ""},
		{"tail --help", 0, "--from", ""},
		{"simulate --help", 0, "--rate", ""},
		{"demo --help", 0, "--seconds", ""},
		{"keygen --help", 0, "--config", ""},
		{"sevre", 78, "", `there is no command "sevre"`},
		{"tail --nonsense", 78, "", "--nonsense"},
		{"tail --from yesterday", 78, "", "--from"},
		{"simulate --nonsense", 78, "", "--nonsense"},
		{"demo --seconds -1", 78, "", "--help"},
		{"keygen word", 78, "", "--help"},
	} {
		r := Run(t, dir, strings.Fields(c.args)...)
		if r.Status != c.status || !strings.Contains(r.Stdout, c.stdout) || !strings.Contains(r.Stderr, c.stderr) || c.stdout == "" && r.Stdout != "" || c.stderr == "" && r.Stderr != "" {
			t.Errorf("distributor %s: exit status %d, want %d; %q, %q", c.args, r.Status, c.status, r.Stdout, r.Stderr)
		}
	}
	help := Run(t, dir, "help").Stdout
	for _, name := range []string{"serve", "tail", "simulate", "demo", "keygen", "version"} {
		if !strings.Contains(help, "\n  "+name+" ") {
			t.Errorf("help does not list %s", name)
		}
	}
	if names := files(t, dir); len(names) > 0 {
		t.Errorf("files were made: %v", names)
	}
}

// A worker started by hand says so instead of taking descriptors that are not
// meant for it.
func TestWorkerByHand(t *testing.T) {
	t.Parallel()
	r := Run(t, t.TempDir(), "worker")
	if r.Status != 1 || !strings.Contains(r.Stderr, "worker failed") {
		t.Errorf("%+v", r)
	}
}
