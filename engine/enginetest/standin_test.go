package enginetest

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"distributor/wsproto/shardus"
)

// collectorsDir is the directory of the stand-in for the real collector and of its packages.
const collectorsDir = "../../testdata/collectors"

// samplePublicKey is the distributor's default key.
const samplePublicKey = "758b1c119412298802cd28dbfa394cdfeecc4074492d60844cc192d632d84de3"

// standin is a running testdata/collectors/standin.mjs.
type standin struct {
	t        testing.TB
	name     string
	database string
	cmd      *exec.Cmd
	ended    chan struct{}

	mu     sync.Mutex // guards what follows
	opened int
	last   standinFigures
	cycle  int64 // verified last
	events []string
}

type standinFigures struct {
	Heard, Repeated, Lost, Unstored, CyclesAgain int
	Verified, Patched, Requests, Failed          int
	Closes                                       map[string]int
}

type standinSettings struct {
	URL         string            `json:"url"`
	Distributor string            `json:"distributor"`
	Keys        map[string]string `json:"keys"`
	WS          int               `json:"ws"`
	Database    string            `json:"database"`
	Window      int               `json:"window"`
	WaitMS      int               `json:"waitMs"`
	ReconnectMS int               `json:"reconnectMs"`
	Lose        float64           `json:"lose"`
}

// needStandin skips the test if the stand-in cannot run here.
func needStandin(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skipf("no stand-in for a collector here: %v", err)
	}
	if _, err := os.Stat(filepath.Join(collectorsDir, "node_modules", "ws7")); err != nil {
		t.Skipf("no stand-in for a collector here, `npm ci` in %s brings its packages: %v",
			collectorsDir, err)
	}
}

func startStandin(t testing.TB, in netns, name string, s standinSettings) *standin {
	t.Helper()
	dir := t.TempDir()
	s.Database = filepath.Join(dir, "collector.sqlite3")
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "settings.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	c := &standin{t: t, name: name, database: s.Database, ended: make(chan struct{})}
	c.cmd = command(node, collectorsDir, "standin.mjs", file)
	in.enter(c.cmd)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			c.note(lines.Bytes())
		}
		_ = c.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.ended
		if t.Failed() {
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Logf("%s: %+v; its last events:", name, c.last)
			for _, e := range c.events[max(0, len(c.events)-40):] {
				t.Log(e)
			}
		}
	})
	return c
}

func (c *standin) note(line []byte) {
	var e struct {
		Event string
		Cycle int64
		standinFigures
	}
	if json.Unmarshal(line, &e) != nil {
		e.Event = "nonsense"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Event {
	case "figures":
		c.last = e.standinFigures
	case "verified":
		c.cycle = e.Cycle
	default:
		switch e.Event {
		case "open":
			c.opened++
		case "unstored":
			// The archiver did not store this receipt either. Any other member must be there.
			if !strings.Contains(string(line), "receipts.applyTimestamp") {
				c.t.Errorf("%s: %s", c.name, line)
			}
		case "fault", "nonsense":
			c.t.Errorf("%s: %s", c.name, line)
		}
		c.events = append(c.events, string(line))
	}
}

func (c *standin) state() (opened int, cycle int64, f standinFigures) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened, c.cycle, c.last
}

// mustRun fails the test if the stand-in has given up.
func (c *standin) mustRun() {
	c.t.Helper()
	select {
	case <-c.ended:
		c.t.Fatalf("%s has ended: %v", c.name, c.cmd.ProcessState)
	default:
	}
}

// stop ends the stand-in by SIGTERM, as an operator does.
func (c *standin) stop() {
	c.t.Helper()
	c.mustRun()
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		c.t.Fatal(err)
	}
	within(c.t, c.ended, func() { _ = c.cmd.Process.Kill() })
	if !c.cmd.ProcessState.Success() {
		c.t.Errorf("%s, asked to stop: %v", c.name, c.cmd.ProcessState)
	}
}

// newSubscriber returns the keys of a new collector for the stand-in, and its entry in the
// configuration.
func newSubscriber(t testing.TB) (keys map[string]string, entry map[string]any) {
	t.Helper()
	public, secret, err := shardus.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	keys = map[string]string{"publicKey": public.String(), "secretKey": secret.Reveal()}
	entry = map[string]any{
		"publicKey": public.String(), "expirationTimestamp": 0, "subscriptionType": "FIREHOSE",
	}
	return keys, entry
}
