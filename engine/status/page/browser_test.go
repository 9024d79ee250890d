package page_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"distributor/engine/status"
)

var (
	desktop = look{width: 1280, height: 900, scheme: "light", still: true}
	night   = look{width: 1280, height: 900, scheme: "dark", still: true}
	phone   = look{width: 360, height: 780, scheme: "light", mobile: true, still: true}
)

// ticking is the same with a clock that runs.
func (l look) ticking() look {
	l.still = false
	return l
}

// sees fails the test unless the text of the element with this id contains all words.
func (p *tab) sees(id string, words ...string) {
	p.t.Helper()
	text := eval[string](p, fmt.Sprintf("document.getElementById(%q).innerText", id))
	for _, w := range words {
		if !strings.Contains(strings.ToLower(strings.Join(strings.Fields(text), " ")),
			strings.ToLower(w)) {
			p.t.Errorf("#%s lacks %q: %q", id, w, text)
		}
	}
}

// quiet fails the test if the page requested another address, logged an error, or, being narrow, is
// wider than its window. Errors that name one of expected come from the browser itself, about a
// source that is gone.
func (p *tab) quiet(origin string, expected ...string) {
	p.t.Helper()
	p.mu.Lock()
	requests, complaints := p.requests, p.errors
	p.mu.Unlock()
	if len(requests) < 10 {
		p.t.Errorf("only %d requests were seen: %q", len(requests), requests)
	}
	for _, r := range requests {
		if !strings.HasPrefix(r, origin+"/") {
			p.t.Errorf("the page asked for %s", r)
		}
	}
nextComplaint:
	for _, c := range complaints {
		for _, e := range expected {
			if strings.Contains(c, e) {
				continue nextComplaint
			}
		}
		p.t.Errorf("console: %s", c)
	}
	if over := eval[float64](p, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
		p.t.Errorf("the page is %.0f pixels wider than its window", over)
	}
	if text := eval[string](p, "document.body.innerText"); strings.Contains(text, "NaN") ||
		strings.Contains(text, "undefined") || strings.Contains(text, "null") ||
		strings.Contains(text, "[object") {
		p.t.Errorf("the page shows values of JavaScript: %q", text)
	}
}

