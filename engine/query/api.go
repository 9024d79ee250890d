package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
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
	// keptBuffer is the largest buffer that is kept for the next answer.
	keptBuffer = 2 << 20

	contentJSON = "application/json; charset=utf-8"
	// clientGone is nginx's status for a client that left; it is only counted.
	clientGone = 499
)

// Databases are the paths of the files that hold the tables. They may be the same file.
type Databases struct {
	Cycles, Accounts, Transactions, Receipts, OriginalTxs string
}

// Options say what an API works with.
type Options struct {
	Databases Databases
	Settings  Settings
	Signer    *shardus.Signer
	HashKey   shardus.HashKey
	Log       *slog.Logger
	// Origin tells for whom a connection's other end counts in limits for an address.
	Origin func(remote string) netip.Addr
}

// API is the http.Handler of the HTTP API. All methods may be called from any goroutine.
type API struct {
	signer  *shardus.Signer
	hashKey shardus.HashKey
	origin  func(remote string) netip.Addr
	now     func() time.Time

	policy  atomic.Pointer[policy]
	files   []*file
	sources struct{ cycles, accounts, transactions, receipts, originalTxs source }
	routes  map[string]*endpoint
	meters  map[string]*meter // by path; GET /config has one too

	work    places    // for requests that keep a processor busy: checks, rows, signatures
	memory  budget    // of bodies until they are checked, and of answers while they are written
	buffers sync.Pool // of *[]byte
}

// places are taken by who works. There is one less than there are processors, but one at least: the firehose is encoded
// in the same process, and must not stand in line behind answers.
type places chan struct{}

func newPlaces() places { return make(places, max(1, runtime.GOMAXPROCS(0)-1)) }

// take waits for a place. On an error there is none to leave.
func (p places) take(ctx context.Context) error {
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p places) leave() { <-p }

// New makes an API. No file has to be there: each is opened at its first use.
func New(o Options) (*API, error) {
	a := &API{
		signer: o.Signer, hashKey: o.HashKey, origin: o.Origin, now: time.Now,
		routes: make(map[string]*endpoint), meters: map[string]*meter{configPath: new(meter)},
		work:    newPlaces(),
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
	if err := a.Reload(o.Settings); err != nil {
		return nil, err
	}
	for _, e := range endpoints {
		a.routes[e.path], a.meters[e.path] = e, new(meter)
	}
	byPath := make(map[string]*file)
	for _, s := range []struct {
		source *source
		spec   spec
		path   string
	}{
		{&a.sources.cycles, cyclesSpec, o.Databases.Cycles},
		{&a.sources.accounts, accountsSpec, o.Databases.Accounts},
		{&a.sources.transactions, transactionsSpec, o.Databases.Transactions},
		{&a.sources.receipts, receiptsSpec, o.Databases.Receipts},
		{&a.sources.originalTxs, originalTxsSpec, o.Databases.OriginalTxs},
	} {
		f := byPath[s.path]
		if f == nil {
			f = &file{path: s.path, now: func() time.Time { return a.now() }}
			byPath[s.path] = f
			a.files = append(a.files, f)
		}
		s.source.spec, s.source.file, s.source.work, s.source.log = s.spec, f, a.work, o.Log
	}
	return a, nil
}

// Reload puts settings into force for the requests that follow; one that is under way keeps to the former. On an error
// nothing has changed.
func (a *API) Reload(s Settings) error {
	p, err := newPolicy(s)
	if err == nil {
		a.policy.Store(p)
		a.memory.limit(p.memory)
	}
	return err
}

// Close closes the databases when the last request is done with them. Requests that come later are refused.
func (a *API) Close() {
	for _, f := range a.files {
		f.close()
	}
}

func (a *API) all() []*source {
	s := &a.sources
	return []*source{&s.cycles, &s.accounts, &s.transactions, &s.receipts, &s.originalTxs}
}

// Health gives what keeps databases from answering; nothing when all is well. It looks at a database at most once a
// second, whoever asks, and tries those again that failed. ctx bounds that; a locked database takes two seconds.
func (a *API) Health(ctx context.Context) []*DatabaseError {
	found := make([]*DatabaseError, 5)
	var looking sync.WaitGroup
	for i, s := range a.all() {
		looking.Go(func() { found[i] = s.probe(ctx) })
	}
	looking.Wait()
	problems := found[:0]
	for _, p := range found {
		if p != nil {
			problems = append(problems, p)
		}
	}
	return problems
}

// RowCounts gives the number of rows of each table, by name, whatever the stop cycle; tables whose database does not
// answer are not there. The counts of GET /metrics begin with it.
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

// ServeHTTP answers a request whose method and path are one of the API's: POST for all but GET /config. Other paths are
// answered with 404.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	meter := a.meters[r.URL.Path]
	if meter == nil {
		body := fmt.Sprintf(`{"message":%s,"error":"Not Found","statusCode":404}`, quote(shardus.TextValue("Route "+r.Method+":"+r.RequestURI+" not found")))
		a.write(w, http.StatusNotFound, []byte(body))
		return
	}
	begun := a.now()
	var status int
	if r.URL.Path == configPath {
		status = a.write(w, http.StatusOK, a.policy.Load().config)
	} else {
		status = a.serve(w, r, a.routes[r.URL.Path])
	}
	meter.count(status, a.now().Sub(begun))
}

