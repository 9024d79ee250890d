package page

import (
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func get(t *testing.T, method, target string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestServesEveryFileWithItsType(t *testing.T) {
	for _, c := range []struct{ target, contentType, begins string }{
		{"/", "text/html; charset=utf-8", "<!doctype html>"},
		{"/site/main.js", "text/javascript; charset=utf-8", "//"},
		{"/site/base.css", "text/css; charset=utf-8", "/*"},
		{"/site/icon-well.svg", "image/svg+xml", "<svg"},
		{"/vendor/uplot/uPlot.iife.min.js", "text/javascript; charset=utf-8", "/*!"},
		{"/vendor/uplot/uPlot.min.css", "text/css; charset=utf-8", ".uplot"},
		{"/vendor/uplot/LICENSE", "text/plain; charset=utf-8", "The MIT License"},
	} {
		res := get(t, http.MethodGet, c.target, nil)
		body := string(assets()[c.target].body)
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != c.contentType ||
			!strings.HasPrefix(body, c.begins) {
			t.Errorf("%s: %d, %q, begins %.20q", c.target, res.StatusCode, res.Header.Get("Content-Type"),
				body)
		}
		if n := res.ContentLength; n != int64(len(body)) {
			t.Errorf("%s: length %d, want %d", c.target, n, len(body))
		}
	}
}

func TestHeaders(t *testing.T) {
	for target := range assets() {
		res := get(t, http.MethodGet, target, nil)
		csp := res.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'",
			"frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: policy lacks %s: %s", target, part, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") ||
			strings.Contains(csp, "http") {
			t.Errorf("%s: policy is loose: %s", target, csp)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" ||
			res.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", target, res.Header)
		}
		if res.Header.Get("Cache-Control") != "no-cache" ||
			!regexp.MustCompile(`^"[0-9a-f]{32}"$`).MatchString(res.Header.Get("ETag")) {
			t.Errorf("%s: Cache-Control %q, ETag %q", target, res.Header.Get("Cache-Control"),
				res.Header.Get("ETag"))
		}
	}
}

func TestKnownVersionIsNotSentAgain(t *testing.T) {
	etag := get(t, http.MethodGet, "/", nil).Header.Get("ETag")
	res := get(t, http.MethodGet, "/", http.Header{"If-None-Match": {etag}})
	if res.StatusCode != http.StatusNotModified || res.Header.Get("ETag") != etag {
		t.Errorf("same version: %d, ETag %q", res.StatusCode, res.Header.Get("ETag"))
	}
	if res := get(t, http.MethodGet, "/",
		http.Header{"If-None-Match": {`"other"`}}); res.StatusCode != http.StatusOK {
		t.Errorf("other version: %d", res.StatusCode)
	}
}

func TestServesNothingElse(t *testing.T) {
	for _, c := range []struct {
		method, target string
		want           int
	}{
		{http.MethodHead, "/", http.StatusOK},
		{http.MethodPost, "/", http.StatusMethodNotAllowed},
		{http.MethodGet, "/status", http.StatusNotFound},
		{http.MethodGet, "/site/", http.StatusNotFound},
		{http.MethodGet, "/site/index.html", http.StatusNotFound},
		{http.MethodGet, "/site/../page.go", http.StatusNotFound},
		{http.MethodGet, "/page.go", http.StatusNotFound},
		{http.MethodPost, "/nowhere", http.StatusNotFound},
	} {
		res := get(t, c.method, c.target, nil)
		if res.StatusCode != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.target, res.StatusCode, c.want)
		}
		if res.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s %s: no policy", c.method, c.target)
		}
	}
}

// Addresses of other hosts: with a scheme, or beginning with two slashes.
var outside = regexp.MustCompile(
	`(?i)\b(?:https?|wss?|ftp):\\?/\\?/[^\s"'<>)]*|["'(=]\s*//[a-z0-9][^\s"'<>)]*|@import\b`)

// harmless are names of other hosts to which no request is made.
var harmless = map[string]bool{
	"http://www.w3.org/2000/svg":        true, // name space of the icons
	"https://github.com/leeoniya/uPlot": true, // banner comment of the library
}

