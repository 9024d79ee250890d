package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"distributor/wsproto/shardus"
)

// configPath is answered by the primary, because it needs no rows and no signature.
const configPath = "/config"

// Options say what a Front works with.
// Options configure a Front.
type Options struct {
	Command   []string // command line of the query process
	Env       []string // its whole environment
	Databases Databases
	Settings  Settings
	LogLevel  slog.Level
	Signer    *shardus.Signer
	HashKey   shardus.HashKey
	// Origin returns the address for which a connection counts, given its remote address.
	Origin func(remote string) netip.Addr
	Log    *slog.Logger
}

// Front is the primary's side of the HTTP API: an http.Handler that sends requests to the query
// process, and signs its answers. All methods may be called from any goroutine.
type Front struct {
	command, env []string
	signer       *shardus.Signer
	hashKey      shardus.HashKey
	origin       func(remote string) netip.Addr
	log          *slog.Logger

	meters   map[string]*meter // by path
	policy   atomic.Pointer[policy]
	memory   budget // of bodies until they are checked, and of answers while they are written
	inFlight budget // of requests with the query process, each with a connection to it
	checks   checks

	mu      sync.Mutex    // guards the fields up to changed
	setup   setup         // what the query process should have
	version uint64        // of setup
	process *process      // nil: not running
	failure error         // why it is not running; nil if it is starting for the first time
	changed chan struct{} // closed when one of these changes

	tables   atomic.Pointer[map[string]TableSnapshot] // as last received
	problems atomic.Pointer[[]Problem]                // as last received

	stop    context.CancelFunc
	keeping sync.WaitGroup
}

// Problem is a reason why a part of the API does not answer.
type Problem struct {
	Table string // whose database does not answer; "": the whole API does not
	Text  string
}

// New starts the query process. Requests wait for it. When it ends it is started again.
func New(o Options) (*Front, error) { return newChecking(o, defaultChecks) }

func newChecking(o Options, c checks) (*Front, error) {
	f := newFront(o)
	f.checks = c
	if err := f.configure(o.Settings); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.keeping.Go(func() { f.keep(ctx) })
	return f, nil
}

func newFront(o Options) *Front {
	f := &Front{
		command: o.Command, env: o.Env, signer: o.Signer, hashKey: o.HashKey, origin: o.Origin,
		log: o.Log, setup: setup{o.Databases, o.HashKey, o.Settings, o.LogLevel},
		meters: map[string]*meter{configPath: new(meter)}, changed: make(chan struct{}),
	}
	for _, e := range endpoints {
		f.meters[e.path] = new(meter)
	}
	f.inFlight.limit(int64(connections(descriptorLimit())))
	f.tables.Store(&map[string]TableSnapshot{})
	f.problems.Store(new([]Problem))
	return f
}

// Close ends the query process. Requests under way and later ones are refused.
func (f *Front) Close() {
	f.stop()
	f.keeping.Wait()
	f.set(nil, ErrClosed)
}

// Reload sets settings and log level for the requests that follow. Requests under way keep the
// former ones. On an error nothing has changed. Reload does not wait for the query process; the
// requests do.
func (f *Front) Reload(s Settings, level slog.Level) error {
	if err := f.configure(s); err != nil {
		return err
	}
	f.change(func(have *setup) { have.Settings, have.LogLevel = s, level })
	return nil
}

// SetLevel sets the log level alone, as Reload does.
func (f *Front) SetLevel(level slog.Level) {
	f.change(func(have *setup) { have.LogLevel = level })
}

func (f *Front) change(edit func(*setup)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(&f.setup)
	f.version++
	f.announce()
}

func (f *Front) configure(s Settings) error {
	p, err := newPolicy(s)
	if err == nil {
		f.policy.Store(p)
		f.memory.limit(p.memory)
	}
	return err
}

func (f *Front) set(p *process, failure error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.process, f.failure = p, failure
	f.problems.Store(new([]Problem))
	f.announce()
}

// announce wakes the goroutines that wait for a change. It is called with f.mu held.
func (f *Front) announce() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// running returns the query process, or why there is none.
func (f *Front) running() (*process, error) {
	f.mu.Lock()
	p, failure := f.process, f.failure
	f.mu.Unlock()
	if p == nil && failure == nil {
		return nil, ErrNoProcess
	}
	return p, failure
}

// await returns the query process. It waits until there is one, as long as ctx lasts, and, if
// current is set, until that process has the latest settings. When a process has ended, the next
// one is about to be started.
func (f *Front) await(ctx context.Context, current bool) (*process, error) {
	for {
		f.mu.Lock()
		p, changed, failure := f.process, f.changed, f.failure
		behind := p != nil && p.version != f.version
		f.mu.Unlock()
		switch {
		case p != nil && p.lives() && !(current && behind):
			return p, nil
		case errors.Is(failure, ErrClosed):
			return nil, failure
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, cmp.Or(failure, ErrNoProcess)
		}
	}
}