const configPath = "/config"

// serve answers a POST and gives the status.
func (a *API) serve(w http.ResponseWriter, r *http.Request, e *endpoint) int {
	from, size := a.origin(r.RemoteAddr), bodySize(r)
	if !a.memory.take(from, size) {
		return a.fail(w, ErrCrowded)
	}
	give := sync.OnceFunc(func() { a.memory.give(from, size) })
	defer give()
	text, kind, failure := readBody(r)
	if failure != nil {
		return a.write(w, failure.status, failure.body())
	}
	policy := a.policy.Load()
	ctx, cancel := context.WithTimeout(r.Context(), policy.requestTime)
	defer cancel()
	s, status, why, err := a.accept(ctx, policy, e, text, kind)
	give()
	if err != nil {
		return a.fail(w, err)
	}
	if why != nil {
		return a.send(w, from, status, a.refusal(why))
	}

	buffer := a.buffers.Get().(*[]byte)
	out := &answer{text: (*buffer)[:0]}
	defer func() {
		if cap(out.text) <= keptBuffer {
			*buffer = out.text
		}
		a.buffers.Put(buffer)
	}()
	if err := e.answer(a, ctx, policy, s, out); err != nil {
		return a.fail(w, err)
	}
	if err := a.work.take(ctx); err != nil {
		return a.fail(w, classify(err))
	}
	out.signed(a.signer)
	a.work.leave()
	return a.send(w, from, http.StatusOK, out.text)
}

// send writes an answer, which may take its client long to read.
func (a *API) send(w http.ResponseWriter, to netip.Addr, status int, body []byte) int {
	size := int64(len(body))
	if !a.memory.take(to, size) {
		return a.fail(w, ErrCrowded)
	}
	defer a.memory.give(to, size)
	return a.write(w, status, body)
}

// accept parses and checks a request, as many at a time as there are places: a body of 1 MiB can become a tree of 40.
func (a *API) accept(ctx context.Context, p *policy, e *endpoint, text []byte, kind bodyKind) (s selection, status int, why *refusal, err error) {
	if err := a.work.take(ctx); err != nil {
		return s, 0, nil, classify(err)
	}
	defer a.work.leave()
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

// refusal gives the answer that a refusal is, signed but for one.
func (a *API) refusal(why *refusal) []byte {
	out := refusing(why)
	if !why.unsigned {
		out.signed(a.signer)
	}
	return out.text
}

// fail writes why a sound request got no answer: signed, with 503 so that it is taken neither for an answer nor for the
// client's fault.
func (a *API) fail(w http.ResponseWriter, err error) int {
	var malformed *httpError
	var database *DatabaseError
	switch {
	case errors.As(err, &malformed):
		return a.write(w, malformed.status, malformed.body())
	case errors.Is(err, context.Canceled):
		return clientGone
	}
	sentence := strings.TrimPrefix(err.Error(), "query: ")
	if errors.As(err, &database) {
		sentence = database.public()
	}
	w.Header().Set("Retry-After", "1")
	return a.write(w, http.StatusServiceUnavailable, a.refusal(refuse(sentence)))
}

func (a *API) write(w http.ResponseWriter, status int, body []byte) int {
	h := w.Header()
	h.Set("Content-Type", contentJSON)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have gone
	return status
}