func TestNoFileNamesAnotherPlace(t *testing.T) {
	for _, target := range []string{`<img src="//example.org/x">`, `fetch("https://example.org")`,
		`url(//example.org/f)`, `new WebSocket('wss://x')`} {
		if !outside.MatchString(target) {
			t.Errorf("the pattern misses %s", target)
		}
	}
	for target, a := range assets() {
		for _, found := range outside.FindAllString(string(a.body), -1) {
			if !harmless[found] {
				t.Errorf("%s names %s", target, found)
			}
		}
	}
}

// TestPageIsWhole checks that all files that the page and its modules refer to exist, and that
// nothing is inline, which the policy would refuse.
func TestPageIsWhole(t *testing.T) {
	html := string(assets()["/"].body)
	for _, ref := range regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(html, -1) {
		switch ref[1] {
		case "status", "metrics", "debug/pprof/": // of the admin listener
		default:
			if _, found := assets()["/"+ref[1]]; !found {
				t.Errorf("index.html refers to %s", ref[1])
			}
		}
	}
	for target, a := range assets() {
		for _, ref := range regexp.MustCompile(`from "\./([^"]+)"`).FindAllStringSubmatch(
			string(a.body), -1) {
			if _, found := assets()[path.Join(path.Dir(target), ref[1])]; !found {
				t.Errorf("%s imports %s", target, ref[1])
			}
		}
	}
	for _, inline := range []string{`<script>`, `<style`, ` style="`, ` onclick=`, ` onload=`,
		`javascript:`} {
		if strings.Contains(html, inline) {
			t.Errorf("index.html has %s inline", inline)
		}
	}
	ids := make(map[string]bool)
	for _, id := range regexp.MustCompile(`\bid="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if ids[id[1]] {
			t.Errorf("index.html has the id %s twice", id[1])
		}
		ids[id[1]] = true
	}
	for _, ref := range regexp.MustCompile(`aria-labelledby="([^"]+)"`).FindAllStringSubmatch(html,
		-1) {
		if !ids[ref[1]] {
			t.Errorf("index.html labels with %s, which is not there", ref[1])
		}
	}
}

// TestLibraryIsTheVersionWeName checks that banner, folder and footer agree.
func TestLibraryIsTheVersionWeName(t *testing.T) {
	banner := regexp.MustCompile(`\(v([0-9.]+)\)`).FindSubmatch(
		assets()["/vendor/uplot/uPlot.iife.min.js"].body)
	if banner == nil {
		t.Fatal("the library has no banner")
	}
	if !strings.Contains(string(assets()["/"].body), "uPlot "+string(banner[1])+",") {
		t.Errorf("the footer does not name uPlot %s", banner[1])
	}
}

// TestContrast checks every colour of text on both backgrounds, in both themes, as WCAG 2 requires
// for text (4.5), and lines of charts (3).
func TestContrast(t *testing.T) {
	colors := make(map[string][]string)
	for _, m := range regexp.MustCompile(
		`--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)`).FindAllStringSubmatch(
		string(assets()["/site/base.css"].body), -1) {
		colors[m[1]] = m[2:]
	}
	least := map[string]float64{"ink": 4.5, "muted": 4.5, "well": 4.5, "warn": 4.5, "error": 4.5,
		"focus": 4.5, "line": 3, "line-2": 3}
	for name, want := range least {
		for _, ground := range []string{"ground", "surface"} {
			for theme, in := range []string{"light", "dark"} {
				if colors[name] == nil || colors[ground] == nil {
					t.Fatalf("base.css has no --%s or --%s", name, ground)
				}
				a, b := luminance(colors[name][theme]), luminance(colors[ground][theme])
				if got := (max(a, b) + 0.05) / (min(a, b) + 0.05); got < want {
					t.Errorf("--%s on --%s, %s: contrast %.2f, want %.1f", name, ground, in, got, want)
				}
			}
		}
	}
}

// luminance returns the luminance of #rrggbb, relative to white.
func luminance(color string) (l float64) {
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(color[1+2*i:3+2*i], 16, 8)
		if err != nil {
			panic(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		l += weight * c
	}
	return l
}

func TestEveryFileIsEmbedded(t *testing.T) {
	n := 0
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil || n != len(assets()) {
		t.Errorf("%d files embedded, %d served, %v", n, len(assets()), err)
	}
}
