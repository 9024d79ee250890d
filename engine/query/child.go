package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"distributor/wsproto/shardus"
)

// Paths on which the primary asks the query process, besides those of the API.
const (
	setupPath  = "/-/setup"
	healthPath = "/-/health"
	rowsPath   = "/-/rows"
	tablesPath = "/-/tables"
)

// setup is what the query process gets at its start, and again when something has changed.
type setup struct {
	Databases Databases
	HashKey   shardus.HashKey
	Settings  Settings
	LogLevel  slog.Level
}

// Serve runs the query process. It answers the requests on the channel whose end is control, and
// returns nil when the primary has ended. level follows the primary's level.
func Serve(control *os.File, log *slog.Logger, level *slog.LevelVar) error {
	return (&child{log: log, level: level}).serve(control)
}

func (c *child) serve(control *os.File) error {
	l, err := newAcceptor(control)
	if err != nil {
		return err
	}
	// No timeouts: the primary has them.
	server := &http.Server{
		Handler: c.handler(), ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelInfo),
	}
	err = server.Serve(l)
	_ = server.Close()
	if a := c.api.Load(); a != nil {
		a.Close()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("query: serve: %w", err)
}

// child is the query process.
type child struct {
	log    *slog.Logger
	level  *slog.LevelVar
	making sync.Mutex
	api    atomic.Pointer[API] // nil until the first setup

	checking sync.Mutex // held while the databases are checked
}

func (c *child) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT "+setupPath, c.setUp)
	mux.HandleFunc("GET "+healthPath, c.health)
	mux.Handle("GET "+rowsPath,
		c.report(func(ctx context.Context, a *API) any { return a.RowCounts(ctx) }))
	mux.Handle("GET "+tablesPath,
		c.report(func(_ context.Context, a *API) any { return a.tables() }))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		if a := c.api.Load(); a != nil {
			a.ServeHTTP(w, r)
		} else {
			http.Error(w, "not set up", http.StatusServiceUnavailable)
		}
	})
	return mux
}

// setUp makes the API, or gives it new settings.
func (c *child) setUp(w http.ResponseWriter, r *http.Request) {
	var s setup
	err := json.NewDecoder(r.Body).Decode(&s)
	if err == nil {
		err = c.apply(s)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (c *child) apply(s setup) error {
	c.making.Lock()
	defer c.making.Unlock()
	c.level.Set(s.LogLevel)
	if a := c.api.Load(); a != nil {
		return a.Reload(s.Settings)
	}
	a, err := NewAPI(s.Databases, s.HashKey, s.Settings, c.log)
	if err == nil {
		a.hung = c.giveUp
		c.api.Store(a)
	}
	return err
}

// giveUp ends the process; the primary starts another one.
func (c *child) giveUp() {
	c.log.Error("a query cannot be interrupted; this process ends, and another one takes its place")
	os.Exit(1)
}

// health answers with the errors that keep the databases from answering. If a file system hangs,
// one check waits for it, and not one for each request of the primary.
func (c *child) health(w http.ResponseWriter, r *http.Request) {
	if !c.checking.TryLock() {
		http.Error(w, "a database has not answered since it was last looked at",
			http.StatusServiceUnavailable)
		return
	}
	defer c.checking.Unlock()
	c.report(func(ctx context.Context, a *API) any {
		return problemsOf(a.Health(ctx))
	}).ServeHTTP(w, r)
}

// report returns a handler that answers with the result of f, as JSON.
func (c *child) report(f func(context.Context, *API) any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := c.api.Load()
		if a == nil {
			http.Error(w, "not set up", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), reportWithin)
		defer cancel()
		_ = json.NewEncoder(w).Encode(f(ctx, a)) // fails if the primary has cancelled the request
	})
}

// reportWithin bounds the time of a report. Counting rows reads whole indexes.
const reportWithin = time.Minute

func problemsOf(found []*DatabaseError) []Problem {
	problems := make([]Problem, 0, len(found))
	for _, p := range found {
		problems = append(problems, Problem{p.Table, p.Error()})
	}
	return problems
}
