package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"distributor/engine/supervisor"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// Limits of the HTTP server. They bound how long a client can hold a
// connection by doing nothing; none holds for a socket that was handed over.
const (
	headerTimeout = 10 * time.Second // for a whole request line and headers
	readTimeout   = time.Minute      // for the body as well: at most 1 MiB is wanted
	writeTimeout  = 2 * time.Minute  // from the headers to the end of the answer, a few MB at most
	idleTimeout   = 72 * time.Second // as fastify's keep-alive; a connection that idles counts like any other

	// headerBytes and the 4 KiB that net/http adds are Node's 16 KiB for the
	// request line and all headers.
	headerBytes = 12 << 10

	// cutGrace is how long handlers that were cut off may take to notice: first that their
	// requests' context has ended, then that their connections are closed.
	cutGrace = 500 * time.Millisecond

	// retireEvery is how often Shutdown looks for connections without a request.
	retireEvery = 100 * time.Millisecond

	// maxLeaving bounds the connections that were turned away and may still read why, each with a
	// goroutine; fewLeaving those that have one of the last descriptors.
	maxLeaving = 1024
	fewLeaving = spareDescriptors / 2
)

// Connector takes authenticated sockets. Connect must be done with c and fd
// when it returns; the gateway closes its own descriptor then. An error means
// that no worker has the socket, nor will have: the gateway answers on it. It
// is called from many goroutines. supervisor.Supervisor is one.
type Connector interface {
	Connect(ctx context.Context, c supervisor.Client, fd int) error
}

// FrameLog is what the gateway asks of the frame log. FrameEnd is called by
// one goroutine at a time, the others by any.
type FrameLog interface {
	ID() [16]byte
	Head() uint64
	Floor() uint64
	FrameEnd(offset uint64) (uint64, error) // offset itself where it is a frame boundary
	// Ancestor tells up to where an offset under an earlier ID means what it means now; not ok: that ID is not known.
	Ancestor(id [16]byte) (end uint64, ok bool)
}

// Subscriber is one that may connect when the list is in force.
type Subscriber struct {
	Key     shardus.PublicKey
	Type    string    // subscriptionType, compared as text
	Expires time.Time // zero: never
}

// Settings are what a reload may change.
type Settings struct {
	LimitToSubscribersOnly bool
	Subscribers            []Subscriber // of a key that stands there twice the last one counts
	HandshakeWindow        time.Duration
	HashKey                shardus.HashKey
	RateLimit              int  // requests of an address a second; 0: no limit
	UpgradeRateLimit       int  // upgrades of an address a second, upgradeBurst times as many at once; 0: no limit
	MaxConnections         int  // sockets that are no worker's; each costs a goroutine and about 10 KiB
	Deflate                bool // permessage-deflate is for those who offer it
}

// Options say what a Gateway works with. API, Health and Resume may be nil.
type Options struct {
	Settings Settings
	Workers  Connector
	Frames   FrameLog
	// Resume tells the offset that a key has confirmed, if it is to go on from
	// there when it does not say itself where to begin.
	Resume func(key string) (offset uint64, ok bool)
	// Health returns what is wrong just now; nil: nothing ever is. Each /is-healthy calls it, so it
	// answers from memory.
	Health func() []Problem
	// API answers the HTTP API's requests, by method and exact path: "GET /config". GET stands for
	// HEAD too. CORS headers are set.
	API map[string]http.Handler
	// Reserved is how many descriptors API may take. Connections leave them alone.
	Reserved int
	Log      *slog.Logger
}

// Gateway is the HTTP server on the public port. All methods may be called
// from any goroutine.
type Gateway struct {
	workers Connector
	frames  FrameLog
	resume  func(key string) (uint64, bool)
	api     map[string]http.Handler
	log     *slog.Logger
	now     func() time.Time

	policy   atomic.Pointer[policy]
	used     replays
	refused  *ledger
	conns    *connections
	requests rates // limited by RateLimit
	checks   rates // health checks, limited by healthRate
	upgrades rates
	health   func() []Problem
	framesMu sync.Mutex // serialises FrameLog.FrameEnd
	handed   atomic.Uint64
	missed   atomic.Uint64
	leaving  atomic.Int64 // connections that were turned away and have not left yet

	server *http.Server
	stop   context.CancelCauseFunc // ends the context of every request

	lookGone      time.Duration // the constant of that name
	limitLoopback bool          // tests only: their addresses are all of them

	runningMu sync.Mutex     // guards the three below, and orders Add of the groups before Wait
	listener  net.Listener   // Serve's
	stopped   bool           // Shutdown has begun
	closed    bool           // requests are refused
	serving   sync.WaitGroup // Serve
	running   sync.WaitGroup // handlers; the server itself does not wait for one that took its socket
}

