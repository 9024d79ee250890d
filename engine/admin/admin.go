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

const (
	// readWithin is how long a request's headers, and its body, may take.
	readWithin = 10 * time.Second
	// takenWithin is how long a client may take to read each written part of an answer.
	takenWithin = 30 * time.Second
	// maxConnections is how many connections may be open, viewers included; a further connection is
	// closed at once. Each one takes a descriptor, which the public port needs too.
	maxConnections = 512
	// maxProfiles is how many profiles may run at a time, of all processes together.
	maxProfiles = 16
	// profileMost is the longest duration that a profile may ask for.
	profileMost = 10 * time.Minute
)

// Board provides the status. A status.Board implements it.
type Board interface {
	JSON() []byte
	// Watch returns the same text, and a channel that is closed when the text is out of date.
	Watch() (text []byte, over <-chan struct{})
}

// Options are the inputs of a server. All are required.
type Options struct {
	Address  string // as configured: requests may name its host
	Board    Board
	Metrics  http.Handler
	Health   func() (healthy bool, text []byte) // what GET /is-healthy answers, JSON
	Page     http.Handler
	Profile  func(worker int) (net.Conn, error) // opens a connection for one /debug/pprof request
	Query    func() (net.Conn, error)           // does the same for the query process
	Args     []string                           // arguments of this process, without secrets
	Level    *slog.LevelVar
	SetLevel func(slog.Level) error // sets the level of all processes, Level included
	Log      *slog.Logger
}

// Serve answers requests on l until ctx ends or l fails. It closes l.
func Serve(ctx context.Context, l net.Listener, o Options) error {
	var open atomic.Int64
	server := &http.Server{
		Handler:  New(o),
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelInfo), // errors that clients cause
		ConnState: func(conn net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				if open.Add(1) > maxConnections {
					_ = conn.Close()
				}
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		},
		// A ReadTimeout would end /events.
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
	viewers  atomic.Int64
	within   time.Duration // writeWithin
	taken    time.Duration // takenWithin
	profiles atomic.Int64  // under way
}

// New returns the handler for all paths in the package documentation.
func New(o Options) http.Handler {
	a := &admin{Options: o, within: writeWithin, taken: takenWithin}
	return a.handler()
}

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h http.HandlerFunc) { mux.HandleFunc(pattern, a.paced(h)) }
	profile := func(path string, h http.HandlerFunc) {
		handle("GET /debug/pprof/"+path, a.bounded(h))
	}
	handle("GET /", a.Page.ServeHTTP)
	handle("GET /status", a.status)
	handle("GET /is-healthy", a.health)
	mux.HandleFunc("GET /events", a.events) // sets its own write deadlines
	handle("GET /metrics", a.Metrics.ServeHTTP)
	handle("GET /log-level", a.level)
	handle("PUT /log-level", a.setLevel)
	handle("POST /log-level", a.setLevel)
	profile("", pprof.Index)
	profile("cmdline", a.cmdline)
	profile("profile", pprof.Profile)
	profile("symbol", pprof.Symbol)
	profile("trace", pprof.Trace)
	profile("worker/{worker}/{profile...}", a.workerProfile)
	profile("query/{profile...}", func(w http.ResponseWriter, r *http.Request) {
		a.profile(w, r, a.Query)
	})
	return guarded(a.Address, mux)
}

// cmdline answers in pprof's form: the arguments with zero bytes between them. pprof's own handler
// would show a key that was given as a flag.
func (a *admin) cmdline(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, strings.Join(a.Args, "\x00")) // the client may have gone
}

// bounded refuses profiles beyond maxProfiles, and profiles longer than profileMost.
func (a *admin) bounded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			most := profileMost.Seconds()
			if s, err := strconv.ParseFloat(text, 64); err != nil || !(s >= 0 && s <= most) {
				why := fmt.Sprintf("seconds must be a number from 0 to %.0f", most)
				http.Error(w, why, http.StatusBadRequest)
				return
			}
		}
		defer a.profiles.Add(-1)
		if a.profiles.Add(1) > maxProfiles {
			w.Header().Set("Retry-After", "10")
			http.Error(w, "too many profiles run already; try again later", http.StatusServiceUnavailable)
			return
		}
		next(w, r)
	}
}

// paced ends answers to clients that do not read. Each write has its own deadline, because some
// answers take long by themselves.
func (a *admin) paced(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := pacedWriter{w, http.NewResponseController(w), a.taken}
		next(p, r)
		p.extend() // for what is still buffered
	}
}

type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	within  time.Duration
}

func (p pacedWriter) extend() {
	_ = p.control.SetWriteDeadline(time.Now().Add(p.within)) // a recorder has none
}

func (p pacedWriter) Write(b []byte) (int, error) {
	p.extend()
	return p.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the underlying writer.
func (p pacedWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (a *admin) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.Board.JSON())
}

// health answers like the public port's /is-healthy, with all details.
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

// setLevel expects the level's name as the whole body.
func (a *admin) setLevel(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readWithin))
	const longest = 16
	text, err := io.ReadAll(io.LimitReader(r.Body, longest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo,
		"warn": slog.LevelWarn, "error": slog.LevelError}
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

// profile forwards a request to /debug/pprof/ of another process of the distributor.
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
		Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				if dialled {
					return nil, errors.New("admin: a connection is for one request")
				}
				dialled = true
				return conn, nil
			}},
		// Errors of clients that do not wait for their profile.
		ErrorLog: slog.NewLogLogger(a.Log.Handler(), slog.LevelInfo),
	}
	proxy.ServeHTTP(w, r)
}
