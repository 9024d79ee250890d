package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/http/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// readWithin is how long a request's headers, and its body, may take.
const readWithin = 10 * time.Second

// Board is where the status is shown. A status.Board is one.
type Board interface {
	JSON() []byte
	// Watch returns the same and a channel that is closed when it is out of date.
	Watch() (text []byte, over <-chan struct{})
}

// Options are what a server works with. All are needed.
type Options struct {
	Address  string // as configured: requests may name its host
	Board    Board
	Metrics  http.Handler
	Health   func() (healthy bool, text []byte) // what GET /is-healthy answers, JSON
	Page     http.Handler
	Profile  func(worker int) (net.Conn, error) // a connection for one request for /debug/pprof
	Query    func() (net.Conn, error)           // the same of the query process
	Level    *slog.LevelVar
	SetLevel func(slog.Level) error // everywhere, Level included
	Log      *slog.Logger
}

// Serve answers on l until ctx ends, or l fails. It closes l.
func Serve(ctx context.Context, l net.Listener, o Options) error {
	server := &http.Server{
		Handler: New(o), ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
		// Not ReadTimeout, which would end /events.
		ReadHeaderTimeout: readWithin, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	err := server.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("admin: %w", err)
}

type admin struct {
	Options
	viewers atomic.Int64
	within  time.Duration // writeWithin
}

// New makes the handler of all that the package's description lists.
func New(o Options) http.Handler {
	a := &admin{Options: o, within: writeWithin}
	return a.handler()
}

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", a.Page)
	mux.HandleFunc("GET /status", a.status)
	mux.HandleFunc("GET /is-healthy", a.health)
	mux.HandleFunc("GET /events", a.events)
	mux.Handle("GET /metrics", a.Metrics)
	mux.HandleFunc("GET /log-level", a.level)
	mux.HandleFunc("PUT /log-level", a.setLevel)
	mux.HandleFunc("POST /log-level", a.setLevel)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/worker/{worker}/{profile...}", a.workerProfile)
	mux.HandleFunc("GET /debug/pprof/query/{profile...}", func(w http.ResponseWriter, r *http.Request) { a.profile(w, r, a.Query) })
	return guarded(a.Address, http.NewCrossOriginProtection().Handler(mux))
}

func (a *admin) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.Board.JSON())
}

// health is the public port's /is-healthy with all details.
func (a *admin) health(w http.ResponseWriter, _ *http.Request) {
	healthy, text := a.Health()
	status := http.StatusOK
	if !healthy {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, text)
}

func writeJSON(w http.ResponseWriter, status int, text []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the viewer may have gone
}

func (a *admin) level(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, strings.ToLower(a.Level.Level().String()))
}

// setLevel takes the level's name as the whole body.
func (a *admin) setLevel(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readWithin))
	const longest = 16
	text, err := io.ReadAll(io.LimitReader(r.Body, longest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, known := levels[strings.ToLower(strings.TrimSpace(string(text)))]
	if !known {
		http.Error(w, "the body must be debug, info, warn or error", http.StatusBadRequest)
		return
	}
	if err := a.SetLevel(level); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	a.level(w, r)
}

func (a *admin) workerProfile(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.PathValue("worker"))
	if err != nil {
		http.Error(w, "a worker is named by its number", http.StatusNotFound)
		return
	}
	a.profile(w, r, func() (net.Conn, error) { return a.Profile(number) })
}

// profile passes a request on to another of our processes, as one for its /debug/pprof/.
func (a *admin) profile(w http.ResponseWriter, r *http.Request, dial func() (net.Conn, error)) {
	conn, err := dial()
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	defer conn.Close()
	dialled := false
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", "process"
			p.Out.URL.Path, p.Out.URL.RawPath = "/debug/pprof/"+r.PathValue("profile"), ""
		},
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
			if dialled {
				return nil, errors.New("admin: a connection is for one request")
			}
			dialled = true
			return conn, nil
		}},
		ErrorLog: slog.NewLogLogger(a.Log.Handler(), slog.LevelWarn),
	}
	proxy.ServeHTTP(w, r)
}
