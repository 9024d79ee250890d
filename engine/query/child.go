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

// What the primary asks the query process beside the API's own paths.
const (
	setupPath  = "/-/setup"
	healthPath = "/-/health"
	rowsPath   = "/-/rows"
	tablesPath = "/-/tables"
)

// setup is what the query process is told, at first and when something has changed.
type setup struct {
	Databases Databases
	HashKey   shardus.HashKey
	Settings  Settings
	LogLevel  slog.Level
}

// Serve is the life of the query process: it answers what comes over the channel, whose end is control, until the
// primary has gone, and gives nil then. level follows the primary's.
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

	examining sync.Mutex // held while the databases are looked at
}

func (c *child) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT "+setupPath, c.setUp)
	mux.HandleFunc("GET "+healthPath, c.health)
	mux.Handle("GET "+rowsPath, c.told(func(ctx context.Context, a *API) any { return a.RowCounts(ctx) }))
	mux.Handle("GET "+tablesPath, c.told(func(_ context.Context, a *API) any { return a.tables() }))
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

// setUp makes the API, or puts new settings into force.
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

// giveUp ends the process: the primary starts another one.
func (c *child) giveUp() {
	c.log.Error("a query cannot be interrupted; this process ends, and another one takes its place")
	os.Exit(1)
}

// health answers with what keeps the databases from answering. A file system that hangs keeps one
// such look, and not one for each time that the primary asks.
func (c *child) health(w http.ResponseWriter, r *http.Request) {
	if !c.examining.TryLock() {
		http.Error(w, "a database has not answered since it was last looked at", http.StatusServiceUnavailable)
		return
	}
	defer c.examining.Unlock()
	c.told(func(ctx context.Context, a *API) any { return problemsOf(a.Health(ctx)) }).ServeHTTP(w, r)
}

// told answers with what f finds, as JSON.
func (c *child) told(f func(context.Context, *API) any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := c.api.Load()
		if a == nil {
			http.Error(w, "not set up", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), toldWithin)
		defer cancel()
		_ = json.NewEncoder(w).Encode(f(ctx, a)) // the primary may have given up
	})
}

// toldWithin bounds what the primary asks beside the API: counting rows reads whole indexes.
const toldWithin = time.Minute

func problemsOf(found []*DatabaseError) []Problem {
	problems := make([]Problem, 0, len(found))
	for _, p := range found {
		problems = append(problems, Problem{p.Table, p.Error()})
	}
	return problems
}
