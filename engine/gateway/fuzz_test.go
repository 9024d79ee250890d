package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzRequest checks that every request that net/http can read gets a whole answer: JSON, or one of
// the few plain texts. Nobody gets in, and nobody breaks out of a header.
func FuzzRequest(f *testing.F) {
	old := signedData("known", noon.Add(-time.Hour), "")
	for _, s := range []string{
		"GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /receipt?a#b;c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\nOrigin: y\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: a, b\r\n\r\n",
		"GET http://x/is%2Dhealthy HTTP/1.0\r\n\r\n", upgradeRequest(target(old, "")),
		upgradeRequest(target(old, "&from=live")), upgradeRequest("/?data=%7B%7D&data="),
		strings.Replace(upgradeRequest(target(old, "")), "GET", "POST", 1),
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	g := newGateway(f, "subs", func(o *Options) { o.API = onAllRoutes(echoAPI) })
	g.now = func() time.Time { return noon }
	words := []string{"OK", "Invalid Preflight Request", ""}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			return
		}
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		g.handle(w, r)
		answer := w.Result()
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode < 200 || answer.StatusCode >= 500 {
			t.Fatalf("%q: %d %s", text, answer.StatusCode, body)
		}
		api := strings.HasPrefix(string(body), r.Method+" /") // echoAPI's words
		if isWord := len(body) < 30 && contains(words, string(body)); !api && !isWord &&
			!json.Valid(body) {
			t.Fatalf("%q: %q", text, body)
		}
		for name, values := range answer.Header {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n") {
				t.Fatalf("%q: %v", text, answer.Header)
			}
		}
		if s := g.Snapshot(); s.HandedOver != 0 || s.Refused["panic"] != 0 {
			t.Fatalf("%q: %+v", text, s)
		}
	})
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// FuzzFrom checks that from= yields the beginning of an existing frame, or a refusal that says what
// is available.
func FuzzFrom(f *testing.F) {
	for _, s := range []string{"", "live", "earliest", "Live", token(100), token(150), token(155),
		token(200), token(99), token(1<<64 - 1), token(150) + "0", token(0)[1:], "%", earlier(1, 150),
		earlier(1, 160)} {
		f.Add(s)
	}
	g := newGateway(f, "open", nil)
	f.Fuzz(func(t *testing.T, text string) {
		at, _, why := g.start("from="+url.QueryEscape(text), "")
		switch {
		case why != nil:
			if body := string(why.body()); !json.Valid([]byte(body)) || len(body) > 1000 ||
				!strings.Contains(body, token(100)) || !strings.Contains(body, token(200)) {
				t.Fatalf("%q: %s", text, body)
			}
		case at < 100 || at > 200 || at%10 != 0:
			t.Fatalf("%q: %d", text, at)
		case text != "" && text != "live" && text != "earliest" && text != token(at) &&
			(text != earlier(1, at) || at > 150):
			t.Fatalf("%q is taken for %d", text, at)
		}
	})
}

// FuzzPath checks that an accepted path is what net/url reads, and that decoding it twice changes
// nothing.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/is-alive", "/is%2Dalive?x=%", "http://h:1/a%20b", "http://h",
		"/;#?", "*", "/%zz", "/%ff", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		raw := pathOf(target)
		if strings.ContainsAny(raw, "?#;") {
			t.Fatalf("%q: %q", target, raw)
		}
		path, ok := decodeComponent(raw)
		want, err := url.PathUnescape(raw)
		if ok && (err != nil || path != want) || !ok && err == nil &&
			strings.ToValidUTF8(want, "") == want {
			t.Fatalf("%q: %q %v, net/url has %q, %v", target, path, ok, want, err)
		}
	})
}
