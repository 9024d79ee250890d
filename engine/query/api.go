package query

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"distributor/wsproto/shardus"
)

const (
	// Defaults of Settings.
	requestTime = 10 * time.Second
	memory      = 256 << 20
	// hungQuery is how much longer than its request's time a query may run. The driver (go-sqlite3
	// 1.14) interrupts a query once, and has no effect if the context ends just before SQLite begins.
	// Such a query would keep its connection until it is done. So the query process ends, and is
	// started again.
	hungQuery = 5 * time.Second
	// keptBuffer is the largest buffer that is kept for the next answer, in bytes.
	keptBuffer = 2 << 20

	contentJSON = "application/json; charset=utf-8"
	// clientGone is nginx's status for a client that left. It is only counted, never sent.
	clientGone = 499
)

// Databases are the paths of the files that hold the tables. Several may be the same file.
type Databases struct {
	Cycles, Accounts, Transactions, Receipts, OriginalTxs string
}

// API answers requests in the query process: those that the primary sends, without signatures. All
// methods may be called from any goroutine.
type API struct {
	hashKey shardus.HashKey
	now     func() time.Time
	grace   time.Duration // hungQuery; shorter in tests
	hung    func()        // called when a query has run for grace after its request's time

	policy  atomic.Pointer[policy]
	files   []*file
	sources struct{ cycles, accounts, transactions, receipts, originalTxs source }
	routes  map[string]*endpoint

	work    semaphore // for requests that keep a processor busy: checks, rows, hashes
	buffers sync.Pool // of *[]byte
}

// semaphore bounds the requests that keep a processor busy, to the number of processors. The kernel
// prefers the firehose's processes to this one.
type semaphore chan struct{}

func newSemaphore() semaphore { return make(semaphore, runtime.GOMAXPROCS(0)) }

// acquire waits until fewer than the bound hold the semaphore. Without an error the caller must
// call release.
func (p semaphore) acquire(ctx context.Context) error {
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p semaphore) release() { <-p }

