package query

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"distributor/wsproto/shardus"
)

func front(t *testing.T, command ...string) (*Front, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	f, err := New(Options{
		Command: command, Settings: Settings{StopAtCycle: -1, RequestTime: 50 * time.Millisecond}, Signer: signer(serverSecret), HashKey: must(shardus.ParseHashKey(hashKeyHex)), Origin: addressOf, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, log
}

// A process that cannot live is started again with growing pauses, and requests are refused meanwhile, signed.
func TestProcessCannotStart(t *testing.T) {
	for _, command := range [][]string{{"/nonexistent"}, {"/bin/false"}, {"/bin/echo", "last words"}} {
		noLeaks(t)
		f, log := front(t, command...)
		eventually(t, "a failure", func() bool { _, err := f.await(t.Context()); return err != nil })
		if got := post(t, f, "/account", `"count":1`); got.status != 503 || !strings.Contains(got.body, "the process that reads the databases is not running") {
			t.Errorf("%s: %+v", command, got)
		}
		if p := f.Health(t.Context()); len(p) != 1 || p[0].Component != "HTTP API" {
			t.Errorf("%s: %v", command, p)
		}
		if s := f.Snapshot(); s.PID != 0 || len(s.Endpoints) != 8 || s.Endpoints["/account"].Status[503] != 1 {
			t.Errorf("%s: %+v", command, s)
		}
		f.Close()
		if n := strings.Count(log.String(), "the query process has ended"); n == 0 || n > 8 {
			t.Errorf("%s: started %d times: %s", command, n, log)
		}
		if strings.HasSuffix(command[0], "echo") && !strings.Contains(log.String(), "query process output: last words") {
			t.Error(log)
		}
	}
}

// One that says nothing for long is killed, and not before.
func TestHungProcessIsKilled(t *testing.T) {
	noLeaks(t)
	f := newFront(Options{Log: slog.New(slog.DiscardHandler)})
	channel, control, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	p := newProcess(channel)
	defer p.close()
	p.cmd = exec.Command("/bin/sleep", "1000")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.cmd.Wait() }()
	f.set(p, nil)
	f.Snapshot()
	select {
	case <-ended:
		t.Fatal("killed at once")
	default:
	}
	f.heard.Store(time.Now().Add(-hung).UnixNano())
	f.Snapshot()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		t.Fatal("it lives")
	}
}

// What a query process is told before its setup is refused, and it ends with the primary.
func TestServeEndsWithThePrimary(t *testing.T) {
	noLeaks(t)
	channel, control, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(control, slog.New(slog.DiscardHandler), new(slog.LevelVar)) }()
	p := newProcess(channel)
	for _, path := range []string{healthPath, rowsPath, tablesPath} {
		if err := p.tell(context.Background(), path, nil); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("%s: %v", path, err)
		}
	}
	level := slog.LevelError
	if err := p.setUp(setup{Settings: Settings{Subscribers: []Subscriber{{PublicKey: "x"}}}}); err == nil || !strings.Contains(err.Error(), "subscribers[0]") {
		t.Error(err)
	}
	if err := p.setUp(setup{Settings: forever, LogLevel: level}); err != nil {
		t.Error(err)
	}
	var rows map[string]int64
	if err := p.tell(context.Background(), rowsPath, &rows); err != nil || len(rows) != 0 {
		t.Error(rows, err)
	}
	p.close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestSeal(t *testing.T) {
	key, by := must(shardus.ParseHashKey(hashKeyHex)), signer(serverSecret)
	for _, text := range []string{`{"receipts":[1]|}`, `{|"totalTransactions":2}`, `{"error":"x"|,"success":false}`} {
		out := &answer{sign: strings.Index(text, "|"), text: []byte(strings.Replace(text, "|", "", 1))}
		s := out.seal(key)
		read, err := parseSeal(s.String())
		if err != nil || read != s {
			t.Errorf("%v, %v, %v", s, read, err)
		}
		if !verify(t, string(s.put(out.text, by))) {
			t.Errorf("%s", text)
		}
	}
	for _, bad := range []string{"", "00 1 true", strings.Repeat("0", 64), strings.Repeat("0", 64) + " x true"} {
		if s, err := parseSeal(bad); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
}

// A connection's end takes its descriptors along, on both sides; the channel's file belongs to who gets it.
func TestChannelLeavesNothing(t *testing.T) {
	noLeaks(t)
	channel, control, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	l := must(newAcceptor(control))
	for range 100 {
		c := must(channel.dial(t.Context(), "", ""))
		accepted := must(l.Accept())
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := accepted.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		_, _ = c.Close(), accepted.Close()
	}
	channel.close()
	if _, err := l.Accept(); err == nil || os.IsTimeout(err) {
		t.Error(err)
	}
	_ = l.Close()
}
