package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

const hashKeyHex = "69fa4195670576c0160d660c3be36556ff8d504725be8a59b5a96509e0c994bc"

// serving is a distributor that a test has started.
type serving struct {
	log  *console
	addr string
	stop func(signal os.Signal) error // waits for its end
	hup  func()
}

var listening = regexp.MustCompile(`msg=distributing address=(\S+)`)

func startServing(t *testing.T, dir string, env ...string) serving {
	t.Helper()
	s := serving{log: new(console)}
	c := distributor(t, dir, "serve", "--DISTRIBUTOR_PORT", "0", "--LISTEN_ADDR", "127.0.0.1",
		"--ADMIN_ADDR=", "--DATA_LOG_DIR", "data-logs", "--FRAME_LOG_BYTES", "65536",
		"--FRAME_LOG_SEGMENT_BYTES", "65536", "--DRAIN_MS", "0")
	c.Env = append(c.Env, env...)
	c.Stderr = s.log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	s.stop = func(signal os.Signal) error {
		_ = c.Process.Signal(signal)
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(time.Minute):
			t.Error("it does not stop")
			return c.Process.Kill()
		}
	}
	s.hup = func() { _ = c.Process.Signal(syscall.SIGHUP) }
	t.Cleanup(func() { _ = s.stop(syscall.SIGKILL) })
	s.waitFor(t, "msg=distributing")
	s.addr = listening.FindStringSubmatch(s.log.String())[1]
	return s
}

func (s serving) waitFor(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(s.log.String(),
		text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in the log:\n%s", text, s.log)
		}
	}
}

// ask sends a request line and returns the whole answer.
func ask(t *testing.T, addr, target, headers string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", target, headers)
	b, _ := io.ReadAll(conn)
	return string(b)
}

// Neither the secret key nor the URL of an upgrade is ever logged, on standard error or in the
// files, even with everything logged.
func TestLogsHoldNoSecrets(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	public, secret, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	_, collectorKey, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	hashKey, err := shardus.ParseHashKey(hashKeyHex)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := func(secretKey, more string) {
		text := fmt.Sprintf(`{"DISTRIBUTOR_PUBLIC_KEY":%q,"DISTRIBUTOR_SECRET_KEY":%q,"LOG_TO":"both","VERBOSE":true%s}`, public.String(), secretKey, more)
		if err := os.WriteFile(filepath.Join(dir, "distributor-config.json"), []byte(text),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	config(secret.Reveal(), "")
	s := startServing(t, dir)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := collector.Dial(ctx,
		collector.Options{URL: "http://" + s.addr, Keys: collectorKey, HashKey: hashKey})
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: 1fGLD1vqgfBGILVGvdZSAA==\r\n"
	signed, err := shardus.NewSigner(collectorKey, hashKey).AppendSigned(nil,
		mustParse(t, `{"collectorInfo":{"subscriptionType":"FIREHOSE","timestamp":1},"sender":"`+
			strings.Repeat("ab", 32)+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{url.QueryEscape(string(signed)), "tellTale",
		"%7B%22tellTale%22%3A1%7D", "%zztellTale"} {
		ask(t, s.addr, "/?data="+data, upgrade)
		ask(t, s.addr, "/%zz?data="+data, upgrade)
		ask(t, s.addr, "/nowhere?data="+data, "Connection: close\r\n")
	}
	// Reload with another secret key, with an invalid one, and with a file that is not JSON.
	_, other, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ key, more string }{{other.Reveal(), ""},
		{secret.Reveal()[:100] + "zz", ""}, {secret.Reveal(), `,"DISTRIBUTOR_SECRET_KEY":`},
		{secret.Reveal(), `,"RATE_LIMIT":77`}} {
		config(c.key, c.more)
		s.hup()
		for end := time.Now().Add(time.Minute); strings.Count(s.log.String(), "reloaded") <= i &&
			time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	s.waitFor(t, "RATE_LIMIT: 5000 → 77")
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Errorf("stopped with %v", err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "distributor-logs", "distributor.log"))
	if err != nil {
		t.Fatal(err)
	}
	said := s.log.String() + string(file)
	for what, telling := range map[string]string{
		"the secret key": secret.Reveal()[:60], "another secret key": other.Reveal()[:60],
		"the collector's": collectorKey.Reveal()[:60],
		"a URL":           "data=", "an escaped URL": "%7B", "data": "tellTale",
		"a signature": string(signed[strings.Index(string(signed), `"sig":"`)+7:][:40]),
	} {
		if at := strings.Index(said, telling); at >= 0 {
			t.Errorf("%s is in the log: %s", what, said[max(0, at-200):min(len(said), at+200)])
		}
	}
	// The test would have seen a leak: all of this was logged.
	for _, want := range []string{"VERBOSE=true", "request refused", "reason=malformed_data",
		"worker=1", "configuration not reloaded"} {
		if strings.Count(said, want) < 2 { // on standard error and in the file
			t.Errorf("no %q in the log:\n%s", want, said)
		}
	}
}

func mustParse(t *testing.T, text string) shardus.Value {
	t.Helper()
	v, err := shardus.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A configuration that cannot be used ends the process with status 78 and an error without secrets.
func TestBadConfigurationTellsNoSecret(t *testing.T) {
	_, secret, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	out, err := distributor(t, t.TempDir(), "serve", "--DISTRIBUTOR_SECRET_KEY", secret.Reveal(),
		"--LOG_TO", "nowhere").CombinedOutput()
	if err == nil || !strings.Contains(err.Error(), "status 78") ||
		strings.Contains(string(out), secret.Reveal()[:60]) || !strings.Contains(string(out), "LOG_TO") {
		t.Errorf("%v: %s", err, out)
	}
}

// A full disk under the log files is logged once, and the distributor continues.
func TestLogDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "distributor-logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full",
		filepath.Join(dir, "distributor-logs", "distributor.log")); err != nil {
		t.Fatal(err)
	}
	s := startServing(t, dir, "LOG_TO=files")
	if got := ask(t, s.addr, "/is-alive", "Connection: close\r\n"); !strings.HasSuffix(got, "OK") {
		t.Error(got)
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if said := s.log.String(); strings.Count(said, "log file cannot be written") != 1 ||
		!strings.Contains(said, "msg=stopped") {
		t.Error(said)
	}
}

// The distributor stays when the reader of its standard error is gone.
func TestLogReaderGone(t *testing.T) {
	dir := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := distributor(t, dir, "serve", "--DISTRIBUTOR_PORT", "0", "--LISTEN_ADDR", "127.0.0.1",
		"--ADMIN_ADDR=", "--DATA_LOG_DIR", "data-logs", "--FRAME_LOG_BYTES", "65536",
		"--FRAME_LOG_SEGMENT_BYTES", "65536", "--DRAIN_MS", "0")
	c.Stderr = w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill() }()
	w.Close()
	var addr string
	for in := bufio.NewScanner(r); addr == "" && in.Scan(); {
		if found := listening.FindStringSubmatch(in.Text()); found != nil {
			addr = found[1]
		}
	}
	r.Close()
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	for _, target := range []string{"/", "/?data=x"} { // each logs a line
		if got := ask(t, addr, target, upgrade); !strings.Contains(got, " 400 ") {
			t.Errorf("%s: %q", target, got)
		}
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	if err := c.Wait(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}