// NewAPI makes an API. No file has to exist: each is opened at its first use.
func NewAPI(d Databases, key shardus.HashKey, s Settings, log *slog.Logger) (*API, error) {
	a := &API{
		hashKey: key, now: time.Now, grace: hungQuery, hung: func() {},
		routes:  make(map[string]*endpoint),
		work:    newSemaphore(),
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
	if err := a.Reload(s); err != nil {
		return nil, err
	}
	for _, e := range endpoints {
		a.routes[e.path] = e
	}
	byPath := make(map[string]*file)
	for _, s := range []struct {
		source *source
		spec   spec
		path   string
	}{
		{&a.sources.cycles, cyclesSpec, d.Cycles},
		{&a.sources.accounts, accountsSpec, d.Accounts},
		{&a.sources.transactions, transactionsSpec, d.Transactions},
		{&a.sources.receipts, receiptsSpec, d.Receipts},
		{&a.sources.originalTxs, originalTxsSpec, d.OriginalTxs},
	} {
		f := byPath[s.path]
		if f == nil {
			f = &file{path: s.path, now: func() time.Time { return a.now() }}
			byPath[s.path] = f
			a.files = append(a.files, f)
		}
		s.source.spec, s.source.file, s.source.work, s.source.log = s.spec, f, a.work, log
	}
	return a, nil
}

// Reload sets the settings for the requests that follow. Requests under way keep the former ones.
// On an error nothing has changed.
func (a *API) Reload(s Settings) error {
	p, err := newPolicy(s)
	if err == nil {
		a.policy.Store(p)
	}
	return err
}

// Close closes each database after its last request. Later requests are refused.
func (a *API) Close() {
	for _, f := range a.files {
		f.close()
	}
}

func (a *API) all() []*source {
	s := &a.sources
	return []*source{&s.cycles, &s.accounts, &s.transactions, &s.receipts, &s.originalTxs}
}

// Health returns the errors that keep databases from answering, or none. It checks a database at
// most once a second for all callers, and retries those that failed. ctx bounds the time: a locked
// database takes two seconds.
func (a *API) Health(ctx context.Context) []*DatabaseError {
	found := make([]*DatabaseError, 5)
	var checking sync.WaitGroup
	for i, s := range a.all() {
		checking.Go(func() { found[i] = s.probe(ctx) })
	}
	checking.Wait()
	problems := found[:0]
	for _, p := range found {
		if p != nil {
			problems = append(problems, p)
		}
	}
	return problems
}

// RowCounts returns the number of rows of each table, by name, without regard to the stop cycle.
// Tables whose database does not answer are left out. The counts of GET /metrics start with it.
func (a *API) RowCounts(ctx context.Context) map[string]int64 {
	counts := make(map[string]int64)
	for _, s := range a.all() {
		if n, err := unlimited.total(ctx, s); err == nil {
			counts[s.name] = n
		}
	}
	return counts
}

var unlimited = &policy{stop: -1}

// ServeHTTP answers a request whose path is one of the endpoints'. The primary has read the body:
// its Content-Type is that of its kind.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := a.routes[r.URL.Path]
	if e == nil {
		http.NotFound(w, r)
		return
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return // the primary has ended, or has cancelled the request
	}
	policy := a.policy.Load()
	ctx, cancel := context.WithTimeout(r.Context(), policy.requestTime)
	defer cancel()
	s, status, why, err := a.accept(ctx, policy, e, text, kindOf(r.Header.Get("Content-Type")))
	if err != nil {
		a.fail(w, err)
		return
	}
	if why != nil {
		a.refuse(w, status, why)
		return
	}

	buffer := a.buffers.Get().(*[]byte)
	out := &answer{text: (*buffer)[:0]}
	defer func() {
		if cap(out.text) <= keptBuffer {
			*buffer = out.text
		}
		a.buffers.Put(buffer)
	}()
	watch := time.AfterFunc(policy.requestTime+a.grace, a.hung)
	err = e.answer(a, ctx, policy, s, out)
	watch.Stop()
	if err != nil {
		a.fail(w, err)
		return
	}
	if err := a.work.acquire(ctx); err != nil {
		a.fail(w, classify(err))
		return
	}
	seal := out.seal(a.hashKey)
	a.work.release()
	w.Header().Set(sealHeader, seal.String())
	respond(w, http.StatusOK, out.text)
}

// accept parses and checks a request. It holds the semaphore, because a body of 1 MiB can become a
// tree of 40 MiB.
func (a *API) accept(
	ctx context.Context, p *policy, e *endpoint, text []byte, kind bodyKind,
) (s selection, status int, why *refusal, err error) {
	if err := a.work.acquire(ctx); err != nil {
		return s, 0, nil, classify(err)
	}
	defer a.work.release()
	request, err := kind.parse(text)
	if err != nil {
		return s, 0, nil, err
	}
	if why := p.check(request, e.fields, a.hashKey, a.now()); why != nil {
		return s, e.refused, why, nil
	}
	s, why = e.choose(request, e.limits)
	return s, http.StatusOK, why, nil
}

// refuse writes a refusal, sealed unless it is unsigned.
func (a *API) refuse(w http.ResponseWriter, status int, why *refusal) {
	out := refusing(why)
	if !why.unsigned {
		w.Header().Set(sealHeader, out.seal(a.hashKey).String())
	}
	respond(w, status, out.text)
}

// fail writes the error of a valid request. The status is 503, so that clients take it neither for
// an answer nor for their own fault.
func (a *API) fail(w http.ResponseWriter, err error) {
	var malformed *httpError
	switch {
	case errors.As(err, &malformed):
		respond(w, malformed.status, malformed.body())
	case errors.Is(err, context.Canceled):
	default:
		w.Header().Set("Retry-After", "1")
		a.refuse(w, http.StatusServiceUnavailable, unanswered(err))
	}
}

// unanswered returns the refusal for an error that is not the request's fault.
func unanswered(err error) *refusal {
	var database *DatabaseError
	if errors.As(err, &database) {
		return refuse(database.public())
	}
	return refuse(strings.TrimPrefix(err.Error(), "query: "))
}

func respond(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentJSON)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails if the client has left
}
