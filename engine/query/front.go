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

// configPath is answered by the primary: it has no rows, and no signature.
const configPath = "/config"

// Options say what a Front works with.
type Options struct {
	Command   []string // the query process's command line
	Env       []string // and its whole environment
	Databases Databases
	Settings  Settings
	LogLevel  slog.Level
	Signer    *shardus.Signer
	HashKey   shardus.HashKey
	// Origin tells for whom a connection's other end counts in limits for an address.
	Origin func(remote string) netip.Addr
	Log    *slog.Logger
}

// Front is the HTTP API's side in the primary: an http.Handler that hands requests on to the query process, and signs
// its answers. All methods may be called from any goroutine.
type Front struct {
	command, env []string
	signer       *shardus.Signer
	hashKey      shardus.HashKey
	origin       func(remote string) netip.Addr
	log          *slog.Logger

	meters map[string]*meter // by path
	policy atomic.Pointer[policy]
	memory budget // of bodies until they are checked, and of answers while they are written
	places budget // of requests with the query process, each with a connection to it
	looks  looks

	mu      sync.Mutex    // guards what follows
	setup   setup         // what the query process is to have
	version uint64        // of setup
	process *process      // nil: not running
	failure error         // why not, unless it is starting for the first time
	changed chan struct{} // closed when one of these changes

	tables   atomic.Pointer[map[string]TableSnapshot] // as last told
	problems atomic.Pointer[[]Problem]                // as last told

	stop    context.CancelFunc
	keeping sync.WaitGroup
}

// Problem keeps a part of the API from answering.
type Problem struct {
	Table string // whose database does not answer; "": the whole API does not
	Text  string
}

// New starts the query process. Requests wait for it; when it ends it is started again.
func New(o Options) (*Front, error) { return newLooking(o, defaultLooks) }

func newLooking(o Options, l looks) (*Front, error) {
	f := newFront(o)
	f.looks = l
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
		command: o.Command, env: o.Env, signer: o.Signer, hashKey: o.HashKey, origin: o.Origin, log: o.Log,
		meters: map[string]*meter{configPath: new(meter)}, changed: make(chan struct{}),
		setup: setup{o.Databases, o.HashKey, o.Settings, o.LogLevel},
	}
	for _, e := range endpoints {
		f.meters[e.path] = new(meter)
	}
	f.places.limit(int64(connections(descriptorLimit())))
	f.tables.Store(&map[string]TableSnapshot{})
	f.problems.Store(new([]Problem))
	return f
}

// Close ends the query process. Requests under way, and those that come later, are refused.
func (f *Front) Close() {
	f.stop()
	f.keeping.Wait()
	f.set(nil, ErrClosed)
}

// Reload puts settings and a log level into force for the requests that follow; one that is under way keeps to the
// former. On an error nothing has changed. It does not wait for the query process: the requests do.
func (f *Front) Reload(s Settings, level slog.Level) error {
	if err := f.configure(s); err != nil {
		return err
	}
	f.change(func(have *setup) { have.Settings, have.LogLevel = s, level })
	return nil
}

// SetLevel is a Reload of the log level alone.
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

// announce wakes those who wait for a change. f.mu is held.
func (f *Front) announce() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// running gives the query process, or why there is none.
func (f *Front) running() (*process, error) {
	f.mu.Lock()
	p, failure := f.process, f.failure
	f.mu.Unlock()
	if p == nil && failure == nil {
		return nil, ErrNoProcess
	}
	return p, failure
}

// await waits until a query process lives, as long as ctx lasts, with the settings that are in
// force if settled is set: when one has ended, the next one is about to be started.
func (f *Front) await(ctx context.Context, settled bool) (*process, error) {
	for {
		f.mu.Lock()
		p, changed, failure := f.process, f.changed, f.failure
		behind := p != nil && p.version != f.version
		f.mu.Unlock()
		switch {
		case p != nil && p.lives() && !(settled && behind):
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
		respond(w, http.StatusNotFound, fmt.Appendf(nil, `{"message":%s,"error":"Not Found","statusCode":404}`,
			quote(shardus.TextValue("Route "+r.Method+":"+r.RequestURI+" not found"))))
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

// requestTime is how long a request may take with the query process, which itself keeps to a second
// less.
func (f *Front) requestTime() time.Duration { return f.policy.Load().requestTime + time.Second }

// serve answers a POST and gives the status.
func (f *Front) serve(w http.ResponseWriter, r *http.Request) int {
	from, size := f.origin(r.RemoteAddr), bodySize(r)
	if err := f.takeForBody(r.Context(), from, size); err != nil {
		return f.refuse(r.Context(), w, err)
	}
	defer func() { f.memory.give(from, size) }()
	text, kind, malformed := readBody(r)
	if malformed != nil {
		respond(w, malformed.status, malformed.body())
		return malformed.status
	}
	f.memory.give(from, size-int64(len(text)))
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
	to := &taker{ResponseWriter: w}
	if err := relay.write(to, f.signer); err != nil && !to.gone && r.Context().Err() == nil {
		f.log.Warn("an answer was cut", "path", r.URL.Path, "error", err)
	}
	return status
}

// taker knows whether its client has not taken what was written, which is no fault of ours.
type taker struct {
	http.ResponseWriter
	gone bool
}

func (t *taker) Write(b []byte) (int, error) {
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

// refuse answers in place of the query process. ctx is the client's.
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

// Health gives what keeps the API from answering; nothing when all is well. It is what the query
// process told last, which is asked once a second (examine), so it never waits.
func (f *Front) Health() []Problem {
	f.mu.Lock()
	failure := f.failure
	f.mu.Unlock()
	if failure != nil {
		return []Problem{{Text: failure.Error()}}
	}
	return *f.problems.Load()
}

// RowCounts gives the number of rows of each table, by name, whatever the stop cycle; tables whose database does not
// answer are not there. The counts of GET /metrics begin with it.
func (f *Front) RowCounts(ctx context.Context) map[string]int64 {
	var rows map[string]int64
	if p, err := f.await(ctx, false); err != nil || p.tell(ctx, rowsPath, &rows) != nil {
		return nil
	}
	return rows
}

// Snapshot returns the counters, those of the tables as the query process told them last.
func (f *Front) Snapshot() Snapshot {
	s := Snapshot{Endpoints: make(map[string]EndpointSnapshot), Tables: make(map[string]TableSnapshot), Held: f.memory.held()}
	for path, m := range f.meters {
		s.Endpoints[path] = m.snapshot()
	}
	if p, err := f.running(); err == nil {
		s.PID = p.pid()
	}
	maps.Copy(s.Tables, *f.tables.Load())
	return s
}

// Connect gives a connection to the query process, for a request for its /debug/pprof/.
func (f *Front) Connect() (net.Conn, error) {
	p, err := f.running()
	if err != nil {
		return nil, err
	}
	return p.channel.dial(context.Background(), "", "")
}
