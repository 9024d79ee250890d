package page_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a headless Chromium.
type browser struct{ context.Context }

// patience is how long anything may take on a busy machine.
const patience = time.Minute

// startBrowser starts a browser with more flags than usual, name and value in turn. It skips the
// test if no browser is installed.
func startBrowser(t *testing.T, more ...string) *browser {
	t.Helper()
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	for i := 0; i < len(more); i += 2 {
		flags = append(flags, chromedp.Flag(more[i], more[i+1]))
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	switch err := chromedp.Do(ctx); {
	case errors.Is(err, exec.ErrNotFound):
		t.Skip("no chromium or google-chrome is installed: the status page was not tried in a browser")
	case err != nil:
		t.Fatal(err)
	}
	return &browser{ctx}
}

// tab is a page in its own browser context: no storage is shared.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	requests []string // addresses asked for
	errors   []string // console errors, exceptions, refusals of the policy
}

type look struct {
	width, height int64
	scheme        string // light, dark
	mobile        bool
	still         bool // the page's clock stands: a busy machine's pauses are no silence
}

func (b *browser) open(t *testing.T, address string, l look) *tab {
	t.Helper()
	p := &tab{t: t}
	ctx, cancel := chromedp.NewContext(b,
		chromedp.WithNewBrowserContext(), chromedp.WithListener(p.note))
	t.Cleanup(cancel)
	p.ctx = ctx
	if err := chromedp.Do(ctx); err != nil { // without a time limit, which would end the tab
		t.Fatal(err)
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{
		TimezoneID: "Europe/Berlin"})
	call(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{
		Enabled: true})
	p.resize(l)
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: l.scheme},
			{Name: "prefers-reduced-motion", Value: "reduce"}}})
	if l.still {
		call(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: "{ const t = Date.now(); Date.now = () => t; }"})
	}
	run(p, chromedp.Navigate(address))
	return p
}

// run executes an action of the tab within patience.
func run[T any](p *tab, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatal(err)
	}
	return result
}

func call[P, R any](p *tab, command cdp.Command[P, R], params P) {
	p.t.Helper()
	run(p, func(ctx context.Context, t *chromedp.Target) (R, error) {
		return cdp.Call(ctx, t, command, params)
	})
}

func (p *tab) resize(l look) {
	p.t.Helper()
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.mobile})
}

func (p *tab) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			p.errors = append(p.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		switch e.Type {
		case "error", "warning", "assert":
			for _, a := range e.Args {
				p.errors = append(p.errors, string(a.Value)+" "+a.Description)
			}
		}
	case *runtime.EventExceptionThrown:
		p.errors = append(p.errors, e.ExceptionDetails.Text)
	}
}

// eval returns the value of a JavaScript expression, which may be a promise.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	return run(p, func(ctx context.Context, t *chromedp.Target) (T, error) {
		value, err := chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise, userGesture)(ctx, t)
		if err != nil && !errors.Is(err, chromedp.ErrJSUndefined) {
			return value, fmt.Errorf("%s: %w", expression, err)
		}
		return value, nil
	})
}

func userGesture(e *runtime.EvaluateParams) { e.UserGesture = new(true) }

// wait polls until the expression is true; while the page loads it may fail.
func (p *tab) wait(expression string) {
	p.t.Helper()
	tried := "(() => { try { return Boolean(" + expression + "); } catch { return false; } })()"
	for deadline := time.Now().Add(patience); !eval[bool](p, tried); {
		p.mu.Lock()
		failed := strings.Contains(strings.Join(p.errors, " "), "Uncaught") // no use in waiting
		p.mu.Unlock()
		if failed || time.Now().After(deadline) {
			p.shoot("failed-" + strings.ReplaceAll(p.t.Name(), "/", "-"))
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("never true: %s; the console says %q, the page %q",
				expression, p.errors, eval[string](p, "document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// shoot writes a picture of the whole page into $STATUS_SCREENSHOTS, or into a temporary directory.
func (p *tab) shoot(name string) {
	p.t.Helper()
	dir := os.Getenv("STATUS_SCREENSHOTS")
	if dir == "" {
		dir = p.t.TempDir()
	}
	png := run(p, chromedp.FullScreenshot(100))
	if len(png) < 10_000 {
		p.t.Fatalf("picture of %d bytes", len(png))
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