// New makes a gateway, which serves nothing yet.
func New(o Options) *Gateway {
	if o.Resume == nil {
		o.Resume = func(string) (uint64, bool) { return 0, false }
	}
	g := &Gateway{
		workers: o.Workers, frames: o.Frames, resume: o.Resume,
		api: o.API, log: o.Log, now: time.Now, health: o.Health, lookGone: lookGone,
	}
	g.requests.hold, g.checks.hold, g.upgrades.hold = holdMost, holdMost, holdMost
	g.checks.set(healthRate, healthRate)
	g.refused = newLedger(o.Log, func() time.Time { return g.now() })
	g.conns = newConnections(o.Reserved, g.limited, g.turnAway)
	g.Reload(o.Settings)

	var base context.Context
	base, g.stop = context.WithCancelCause(context.Background())
	g.server = &http.Server{
		Handler:                      http.HandlerFunc(g.handle),
		DisableGeneralOptionsHandler: true, // OPTIONS * is a preflight like any other
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               headerBytes,
		ConnState:                    g.conns.changed,
		ConnContext:                  withConn,
		BaseContext:                  func(net.Listener) context.Context { return base },
		// Of what clients do.
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelInfo),
	}
	return g
}

// Reload puts settings into force for the requests that follow. A request that
// is being looked at keeps to the former ones, and clients stay connected.
func (g *Gateway) Reload(s Settings) {
	g.policy.Store(newPolicy(s))
	g.requests.set(s.RateLimit, s.RateLimit)
	g.upgrades.set(s.UpgradeRateLimit, upgradeBurst*s.UpgradeRateLimit)
	g.conns.limit(s.MaxConnections, maxWaiting(s))
}

// maxWaiting is how many connections may wait for room.
func maxWaiting(s Settings) int { return max(s.MaxConnections, 2*upgradeBurst*s.UpgradeRateLimit) }

// Descriptors returns how many descriptors connections may take that are no worker's: open ones,
// those that wait, and those that were turned away and may read why.
func Descriptors(s Settings) int {
	return s.MaxConnections + maxWaiting(s) + maxLeaving + spareDescriptors
}

// Expiry returns when the subscription of a key ends, by the settings in
// force, as supervisor.SetExpiry wants to know it: zero for never, and a time
// that has passed for a key that may not connect at all (any more).
func (g *Gateway) Expiry(key string) time.Time {
	p := g.policy.Load()
	if !p.limit {
		return time.Time{}
	}
	parsed, err := shardus.ParsePublicKey(key)
	if s, known := p.subscribers[parsed]; known && err == nil {
		return s.Expires
	}
	return time.Unix(0, 0)
}

// Serve accepts connections until Shutdown, which makes it return nil, or
// until the listener fails. It closes the listener.
func (g *Gateway) Serve(l net.Listener) error {
	in := newEntrance(l, g.conns)
	go in.run()
	if !g.begin(l) {
		return in.Close()
	}
	defer g.serving.Done()
	err := g.server.Serve(in)
	g.conns.abandon()
	if !g.isStopped() {
		return fmt.Errorf("gateway: serve: %w", err)
	}
	return nil
}

// begin reports whether Serve may begin.
func (g *Gateway) begin(l net.Listener) bool {
	g.runningMu.Lock()
	defer g.runningMu.Unlock()
	if !g.stopped {
		g.serving.Add(1)
		g.listener = l
	}
	return !g.stopped
}

func (g *Gateway) isStopped() bool {
	g.runningMu.Lock()
	defer g.runningMu.Unlock()
	return g.stopped
}

// stopAccepting makes Serve return when all connections that were accepted have a handler.
func (g *Gateway) stopAccepting() {
	g.runningMu.Lock()
	defer g.runningMu.Unlock()
	g.stopped = true
	if g.listener != nil {
		_ = g.listener.Close()
	}
}