// ServeHTTP answers a request whose method and path are one of Routes. Other paths are answered
// with 404.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	meter := f.meters[r.URL.Path]
	if meter == nil {
		route := quote(shardus.TextValue("Route " + r.Method + ":" + r.RequestURI + " not found"))
		respond(w, http.StatusNotFound,
			fmt.Appendf(nil, `{"message":%s,"error":"Not Found","statusCode":404}`, route))
		return
	}
	begun := time.Now()
	status := http.StatusOK
	if r.URL.Path == configPath {
		respond(w, status, f.policy.Load().config)
	} else {
		status = f.serve(w, r)
	}
	meter.count(status, time.Since(begun))
}

// requestTime returns how long a request may take with the query process. The query process itself
// ends it a second earlier.
func (f *Front) requestTime() time.Duration { return f.policy.Load().requestTime + time.Second }

// serve answers a POST and returns the status.
func (f *Front) serve(w http.ResponseWriter, r *http.Request) int {
	from, size := f.origin(r.RemoteAddr), bodySize(r)
	if err := f.takeForBody(r.Context(), from, size); err != nil {
		return f.refuse(r.Context(), w, err)
	}
	defer func() { f.memory.giveBack(from, size) }()
	text, kind, malformed := readBody(r)
	if malformed != nil {
		respond(w, malformed.status, malformed.body())
		return malformed.status
	}
	f.memory.giveBack(from, size-int64(len(text)))
	size = int64(len(text))

	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	late := time.AfterFunc(f.requestTime(), func() { cancel(ErrTimeout) })
	defer late.Stop()
	relay := &relay{front: f, ctx: ctx, path: r.URL.Path, kind: kind, text: text, from: from}
	defer relay.end()
	if err := relay.begin(); err != nil {
		return f.refuse(r.Context(), w, err)
	}
	late.Stop()
	status := relay.answer.StatusCode
	to := &clientWriter{ResponseWriter: w}
	if err := relay.write(to, f.signer); err != nil && !to.gone && r.Context().Err() == nil {
		f.log.Warn("an answer was cut", "path", r.URL.Path, "error", err)
	}
	return status
}

// clientWriter records whether a write failed, because then the client has left, and the server has
// done nothing wrong.
type clientWriter struct {
	http.ResponseWriter
	gone bool
}

func (t *clientWriter) Write(b []byte) (int, error) {
	n, err := t.ResponseWriter.Write(b)
	t.gone = t.gone || err != nil
	return n, err
}

func (f *Front) takeForBody(ctx context.Context, from netip.Addr, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, f.policy.Load().requestTime)
	defer cancel()
	if !f.memory.wait(ctx, from, size) {
		return ErrCrowded
	}
	return nil
}

// refuse answers without the query process. ctx is the client's.
func (f *Front) refuse(ctx context.Context, w http.ResponseWriter, err error) int {
	switch {
	case ctx.Err() != nil:
		return clientGone
	case errors.Is(err, context.Canceled):
		err = ErrTimeout
	}
	out := refusing(unanswered(err))
	seal := out.seal(f.hashKey)
	h := w.Header()
	h.Set("Retry-After", "1")
	respond(w, http.StatusServiceUnavailable, seal.put(out.text, f.signer))
	return http.StatusServiceUnavailable
}

// Health returns the problems that keep the API from answering, or none. It returns what the query
// process reported last, which is asked once a second (checkDatabases), so it never waits.
func (f *Front) Health() []Problem {
	f.mu.Lock()
	failure := f.failure
	f.mu.Unlock()
	if failure != nil {
		return []Problem{{Text: failure.Error()}}
	}
	return *f.problems.Load()
}

// RowCounts returns the number of rows of each table, by name, without regard to the stop cycle.
// Tables whose database does not answer are left out. The counts of GET /metrics start with it.
func (f *Front) RowCounts(ctx context.Context) map[string]int64 {
	var rows map[string]int64
	if p, err := f.await(ctx, false); err != nil || p.get(ctx, rowsPath, &rows) != nil {
		return nil
	}
	return rows
}

// Snapshot returns the counters. Those of the tables are as the query process last reported them.
func (f *Front) Snapshot() Snapshot {
	s := Snapshot{
		Endpoints: make(map[string]EndpointSnapshot), Tables: make(map[string]TableSnapshot),
		Held: f.memory.held(),
	}
	for path, m := range f.meters {
		s.Endpoints[path] = m.snapshot()
	}
	if p, err := f.running(); err == nil {
		s.PID = p.pid()
	}
	maps.Copy(s.Tables, *f.tables.Load())
	return s
}

// Connect returns a connection to the query process, for a request to its /debug/pprof/.
func (f *Front) Connect() (net.Conn, error) {
	p, err := f.running()
	if err != nil {
		return nil, err
	}
	return p.channel.dial(context.Background(), "", "")
}
