package gateway

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"distributor/engine/problem"
)

// The behaviour of the replaced service's framework (fastify 4 with its CORS plugin), on which its
// clients may depend.

const (
	contentJSON = "application/json; charset=utf-8"
	contentText = "text/plain; charset=utf-8"
)

// route answers every request that is not an upgrade. Paths are exact: nothing is cleaned or
// redirected.
func (g *Gateway) route(w http.ResponseWriter, r *http.Request) {
	setCORS(w.Header())
	if len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1) {
		// If a proxy and the gateway could see different ends of a body, nothing that follows counts as a
		// request (RFC 9112 §6.1).
		w.Header().Set("Connection", "close")
	}
	path, ok := decodeComponent(pathOf(r.RequestURI))
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !g.withinRate(w, r, reads && (path == "/is-alive" || path == "/is-healthy")) {
		return
	}
	if r.Method == http.MethodOptions {
		preflight(w, r)
		return
	}
	if !ok {
		writeJSON(w, http.StatusBadRequest, badRequest{"Bad Request", notURLComponent(r.RequestURI), 400})
		return
	}
	switch path {
	case "/is-alive":
		if reads {
			writeText(w, http.StatusOK, contentText, "OK")
			return
		}
	case "/is-healthy":
		if reads {
			g.answerHealth(w)
			return
		}
	default:
		method := r.Method
		if reads {
			method = http.MethodGet
		}
		if h := g.api[method+" "+path]; h != nil {
			serveAPI(h, w, r, path)
			return
		}
	}
	writeJSON(w, http.StatusNotFound,
		notFound{"Route " + r.Method + ":" + r.RequestURI + " not found", "Not Found", 404})
}

// pathOf returns the path of a request target, unchanged.
func pathOf(target string) string {
	if i := strings.IndexAny(target, "?#;"); i >= 0 {
		target = target[:i]
	}
	if rest, absolute := strings.CutPrefix(target, "http://"); absolute { // as proxies send it
		_, rest, _ = strings.Cut(rest, "/")
		target = "/" + rest
	}
	return target
}

func notURLComponent(target string) string {
	return "'" + target + "' is not a valid url component"
}

// serveAPI passes the request on with its path decoded.
func serveAPI(h http.Handler, w http.ResponseWriter, r *http.Request, path string) {
	plain := *r
	plain.URL = &url.URL{Path: path, RawQuery: queryOf(r.RequestURI)}
	h.ServeHTTP(w, &plain)
}

func (g *Gateway) answerHealth(w http.ResponseWriter) {
	var problems []problem.Problem
	if g.health != nil {
		problems = g.health()
	}
	if len(problems) == 0 {
		writeText(w, http.StatusOK, contentText, "OK")
		return
	}
	writeJSON(w, http.StatusServiceUnavailable, struct {
		Healthy  bool              `json:"healthy"`
		Problems []problem.Problem `json:"problems"`
	}{false, problems})
}

func setCORS(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Vary", "Origin")
}

// preflight answers every OPTIONS request, whatever its path.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		writeText(w, http.StatusBadRequest, "text/plain", "Invalid Preflight Request")
		return
	}
	h.Set("Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE")
	if wanted := r.Header.Get("Access-Control-Request-Headers"); wanted != "" {
		h.Set("Access-Control-Allow-Headers", wanted)
		h.Set("Vary", "Origin, Access-Control-Request-Headers")
	}
	w.WriteHeader(http.StatusNoContent)
}

// The order of the members is as recorded; it differs between the two.
type notFound struct {
	Message    string `json:"message"`
	Error      string `json:"error"`
	StatusCode int    `json:"statusCode"`
}

type badRequest struct {
	Error      string `json:"error"`
	Message    string `json:"message"`
	StatusCode int    `json:"statusCode"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	writeText(w, status, contentJSON, string(encode(v)))
}

func writeText(w http.ResponseWriter, status int, contentType, text string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client may have gone
}