// Shutdown stops accepting. Connections that have been accepted go on: each gets the answer to its
// next request, which says that it is the last, and is closed then. One without a request is closed
// after grace. When ctx ends, Shutdown cuts off what is still under way, and says so by ctx's
// error.
func (g *Gateway) Shutdown(ctx context.Context, grace time.Duration) error {
	g.conns.leave()
	g.stopAccepting()
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		g.serving.Wait() // no connection comes any more
		<-g.conns.vacated()
		g.refuseAll()
		g.running.Wait()
	}()
	idle := time.NewTimer(grace)
	defer idle.Stop()
	var err error
	for done := false; !done; {
		select {
		case <-waited:
			done = true
		case <-idle.C:
			g.conns.retire(retireEvery, true)
			idle.Reset(retireEvery)
		case <-ctx.Done():
			err = fmt.Errorf("gateway: requests cut off at shutdown: %w", ctx.Err())
			done = true
		}
	}
	g.refuseAll()
	g.stop(supervisor.ErrStopping)
	select { // answers that say why
	case <-waited:
	case <-time.After(cutGrace):
	}
	g.conns.cut()
	_ = g.server.Close()
	select {
	case <-waited:
	case <-time.After(cutGrace):
	}
	return err
}

// refuseAll makes handle refuse what still comes.
func (g *Gateway) refuseAll() {
	g.runningMu.Lock()
	defer g.runningMu.Unlock()
	g.closed = true
}

// Snapshot is a count of everything since New.
type Snapshot struct {
	Connections int               // open now: sockets that are no worker's, or not yet
	Waiting     int               // accepted, and without room so far
	HandedOver  uint64            // sockets given to workers
	Refused     map[string]uint64 // requests by reason, every reason there from the start
	Missed      uint64            // clients that came back to less than the frame log has
	Malformed   uint64            // connections ended over a request that was no HTTP, too long, or not complete in time
}

// Snapshot returns the counters.
func (g *Gateway) Snapshot() Snapshot {
	s := Snapshot{HandedOver: g.handed.Load(), Missed: g.missed.Load(), Refused: g.refused.counts()}
	s.Connections, s.Waiting, s.Malformed = g.conns.counts()
	return s
}

func (g *Gateway) handle(w http.ResponseWriter, r *http.Request) {
	g.conns.handled(r)
	if !g.enter() {
		why := refuse(stopping, "the distributor is being stopped, try again later")
		g.refused.add(why.reason, why.sentence, r.RemoteAddr)
		why.answer(w)
		return
	}
	defer g.running.Done()
	defer g.conns.answered(connOf(r))
	if g.conns.closing.Load() {
		w.Header().Set("Connection", "close")
	}
	tracked := &response{ResponseWriter: w}
	defer g.recovered(tracked, r)
	if wsproto.IsUpgrade(r.Header) {
		g.upgrade(tracked, r)
		return
	}
	g.route(tracked, r)
}

func (g *Gateway) enter() bool {
	g.runningMu.Lock()
	defer g.runningMu.Unlock()
	if g.closed {
		return false
	}
	g.running.Add(1)
	return true
}

// recovered turns a panic of a handler into a 500, or a cut connection where
// an answer has begun.
func (g *Gateway) recovered(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		g.refused.add(panicked, fmt.Sprintf("%s %.100q: %v\n%s", r.Method, r.URL.Path, v, debug.Stack()), r.RemoteAddr)
		if !w.begun {
			w.Header().Set("Connection", "close")
			writeJSON(w, http.StatusInternalServerError, badRequest{"Internal Server Error", "this is a fault of the distributor's and has been logged", 500})
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// response knows whether something of it is out.
type response struct {
	http.ResponseWriter
	begun bool
}

func (r *response) WriteHeader(status int) {
	r.begun = true
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(b []byte) (int, error) {
	r.begun = true
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// turnAway answers a connection that there is no room for, and closes it when its client has, or
// lingerTimeout is over.
func (g *Gateway) turnAway(conn net.Conn, why *refusal) {
	g.refused.add(why.reason, why.sentence, conn.RemoteAddr().String())
	most := int64(maxLeaving)
	if why.reason == noDescriptors {
		most = fewLeaving
	}
	if g.leaving.Add(1) > most {
		// A fresh socket has room for the answer. The deadline is for a busy machine.
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = conn.Write(why.appendTo(nil))
		g.leaving.Add(-1)
		endInput(conn)
		_ = conn.Close()
		return
	}
	go func() {
		defer g.leaving.Add(-1)
		answerBare(conn, why)
		_ = conn.Close()
	}()
}
