package page_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// browser is a headless Chromium, spoken to over the pipe of its DevTools
// protocol: JSON messages that end with a zero byte, on descriptors 3 and 4.
type browser struct {
	to *os.File

	mu      sync.Mutex // guards what follows, and writes
	lastID  int
	answers map[int]chan message
	tabs    map[string]*tab // by session
}

type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// patience is how long anything may take on a busy machine.
const patience = time.Minute

// startBrowser skips the test when there is none. more are arguments of the browser.
func startBrowser(t *testing.T, more ...string) *browser {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		t.Skip("no chromium, chromium-browser or google-chrome is installed: the status page was not tried in a browser")
	}
	profile, err := os.MkdirTemp("", "status-page-*") // not t.TempDir: its last writers may outlive the test by a moment
	if err != nil {
		t.Fatal(err)
	}
	theirIn, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append(more, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--hide-scrollbars", "--user-data-dir="+profile, "about:blank")...)
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &browser{to: to, answers: make(map[int]chan message), tabs: make(map[string]*tab)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(from)
	}()
	t.Cleanup(func() {
		_, _ = b.call("", "Browser.close", nil)
		to.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // of its own group; what is left of it
		_ = cmd.Wait()
		<-read
		from.Close()
		for deadline := time.Now().Add(5 * time.Second); os.RemoveAll(profile) != nil && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	})
	return b
}

func (b *browser) read(from *os.File) {
	in := bufio.NewReaderSize(from, 1<<20)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			for _, c := range b.answers {
				close(c)
			}
			b.answers = nil
			b.mu.Unlock()
			return
		}
		var m message
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			continue
		}
		b.mu.Lock()
		c, known := b.answers[m.ID]
		delete(b.answers, m.ID)
		tab := b.tabs[m.SessionID]
		b.mu.Unlock()
		switch {
		case known:
			c <- m
		case m.Method != "" && tab != nil:
			tab.note(m)
		}
	}
}

func (b *browser) call(session, method string, params any) (json.RawMessage, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	c := make(chan message, 1)
	b.mu.Lock()
	if b.answers == nil {
		b.mu.Unlock()
		return nil, errors.New("the browser has ended")
	}
	b.lastID++
	m := message{ID: b.lastID, SessionID: session, Method: method}
	if params != nil {
		m.Params = raw
	}
	b.answers[m.ID] = c
	text, _ := json.Marshal(m)
	_, err = b.to.Write(append(text, 0))
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case answer, open := <-c:
		if !open {
			return nil, errors.New("the browser has ended")
		}
		if answer.Error != nil {
			return nil, errors.New(answer.Error.Message)
		}
		return answer.Result, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("no answer to %s within %v", method, patience)
	}
}

// tab is a page in a browser context of its own: no storage is shared.
type tab struct {
	t       *testing.T
	b       *browser
	session string

	mu       sync.Mutex
	requests []string // addresses asked for
	errors   []string // console errors, exceptions, refusals of the policy
}

type look struct {
	width, height int
	scheme        string // light, dark
	mobile        bool
	still         bool // the page's clock stands: a busy machine's pauses are no silence
}

func (b *browser) open(t *testing.T, address string, l look) *tab {
	t.Helper()
	p := &tab{t: t, b: b}
	get := func(session, method string, params any, member string) string {
		t.Helper()
		raw, err := b.call(session, method, params)
		var result map[string]any
		if err == nil && member != "" {
			err = json.Unmarshal(raw, &result)
		}
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		s, _ := result[member].(string)
		return s
	}
	context := get("", "Target.createBrowserContext", map[string]any{"disposeOnDetach": true}, "browserContextId")
	target := get("", "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": context}, "targetId")
	p.session = get("", "Target.attachToTarget", map[string]any{"targetId": target, "flatten": true}, "sessionId")
	b.mu.Lock()
	b.tabs[p.session] = p
	b.mu.Unlock()
	t.Cleanup(func() { _, _ = b.call("", "Target.disposeBrowserContext", map[string]any{"browserContextId": context}) })
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		get(p.session, domain+".enable", nil, "")
	}
	get(p.session, "Emulation.setTimezoneOverride", map[string]any{"timezoneId": "Europe/Berlin"}, "")
	get(p.session, "Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, "")
	p.resize(l)
	get(p.session, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": l.scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}}}, "")
	if l.still {
		get(p.session, "Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": "{ const t = Date.now(); Date.now = () => t; }"}, "")
	}
	get(p.session, "Page.navigate", map[string]any{"url": address}, "")
	return p
}