func TestPageInBrowser(t *testing.T) {
	b := startBrowser(t)
	for name, test := range map[string]func(*testing.T, *browser){
		"well": pageWell, "problems": pageProblems, "lost and back": pageLost, "silence": pageSilence,
		"nobody": pageNobody, "restart": pageRestart,
		"crowd": pageCrowd, "missing members": pageMissing, "theme": pageTheme,
		"keyboard": pageKeyboard, "clock": pageClock, "live region": pageLiveRegion,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

func pageWell(t *testing.T, b *browser) {
	s := newSource(t, well.play(time.Now(), 180, 5*time.Second)...)
	for name, l := range map[string]look{"well-light": desktop, "well-dark": night,
		"well-phone": phone} {
		p := b.open(t, s.URL, l)
		p.wait("document.getElementById('state').textContent === 'Well'")
		p.wait("document.querySelectorAll('.chart canvas').length === 3")
		p.sees("summary", "Nothing needs doing", "3 streams caught up", "2 of 2 workers ready",
			"1,024 collectors")
		p.sees("link", "live")
		p.sees("version", "1.4.0")
		p.sees("since", "Running for 3 d 5 h")
		p.sees("collectors-main", "1,024")
		p.sees("in-main", "MB/s")
		p.sees("in-side", "records/s")
		p.sees("out-main", "GB/s")
		p.sees("latency-main", "ms")
		p.sees("latency-side", "p50", "µs")
		p.sees("streams", "cycle", "originalTx", "receipt-log118.txt", "caught up", "ago", "none")
		p.sees("workers", "ready", "512", "GB/s", "%", "14.6 MB")
		p.sees("workers-summary", "2 of 2 workers ready", "Primary: CPU 4", "11 threads")
		p.sees("clients", "No collector is behind")
		p.sees("log-state", "takes frames")
		p.sees("log-kept", "1.05 GB in 17 segments")
		p.sees("log-reach", "about", "min")
		p.sees("disconnects", "duplicate connection", "+7", "client closed", "1,204")
		p.sees("refused", "timestamp too old", "unknown subscriber")
		p.sees("rejected", "receipt: not json")
		p.sees("api", "/account 0/s 0 0 0 – –", "/receipt", "7.0/s", "276", "48 ms")
		p.sees("events", "rotation", "warning", "3 times")
		if eval[string](p, "document.title") != "Well – Distributor" ||
			!strings.HasSuffix(eval[string](p, "document.getElementById('icon').href"), "icon-well.svg") {
			t.Error("title or icon do not say that it is well")
		}
		if want := l.scheme == "dark"; want != eval[bool](p,
			"getComputedStyle(document.body).backgroundColor === 'rgb(16, 20, 24)'") {
			t.Errorf("dark ground: %v", !want)
		}
		p.quiet(s.URL)
		p.shoot(name)
	}
}

func pageProblems(t *testing.T, b *browser) {
	statuses := troubled.play(time.Now(), 180, 5*time.Second)
	s := newSource(t, statuses...)
	for name, l := range map[string]look{"problem-light": desktop, "problem-dark": night,
		"problem-phone": phone} {
		p := b.open(t, s.URL, l)
		p.wait("document.getElementById('state').textContent === 'Needs attention: 2 problems'")
		p.wait("!document.getElementById('details').hidden")
		p.sees("problems", "frame log", "no space left on device", "Since", "What to do: make room",
			"data logs", "see whether the archiver runs")
		p.sees("summary", "receipt behind", "2 of 3 workers ready", "17 of them blocked")
		p.sees("streams", "42 s, 184 MB", "1,207", "1 gap: records may be missing",
			"polling, no inotify", "not yet")
		p.sees("workers", "starting", "17", "313 MB")
		p.sees("clients", "blocked", "receiving", "313 MB", "1 min 4 s")
		p.sees("log-state", "takes no frames: no space left on device")
		p.sees("log-bar-text", "30 %")
		p.sees("disconnects", "worker lost", "512")
		p.sees("failed", "killed", "+1")
		p.sees("tables", "receipts", "fails: receipts: database disk image is malformed", "12")
		p.sees("log-unsynced", "11.5 MB")
		p.sees("events", "error", "1,202 times", "<script>alert(")
		if n := eval[int](p, "document.querySelectorAll('#events li').length"); n != 7 {
			t.Errorf("%d events", n)
		}
		if text := eval[string](p,
			"document.querySelector('#events li').innerText"); !strings.Contains(text,
			"worker 2 (pid 4101) ended") {
			t.Errorf("newest event: %q", text)
		}
		full := eval[string](p, "document.querySelector('#clients button').title")
		if shown := eval[string](p,
			"document.querySelector('#clients button').textContent"); !strings.HasPrefix(full, key(1)) ||
			len(shown) > 16 {
			t.Errorf("key: shown %q, title %q", shown, full)
		}
		if !strings.Contains(eval[string](p, "document.querySelector('#events time').title"), "UTC") {
			t.Error("an event's tooltip is not in UTC")
		}
		p.quiet(s.URL)
		p.shoot(name)
	}

	// Recovery: a solved problem disappears from the page.
	p := b.open(t, s.URL, desktop)
	p.wait("document.getElementById('problems').children.length === 2")
	mended := statuses[len(statuses)-1]
	mended.Time, mended.Healthy, mended.Problems = mended.Time.Add(time.Second), true, nil
	mended.FrameLog.Blocked = ""
	s.send(s.text(mended))
	p.wait("document.getElementById('state').textContent === 'Well'")
	p.wait("document.getElementById('problems').hidden && document.getElementById('problems').children.length === 0")
}

func pageLost(t *testing.T, b *browser) {
	s := newSource(t, well.play(time.Now(), 60, 5*time.Second)...)
	p := b.open(t, s.URL, desktop.ticking())
	p.wait("document.getElementById('state').textContent === 'Well'")
	s.answer(true)
	s.cut()
	p.wait("/^Not connected since [0-9-]* ?\\d\\d:\\d\\d:\\d\\d$/.test(document.getElementById('state').textContent)")
	p.sees("summary", "said last")
	p.sees("since", "No answer for")
	p.sees("remedies", "tries again by itself", "is-alive", "tunnel")
	p.sees("link", "no connection")
	p.wait("document.getElementById('details').classList.contains('stale')")
	p.wait("[...document.querySelectorAll('.as-of')].every((e) => e.textContent.startsWith('as of '))")
	p.shoot("lost-light")
	p.resize(phone)
	p.shoot("lost-phone")
	p.resize(desktop)

	// The source is back, without a reload of the page.
	before := s.connections()
	s.answer(false, well.play(time.Now(), 2, time.Second)...)
	p.wait("document.getElementById('state').textContent === 'Well'")
	p.wait("!document.getElementById('details').classList.contains('stale')")
	p.wait("[...document.querySelectorAll('.as-of')].every((e) => e.textContent === '')")
	if s.connections() <= before {
		t.Error("well again without a connection")
	}
	p.quiet(s.URL, "503", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION")
}

// pageSilence tests a connection that is open, but delivers nothing anymore.
func pageSilence(t *testing.T, b *browser) {
	statuses := well.play(time.Now(), 10, time.Second)
	s := newSource(t, statuses...)
	began := time.Now()
	p := b.open(t, s.URL, desktop.ticking())
	p.wait("document.getElementById('state').textContent === 'Well'")
	p.wait("/^Not connected since [0-9-]* ?\\d\\d:\\d\\d:\\d\\d$/.test(document.getElementById('state').textContent)")
	next := statuses[9]
	next.Time = next.Time.Add(10 * time.Second)
	s.send(s.text(next)) // it was only late
	p.wait("document.getElementById('state').textContent === 'Well'")
	if n := s.connections(); n != 1 && time.Since(began) < 12*time.Second {
		t.Errorf("%d connections: the late one was given up too soon", n)
	}
	p.quiet(s.URL)
}

// pageNobody tests a page that is loaded but never gets events.
func pageNobody(t *testing.T, b *browser) {
	s := newSource(t)
	s.answer(true)
	p := b.open(t, s.URL, phone.ticking())
	p.wait("/^Not connected since [0-9-]* ?\\d\\d:\\d\\d:\\d\\d$/.test(document.getElementById('state').textContent)")
	p.sees("summary", "has not answered")
	if !eval[bool](p, "document.getElementById('details').hidden") {
		t.Error("details without a status")
	}
	p.shoot("nobody-phone")
	p.quiet(s.URL, "503")
}

// pageRestart tests a new primary, which counts from 0. No figure becomes negative.
func pageRestart(t *testing.T, b *browser) {
	end := time.Now()
	s := newSource(t, well.play(end.Add(-5*time.Second), 120, 5*time.Second)...)
	p := b.open(t, s.URL, desktop)
	p.wait("document.getElementById('state').textContent === 'Well'")
	for i, st := range well.play(end, 5, time.Second) {
		st.Started = end.Add(-5 * time.Second)
		s.send(s.text(st))
		p.wait(fmt.Sprintf("document.getElementById('since').textContent.startsWith('Running for %d s')", i+1))
		if text := eval[string](p, "document.getElementById('details').innerText"); strings.Contains(
			text, "-") && strings.Contains(text, " -") {
			t.Errorf("a negative number: %q", text)
		}
	}
	p.sees("in-main", "MB/s")
	p.quiet(s.URL)
}

func pageCrowd(t *testing.T, b *browser) {
	s := newSource(t, crowd.play(time.Now(), 15, 5*time.Second)...)
	for name, l := range map[string]look{"crowd-light": desktop, "crowd-phone": phone} {
		p := b.open(t, s.URL, l)
		p.wait("document.querySelectorAll('#workers tbody tr').length === 200")
		p.sees("workers-summary", "199 of 200 workers ready with 200,000 collectors")
		p.sees("log-head", "18.4 EB")
		if h := eval[float64](p, "document.getElementById('workers').clientHeight"); h > 500 {
			t.Errorf("200 workers are %.0f pixels high", h)
		}
		p.quiet(s.URL)
		p.shoot(name)
	}
	p := b.open(t, s.URL, desktop)
	p.wait("document.querySelectorAll('#workers tbody tr').length === 200")
	eval[any](p, "[...document.querySelectorAll('#workers thead button')].find((b) => b.textContent === 'Furthest behind').click()")
	if first := eval[string](p,
		"document.querySelector('#workers tbody tr').innerText"); !strings.HasPrefix(first, "137") {
		t.Errorf("sorted by lag the first worker is %q", first)
	}
	if sorted := eval[string](p, "document.querySelector('#workers [aria-sort]').getAttribute('aria-sort')"); sorted != "descending" {
		t.Errorf("aria-sort %q", sorted)
	}
	// An update must leave the browser idle for most of a second. Sorting and reordering are updates
	// too.
	ms := eval[float64](p, `(() => {
		const buttons = document.querySelectorAll("#workers thead button");
		const began = performance.now();
		for (const button of buttons) {
			button.click();
			document.body.getBoundingClientRect();
		}
		return (performance.now() - began) / buttons.length;
	})()`)
	t.Logf("an update of 200 workers takes %.1f ms", ms)
	if ms > 30_000 { // a busy machine takes seconds
		t.Error("which is too long")
	}
}

// pageMissing tests a distributor that is older, newer or broken.
func pageMissing(t *testing.T, b *browser) {
	s := newSource(t, well.play(time.Now(), 3, time.Second)...)
	p := b.open(t, s.URL, desktop)
	p.wait("document.getElementById('state').textContent === 'Well'")
	for i, data := range []string{
		`{}`,
		`{"time":null,"streams":null,"workers":null,"clients":null,"latency":null,"api":null,"processes":null,"events":null,"refused":null,"problems":null,"frameLog":null}`,
		`{"time":"x","streams":[null,{}],"workers":[{},{}],"clients":{"slowest":[{}]},"api":[{}],"processes":[{}],"events":[{}],"problems":[{}],"frameLog":{}}`,
		`{"streams":7,"workers":"w","clients":[],"latency":3,"problems":[null,1],"events":{"a":1},"refused":[1],"healthy":"yes","started":5,"version":null}`,
	} {
		s.send(data)
		p.wait("document.getElementById('state').textContent.startsWith('Needs attention')")
		s.send(s.text(status.Status{Time: time.Now(), Healthy: true, Version: fmt.Sprint("v", i)}))
		p.wait("document.getElementById('state').textContent === 'Well'")
	}
	p.sees("workers", "No workers run")
	p.sees("summary", "no workers", "0 collectors")
	p.quiet(s.URL)
	p.shoot("empty-light")
	for _, data := range []string{`[]`, `7`, `null`, `{"time":`, `"text"`} {
		s.send(data)
		p.wait("document.getElementById('problems').textContent.includes('does not understand')")
		s.send(s.text(status.Status{Time: time.Now(), Healthy: true}))
		p.wait("document.getElementById('state').textContent === 'Well'")
	}
	p.quiet(s.URL)
}

func pageTheme(t *testing.T, b *browser) {
	s := newSource(t, well.play(time.Now(), 30, time.Second)...)
	p := b.open(t, s.URL, desktop)
	p.wait("document.getElementById('state').textContent === 'Well'")
	dark := "getComputedStyle(document.body).backgroundColor === 'rgb(16, 20, 24)'"
	eval[any](p, "document.querySelector('input[value=dark]').click()")
	p.wait(dark)
	eval[any](p, "(window.old = true, location.reload())")
	p.wait("!window.old && document.getElementById('state')?.textContent === 'Well' && " + dark)
	if !eval[bool](p, "document.querySelector('input[value=dark]').checked") {
		t.Error("the switch forgot what was chosen")
	}
	eval[any](p, "document.querySelector('input[value=auto]').click()")
	p.wait("!(" + dark + ")")
	p.quiet(s.URL)
}

// pageKeyboard tests that everything that works with the mouse works without it.
func pageKeyboard(t *testing.T, b *browser) {
	s := newSource(t, troubled.play(time.Now(), 60, 5*time.Second)...)
	p := b.open(t, s.URL, desktop)
	p.wait("document.querySelectorAll('#clients tbody tr').length === 20")
	reached := make(map[string]bool)
	for range 60 {
		run(p, chromedp.KeyEvent(kb.Tab))
		reached[eval[string](p, `(() => {
			const e = document.activeElement;
			return e.name || e.id ||
				(e.closest("#clients") ? "key" : e.closest("thead") ? "sort" : e.tagName);
		})()`)] = true
	}
	for _, want := range []string{"theme", "chart-in", "chart-out", "chart-latency", "workers",
		"sort", "clients", "key"} {
		if !reached[want] {
			t.Errorf("Tab never comes to %s: %v", want, reached)
		}
	}
	eval[any](p, "document.getElementById('chart-in').focus()")
	run(p, chromedp.KeyEvent(kb.ArrowLeft))
	p.wait("/at \\d\\d:\\d\\d:\\d\\d/.test(document.getElementById('in-side').textContent)")
	p.wait("/at \\d\\d:\\d\\d:\\d\\d/.test(document.getElementById('latency-side').textContent)")
	run(p, chromedp.KeyEvent(kb.Escape))
	p.wait("!document.getElementById('in-side').textContent.includes('at ')")
	if label := eval[string](p, "document.getElementById('chart-in').getAttribute('aria-label')"); !strings.Contains(label, "MB/s") {
		t.Errorf("the chart calls itself %q", label)
	}

	eval[any](p, `(window.copied = "", navigator.clipboard.writeText = async (text) => { window.copied = text; }, document.querySelector("#clients button").focus())`)
	run(p, chromedp.KeyEvent(kb.Enter))
	p.wait("window.copied === '" + key(1) + "'")
	p.wait("document.querySelector('#clients button').textContent === 'copied'")
	// A status that reorders rows leaves the focus where it was.
	st := troubled.play(time.Now().Add(time.Second), 2, time.Second)[1]
	st.Clients.Slowest[0], st.Clients.Slowest[5] = st.Clients.Slowest[5], st.Clients.Slowest[0]
	s.send(s.text(st))
	p.wait("document.querySelector('#clients tbody tr').dataset.key === '" + key(6) + "'")
	if got := eval[string](p, "document.activeElement.dataset.full"); got != key(1) {
		t.Errorf("the focus went to %q", got)
	}
	p.quiet(s.URL)
}

func pageClock(t *testing.T, b *browser) {
	s := newSource(t, well.play(time.Now().Add(-2*time.Hour), 30, time.Second)...)
	p := b.open(t, s.URL, desktop)
	p.wait("document.getElementById('state').textContent === 'Well'")
	p.sees("clock-note", "2 h ahead of the distributor’s")
	p.sees("streams", "ago")
	if text := eval[string](p, "document.getElementById('streams').innerText"); strings.Contains(
		text, "2 h") {
		t.Errorf("ages count by the wrong clock: %q", text)
	}
	p.quiet(s.URL)
}

// pageLiveRegion tests that a screen reader announces the headline when it changes, and no numbers.
func pageLiveRegion(t *testing.T, b *browser) {
	statuses := well.play(time.Now(), 20, time.Second)
	s := newSource(t, statuses[0])
	p := b.open(t, s.URL, desktop)
	p.wait("document.getElementById('state').textContent === 'Well'")
	if live := eval[string](p, "[...document.querySelectorAll('[aria-live], [role=status], [role=alert], [role=log], output')].map((e) => e.innerText).join('|')"); live != "Well" {
		t.Errorf("live regions: %q", live)
	}
	eval[any](p, "(window.changes = 0, new MutationObserver((l) => { window.changes += l.length; }).observe(document.querySelector('[role=status]'), {subtree: true, childList: true, characterData: true, attributes: true}))")
	for _, st := range statuses[1:] {
		s.send(s.text(st))
	}
	p.wait("document.getElementById('watched').textContent.includes('the 19 s that')")
	if n := eval[int](p, "window.changes"); n != 0 {
		t.Errorf("the headline was touched %d times while nothing changed", n)
	}
	p.quiet(s.URL)
}
