package page_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/engine/admin"
	"distributor/engine/status/page"
)

// board always shows one status.
type board struct {
	text []byte
	over chan struct{}
}

func (b board) JSON() []byte                     { return b.text }
func (b board) Watch() ([]byte, <-chan struct{}) { return b.text, b.over }

// asked is a request that the admin listener received, and its answer.
type asked struct {
	what   string // method and path
	site   string // Sec-Fetch-Site
	status int
}

type noting struct {
	http.ResponseWriter
	status int
}

func (n *noting) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}
func (n *noting) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// elsewhere returns an address of this machine that is not loopback.
func elsewhere(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() &&
			!n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback's: browsers were not tried over plain HTTP")
	return ""
}

func listenOn(t *testing.T, host string, h http.Handler) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return l.Addr().String()
}

// hostile is what the page of another site tries: to read, to set the log level, to start profiles.
const hostile = `<!doctype html><title>x</title><body><script>
const admin = "http://%s";
const read = [];
const tried = (async () => {
	const attempt = async (path, options) => {
		try {
			const answer = await fetch(admin + path, options);
			const text = await answer.text();
			if (text) read.push(path + ": " + text);
		} catch {}
	};
	for (const method of ["GET", "PUT", "POST"]) {
		for (const path of ["/log-level", "/status", "/metrics", "/debug/pprof/goroutine?debug=1"]) {
			const body = method === "GET" ? undefined : "debug";
			await attempt(path, { method, body });
			await attempt(path, { method, body, referrerPolicy: "no-referrer" });
			await attempt(path, { method, body,
				headers: { "User-Agent": "curl/8", "X-Requested-With": "x" } });
			if (method !== "PUT") await attempt(path,
				{ method, body, mode: "no-cors", referrerPolicy: "no-referrer" });
		}
	}
	const element = (name, set) => new Promise((done) => {
		const e = Object.assign(document.createElement(name), set);
		e.onload = () => { if (name !== "iframe") read.push(name + " " + e.src); done(); };
		e.onerror = done;
		document.body.append(e);
		setTimeout(done, 2000);
	});
	for (const referrerPolicy of ["no-referrer", "unsafe-url"]) {
		await element("img", { referrerPolicy, src: admin + "/debug/pprof/profile?seconds=1" });
		await element("img", { referrerPolicy, src: admin + "/debug/pprof/worker/1/profile?seconds=1" });
		await element("script", { referrerPolicy, src: admin + "/status" });
		await element("iframe", { referrerPolicy, src: admin + "/debug/pprof/trace?seconds=1" });
	}
	await new Promise((done) => {
		const events = new EventSource(admin + "/events");
		events.addEventListener("status", (e) => { read.push("events: " + e.data); done(); });
		events.onerror = () => { events.close(); done(); };
	});
	for (const policy of ["no-referrer", "unsafe-url"]) {
		const frame = document.createElement("iframe");
		frame.name = policy;
		document.body.append(frame);
		const form = Object.assign(document.createElement("form"), { method: "post",
			action: admin + "/log-level", target: policy, enctype: "text/plain" });
		document.head.innerHTML += '<meta name="referrer" content="' + policy + '">';
		document.body.append(form);
		await new Promise((done) => { frame.onload = done; form.submit(); setTimeout(done, 3000); });
	}
	return true;
})();
</script>`

// Over plain HTTP to an address that is not loopback, browsers do not say which site's page makes a
// request. Still no page of another site reads or changes anything, or starts a profile; our own
// page works.
func TestGuardInBrowser(t *testing.T) {
	host := elsewhere(t)
	b := startBrowser(t, "host-resolver-rules", "MAP evil.example "+host, "disable-features",
		"LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,HttpsUpgrades,HttpsFirstBalancedMode")
	level := new(slog.LevelVar)
	var mu sync.Mutex
	var all []asked
	statuses := well.play(time.Now(), 5, time.Second)
	handler := admin.New(admin.Options{
		Address: "", Board: board{[]byte((&source{}).text(statuses[4])), nil}, Page: page.Handler(),
		Level: level, Log: slog.New(slog.DiscardHandler),
		Metrics: http.NotFoundHandler(), Health: func() (bool, []byte) { return true, []byte("{}") },
		Profile: func(int) (net.Conn, error) {
			t.Error("a worker's profile was begun")
			return nil,
				errors.New("no")
		},
		Query:    func() (net.Conn, error) { return nil, errors.New("no") },
		SetLevel: func(l slog.Level) error { level.Set(l); return nil },
	})
	address := listenOn(t, host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := &noting{w, http.StatusOK}
		handler.ServeHTTP(n, r)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, asked{r.Method + " " + r.URL.Path, r.Header.Get("Sec-Fetch-Site"), n.status})
	}))
	_, port, _ := net.SplitHostPort(address)
	evil := listenOn(t, host, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, hostile, address)
	}))
	_, evilPort, _ := net.SplitHostPort(evil)

	for _, origin := range []string{"http://evil.example:" + evilPort + "/", "http://" + evil + "/"} {
		p := b.open(t, origin, desktop.ticking())
		p.wait("tried")
		eval[bool](p, "tried")
		if read := eval[[]string](p, "read"); len(read) != 0 {
			t.Errorf("%s has read %q", origin, read)
		}
	}
	mu.Lock()
	got := all
	all = nil
	mu.Unlock()
	if len(got) < 30 || level.Level() != slog.LevelInfo {
		t.Errorf("%d requests, and the level is %v", len(got), level.Level())
	}
	for _, a := range got {
		if a.site != "" {
			t.Errorf("the browser says %q with %s: this is not what was to be tried", a.site, a.what)
		}
		if begins := strings.Contains(a.what, "/debug/") ||
			!strings.HasPrefix(a.what, "GET "); begins && a.status != http.StatusForbidden &&
			a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", a.what, a.status)
		}
	}

	// A name that its owner points to this machine.
	p := b.open(t, "http://evil.example:"+port+"/status", desktop)
	p.wait("document.body.innerText.includes('name that host in ADMIN_ADDR')")

	p = b.open(t, "http://"+address+"/", desktop)
	p.wait("document.getElementById('state').textContent === 'Well'")
	if text := eval[string](p, "fetch('/log-level', {method: 'PUT', body: 'debug'}).then((a) => a.text())"); text != "debug\n" || level.Level() != slog.LevelDebug {
		t.Errorf("our own page: %q", text)
	}
	p = b.open(t, "http://"+address+"/debug/pprof/", desktop)
	p.wait("document.querySelector('a[href^=goroutine]')")
	eval[any](p, "document.querySelector('a[href^=goroutine]').click()")
	p.wait("document.body.innerText.includes('goroutine profile')")
}