func (p *tab) resize(l look) {
	p.t.Helper()
	if _, err := p.b.call(p.session, "Emulation.setDeviceMetricsOverride", map[string]any{
		"width": l.width, "height": l.height, "deviceScaleFactor": 1, "mobile": l.mobile}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) note(m message) {
	var params struct {
		Request struct {
			URL string `json:"url"`
		} `json:"request"`
		Entry struct {
			Level, Text, URL string
		} `json:"entry"`
		Type string `json:"type"`
		Args []struct {
			Value       any    `json:"value"`
			Description string `json:"description"`
		} `json:"args"`
		ExceptionDetails struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	if err := json.Unmarshal(m.Params, &params); err != nil {
		return // of another shape: none of those below
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Method {
	case "Network.requestWillBeSent":
		p.requests = append(p.requests, params.Request.URL)
	case "Log.entryAdded":
		if params.Entry.Level == "error" || params.Entry.Level == "warning" {
			p.errors = append(p.errors, params.Entry.Text+" "+params.Entry.URL)
		}
	case "Runtime.consoleAPICalled":
		if params.Type == "error" || params.Type == "warning" || params.Type == "assert" {
			p.errors = append(p.errors, fmt.Sprint(params.Args))
		}
	case "Runtime.exceptionThrown":
		p.errors = append(p.errors, params.ExceptionDetails.Text+" "+params.ExceptionDetails.Exception.Description)
	}
}

// eval gives the value of a JavaScript expression, which may be a promise.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	raw, err := p.b.call(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true})
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	var result struct {
		Result           struct{ Value T }
		ExceptionDetails json.RawMessage
	}
	if err := json.Unmarshal(raw, &result); err != nil || result.ExceptionDetails != nil {
		p.t.Fatalf("%s: %v %s", expression, err, raw)
	}
	return result.Result.Value
}

// wait polls until the expression is true; while the page loads it may fail.
func (p *tab) wait(expression string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !eval[bool](p, "(() => { try { return Boolean("+expression+"); } catch { return false; } })()"); {
		p.mu.Lock()
		failed := strings.Contains(strings.Join(p.errors, " "), "Uncaught") // no use in waiting
		p.mu.Unlock()
		if failed || time.Now().After(deadline) {
			p.shoot("failed-" + strings.ReplaceAll(p.t.Name(), "/", "-"))
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("never true: %s; the console says %q, the page %q", expression, p.errors, eval[string](p, "document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *tab) press(key string) {
	p.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		params := map[string]any{"type": kind, "key": key, "code": key}
		if key == "Tab" {
			params["windowsVirtualKeyCode"] = 9
		}
		if key == "Enter" {
			params["windowsVirtualKeyCode"] = 13
			params["text"] = "\r"
		}
		if _, err := p.b.call(p.session, "Input.dispatchKeyEvent", params); err != nil {
			p.t.Fatal(err)
		}
	}
}

// shoot writes a picture of the whole page into $STATUS_SCREENSHOTS, or where
// the test's files go to die.
func (p *tab) shoot(name string) {
	p.t.Helper()
	dir := os.Getenv("STATUS_SCREENSHOTS")
	if dir == "" {
		dir = p.t.TempDir()
	}
	raw, err := p.b.call(p.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true})
	if err != nil {
		p.t.Fatal(err)
	}
	var picture struct{ Data string }
	if err := json.Unmarshal(raw, &picture); err != nil {
		p.t.Fatal(err)
	}
	png, err := base64.StdEncoding.DecodeString(picture.Data)
	if err != nil || len(png) < 10_000 {
		p.t.Fatalf("picture of %d bytes, %v", len(png), err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
