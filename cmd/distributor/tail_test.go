package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/collector/firehosetest"
	"distributor/wsproto/shardus"

	"github.com/gobwas/ws"
)

// console is a writer that several goroutines may use.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func runTail(ctx context.Context, log *firehosetest.Log,
	args ...string) (status int, out, errs string) {
	var stdout, stderr console
	if log != nil {
		args = append(args, "--hash-key", hexKey(log.HashKey))
	}
	status = tailCommand(ctx, args, &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

// hexKey formats a hash key as a public key is formatted.
func hexKey(k shardus.HashKey) string { return shardus.PublicKey(k).String() }

// sampleLog returns a log of three records, and what tail prints for it.
func sampleLog(t *testing.T) (log *firehosetest.Log, all string) {
	log = firehosetest.NewLog(t)
	log.Add("receipt", `{"a":1}`)
	log.Add("cycle", `{"counter":2}`)
	log.Add("receipt", `{"a":3}`)
	return log, "{\"a\":1}\n{\"counter\":2}\n{\"a\":3}\n"
}

// stream sends log from the requested position, then its position, and waits.
func stream(log *firehosetest.Log) func(*firehosetest.Conn) {
	return func(c *firehosetest.Conn) {
		from, _ := wsproto.ParseFrom(c.Parameter("from"))
		c.Send(log.Since(from.Position), firehosetest.Ping(log.End()))
		c.WaitForClose()
	}
}

func TestTailPrints(t *testing.T) {
	log, all := sampleLog(t)
	url := firehosetest.Start(t, stream(log))
	for _, c := range []struct {
		args string
		want string
	}{
		{"--count 3", all},
		{"--count 2", "{\"a\":1}\n{\"counter\":2}\n"},
		{"--count 2 --streams receipt", "{\"a\":1}\n{\"a\":3}\n"},
		{"--count 1 --streams originalTx,cycle", "{\"counter\":2}\n"},
		{"--count 3 --format none", ""},
		{"--count 1 --format messages",
			string(log.Signer.AppendMessage(nil, "receipt", []byte(`{"a":1}`))) + "\n"},
		{"--count 3 --owner " + log.Signer.PublicKey().String(), all},
		{"--stop-at-idle 50", all},
		{"--seconds 0.05", all},
	} {
		status, out, errs := runTail(t.Context(), log, append(strings.Fields(c.args), "--url", url)...)
		if status != exitOK || out != c.want {
			t.Errorf("%s: status %d, %q, %s", c.args, status, out, errs)
		}
	}
}

func TestTailGoesOnWhereItEnded(t *testing.T) {
	log, all := sampleLog(t)
	url := firehosetest.Start(t, func(c *firehosetest.Conn) {
		from, _ := wsproto.ParseFrom(c.Parameter("from"))
		c.Send(firehosetest.Ping(from.Position), log.Since(from.Position))
		c.WaitForClose()
	})
	status, first, errs := runTail(t.Context(), log, "--url", url, "--count", "2", "--from",
		wsproto.Position{Log: log.ID}.String())
	token := regexp.MustCompile(`--from (\S+)`).FindStringSubmatch(errs)
	if status != exitOK || token == nil {
		t.Fatalf("status %d, %s", status, errs)
	}
	status, rest, errs := runTail(t.Context(), log, "--url", url, "--count", "1", "--from", token[1])
	if status != exitOK || first+rest != all {
		t.Errorf("status %d, %q then %q, %s", status, first, rest, errs)
	}
}

// Tail shows a gap that the server reports, and the exit status says so even if every message was
// verified.
func TestTailTellsOfGaps(t *testing.T) {
	log, all := sampleLog(t)
	gap := wsproto.AppendTextFrame(nil,
		log.Signer.AppendMessage(nil, "notice", []byte(`{"stream":"receipt","type":"gap"}`)))
	url := firehosetest.Start(t, func(c *firehosetest.Conn) {
		if c.Parameter("notices") != "gap" {
			t.Error("it did not ask")
		}
		c.Send(firehosetest.Ping(wsproto.Position{Log: log.ID}), gap, log.Since(wsproto.Position{}),
			firehosetest.Ping(log.End()))
		c.WaitForClose()
	})
	status, out, errs := runTail(t.Context(), log, "--url", url, "--count", "3")
	if status != exitGaps || out != all ||
		!strings.Contains(errs, `may have missed records: {"stream":"receipt","type":"gap"}`) ||
		!strings.Contains(errs, "3 verified") ||
		!strings.Contains(errs, "gaps reported by the server: 1") {
		t.Errorf("status %d, %q, %s", status, out, errs)
	}
}

func TestTailReconnects(t *testing.T) {
	log, all := sampleLog(t)
	var connections atomic.Int32
	url := firehosetest.Start(t, func(c *firehosetest.Conn) {
		from, _ := wsproto.ParseFrom(c.Parameter("from"))
		frames := log.Since(from.Position)
		c.Send(firehosetest.Ping(from.Position))
		switch connections.Add(1) {
		case 1: // the connection breaks inside the second message
			c.Send(frames[:len(log.Signer.AppendMessage(nil, "receipt", []byte(`{"a":1}`)))+50])
		case 2: // the server is stopped
			c.Send(wsproto.AppendClose(nil, wsproto.ServerShutdown.Code, wsproto.ServerShutdown.Reason))
			c.WaitForClose()
		default:
			c.Send(frames)
			c.WaitForClose()
		}
	})
	status, out, errs := runTail(t.Context(), log, "--url", url, "--count", "3", "--from",
		wsproto.Position{Log: log.ID}.String())
	if status != exitOK || out != all || connections.Load() != 3 ||
		strings.Count(errs, "connecting again") != 2 {
		t.Errorf("status %d, %q after %d connections, %s", status, out, connections.Load(), errs)
	}
}

func TestTailExitStatus(t *testing.T) {
	log, _ := sampleLog(t)
	other := firehosetest.NewLog(t)
	forged := other.Add("receipt", "1")
	end := log.End()
	send := func(pieces ...[]byte) string {
		return firehosetest.Start(t, func(c *firehosetest.Conn) { c.Send(pieces...); c.WaitForClose() })
	}
	closing := func(d wsproto.Disconnect) string {
		return send(wsproto.AppendClose(nil, d.Code, d.Reason))
	}
	hangUp := firehosetest.Start(t, func(*firehosetest.Conn) {})
	for _, c := range []struct {
		name   string
		url    string
		args   string
		status int
		says   string
	}{
		{"forged", send(log.Since(wsproto.Position{}), wsproto.AppendTextFrame(nil, []byte("x"))), "",
			exitFailed, "does not verify"},
		{"signed by another", send(log.Since(wsproto.Position{}), forged), "", exitFailed,
			"does not verify"},
		{"not the owner", send(log.Since(wsproto.Position{})),
			"--owner " + other.Signer.PublicKey().String(), exitFailed, "does not verify"},
		{"gap", send(firehosetest.Ping(wsproto.Position{Log: log.ID}), firehosetest.Ping(end)), "",
			exitFailed, "not contiguous"},
		{"refused", firehosetest.StartRaw(t,
			"HTTP/1.1 401 Unauthorized\r\n\r\n{\"error\":\"Unknown subscriber\"}"), "", exitRefused,
			"Unknown subscriber"},
		{"busy at first", firehosetest.StartRaw(t, "HTTP/1.1 503 Service Unavailable\r\n\r\n"), "",
			exitRefused, "503"},
		{"expired", closing(wsproto.SubscriptionExpired), "", exitRefused, "subscription expired"},
		{"duplicate", closing(wsproto.DuplicateConnection), "", exitLost, "taken over"},
		{"lost, no reconnect", hangUp, "--reconnect=false", exitLost, "connection lost"},
		{"lost, given up", hangUp, "--give-up 0.3", exitLost, "given up after 300ms"},
		{"nobody there", "http://127.0.0.1:1", "", exitLost, "connection refused"},
		{"binary", send(wsproto.AppendControl(nil, ws.OpPing, nil), []byte{0x82, 0}),
			"--reconnect=false", exitLost, "broke the protocol"},
		{"count not reached in time", send(), "--count 1 --seconds 0.05", exitShort,
			"--seconds are over"},
		{"count not reached before silence", send(), "--count 1 --stop-at-idle 50", exitShort,
			"nothing received"},
	} {
		status, _, errs := runTail(t.Context(), log, append(strings.Fields(c.args), "--url", c.url)...)
		if status != c.status || !strings.Contains(errs, c.says) {
			t.Errorf("%s: status %d, want %d: %s", c.name, status, c.status, errs)
		}
	}
}

func TestTailIsInterrupted(t *testing.T) {
	log, all := sampleLog(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	url := firehosetest.Start(t, func(c *firehosetest.Conn) {
		c.Send(log.Since(wsproto.Position{}), firehosetest.Ping(log.End()))
		if op, _, ok := c.Receive(); ok && op == ws.OpPong { // all of it was read
			cancel()
		}
		c.WaitForClose()
	})
	status, out, errs := runTail(ctx, log, "--url", url, "--summary")
	if status != exitOK || out != all || !strings.Contains(errs, "interrupted") ||
		!strings.Contains(errs, "3 records (cycle 1, originalTx 0, receipt 2), 3 verified") {
		t.Errorf("status %d, %q, %s", status, out, errs)
	}
}

// brokenPipe fails every write.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestTailCannotWrite(t *testing.T) {
	log, _ := sampleLog(t)
	for _, count := range []string{"0", "3"} { // while waiting for more, and at the end
		var stderr console
		status := tailCommand(t.Context(), []string{"--url", firehosetest.Start(t, stream(log)),
			"--hash-key", hexKey(log.HashKey), "--count", count}, brokenPipe{}, &stderr)
		if status != exitShort || !strings.Contains(stderr.String(), "cannot write: broken pipe") {
			t.Errorf("status %d, %s", status, &stderr)
		}
	}
}

func TestTailUsage(t *testing.T) {
	for _, args := range []string{
		"--no-such", "extra", "--format xml", "--streams account", "--seconds -1", "--hash-key 00",
		"--owner 00", "--from yesterday",
		"--secret-key 00", "--key-file /does/not/exist", "--url https://127.0.0.1", "--count -1",
		"--secret-key " + strings.Repeat("0", 128) + " --key-file x",
	} {
		status, out, errs := runTail(t.Context(), nil, strings.Fields(args)...)
		if status != exitConfig || out != "" || errs == "" {
			t.Errorf("%s: status %d, %q, %q", args, status, out, errs)
		}
	}
	if status, out, _ := runTail(t.Context(), nil, "--help"); status != exitOK ||
		!strings.Contains(out, "Exit status") || !strings.Contains(out, "--stop-at-idle") {
		t.Errorf("--help: status %d, %s", status, out)
	}
}

func TestTailKeys(t *testing.T) {
	public, secret, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	otherPublic, _, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	pair := func(public string) string {
		return `{"publicKey":"` + public + `","secretKey":"` + secret.Reveal() + `"}`
	}
	for text, ok := range map[string]bool{
		secret.Reveal(): true, "\n" + secret.Reveal() + "\n": true, pair(public.String()): true,
		`{"secretKey":"` + secret.Reveal() + `"}`: true,
		pair(otherPublic.String()):                false, pair("x"): false, "": false, "{": false,
		"{}": false, secret.Reveal() + "00": false,
	} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := parseTail([]string{"--key-file", file}, &console{}, &console{})
		if (err == nil) != ok || (ok && o.dial.Keys != secret) {
			t.Errorf("a file of %d bytes: %v", len(text), err)
		}
		if err != nil && strings.Contains(err.Error(), secret.Reveal()[:20]) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
	var stderr console
	o, err := parseTail([]string{"--secret-key", secret.Reveal()}, &console{}, &stderr)
	if err != nil || o.dial.Keys != secret || stderr.String() != "" {
		t.Errorf("--secret-key: %v, %s", err, &stderr)
	}
	if _, err = parseTail(nil, &console{}, &stderr); err != nil ||
		!strings.Contains(stderr.String(), "limited to subscribers") {
		t.Errorf("no key: %v, %s", err, &stderr)
	}
}

func TestTallyLine(t *testing.T) {
	var seen tally
	if line, _ := seen.since(counts{},
		time.Second); line != "0 records/s (cycle 0, originalTx 0, receipt 0), 0.0 MB/s, 0 of 0 verified, 0.0 MB" {
		t.Error(line)
	}
	seen.now = counts{records: map[string]uint64{"receipt": 30, "cycle": 10}, all: 40, verified: 40,
		bytes: 9e6}
	seen.position, seen.known = wsproto.Position{Offset: 5}, true
	before := counts{records: map[string]uint64{"receipt": 10}, all: 10, bytes: 1e6}
	if line, now := seen.since(before,
		2*time.Second); line != "15 records/s (cycle 5, originalTx 0, receipt 10), 4.0 MB/s, 40 of 40 verified, 9.0 MB, at 00000000000000000000000000000000-5" || now.all != 40 {
		t.Error(line)
	}
}
