package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"sync"
	"time"
)

//go:embed site vendor/uplot/uPlot.iife.min.js vendor/uplot/uPlot.min.css vendor/uplot/LICENSE
var files embed.FS

// policy admits only our own origin, and only for what the page needs. It requires Trusted Types
// and allows no policy for them, so text can never become markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// types are content types by extension; mime.TypeByExtension would depend on the machine.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	"":      "text/plain; charset=utf-8", // LICENSE
}

type asset struct {
	body        []byte
	contentType string
	etag        string
}

// assets holds all served files by URL path; nothing else is served. They are read at the first
// request, because workers run the same program and need no copy.
var assets = sync.OnceValue(load)

func load() map[string]asset {
	all := make(map[string]asset)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		contentType, known := types[path.Ext(name)]
		if !known {
			return fmt.Errorf("%s: no content type", name)
		}
		body, err := files.ReadFile(name)
		all["/"+name] = asset{body, contentType, fmt.Sprintf(`"%.16x"`, sha256.Sum256(body))}
		return err
	})
	if err != nil {
		panic("page: embedded files: " + err.Error())
	}
	const index = "/site/index.html"
	all["/"] = all[index]
	delete(all, index) // its relative addresses are valid only at /
	return all
}

// Handler serves the page at "/" and its files at "/site/" and "/vendor/". Everything else is 404.
// Browsers revalidate every file and rarely download it again (ETag), so that a new version shows
// at the next load.
func Handler() http.Handler {
	return http.HandlerFunc(serve)
}

func serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	a, found := assets()[r.URL.Path]
	switch {
	case !found:
		http.NotFound(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	default:
		h.Set("Content-Type", a.contentType)
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", a.etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
	}
}
