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

	"distributor/engine/problem"
	"distributor/engine/supervisor"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// Limits of the HTTP server. They limit how long a client can hold a connection without doing
// anything. None applies to a socket that was handed to a worker.
const (
	headerTimeout = 10 * time.Second // for a whole request line and headers
	readTimeout   = time.Minute      // with the body, of which at most 1 MiB is read
	writeTimeout  = 2 * time.Minute  // from the headers to the end of the answer, a few MB at most
	// as fastify's keep-alive; an idle connection counts like any other
	idleTimeout = 72 * time.Second

	// headerBytes and the 4 KiB that net/http adds equal Node's 16 KiB for the request line and all
	// headers.
	headerBytes = 12 << 10

	// cutGrace is how long interrupted handlers may take to notice: first that their requests'
	// contexts have ended, then that their connections are closed.
	cutGrace = 500 * time.Millisecond

	// retireEvery is how often Shutdown looks for connections without a request.
	retireEvery = 100 * time.Millisecond

	// maxLeaving is how many refused connections may still read their answer, each with a goroutine.
	// fewLeaving is the limit for those with one of the last descriptors.
	maxLeaving = 1024
	fewLeaving = spareDescriptors / 2
)

// Connector takes authenticated sockets. Connect must have finished with c and fd when it returns,
// because the gateway then closes its own descriptor. An error means that no worker has or will get
// the socket, so the gateway answers on it. Connect is called from many goroutines.
// supervisor.Supervisor implements Connector.
type Connector interface {
	Connect(ctx context.Context, c supervisor.Client, fd int) error
}

// FrameLog is what the gateway needs of the frame log. FrameEnd is called by one goroutine at a
// time, the other methods by any goroutine.
type FrameLog interface {
	ID() [16]byte
	Head() uint64
	Floor() uint64
	FrameEnd(offset uint64) (uint64, error) // offset itself if it is a frame boundary
	// Ancestor returns the end of the offsets that mean the same under an earlier ID as now. ok is
	// false if that ID is not known.
	Ancestor(id [16]byte) (end uint64, ok bool)
}

// Subscriber is a key that may connect when the list applies.
type Subscriber struct {
	Key     shardus.PublicKey
	Type    string    // subscriptionType, compared as text
	Expires time.Time // zero: never
}

// Settings are the settings that a reload may change.
type Settings struct {
	LimitToSubscribersOnly bool
	Subscribers            []Subscriber // if a key occurs twice, its last entry counts
	HandshakeWindow        time.Duration
	HashKey                shardus.HashKey
	RateLimit              int // requests per second of an address; 0: no limit
	// upgrades per second of an address, upgradeBurst times as many at once; 0: no limit
	UpgradeRateLimit int
	MaxConnections   int  // sockets outside workers; each costs a goroutine and about 10 KiB
	Deflate          bool // accept permessage-deflate from clients that offer it
}

// Options are the inputs of a Gateway. API, Health and Resume may be nil.
type Options struct {
	Settings Settings
	Workers  Connector
	Frames   FrameLog
	// Resume returns the offset that a key has confirmed. It is asked if the client does not say where
	// to begin; ok is false if the client should start live.
	Resume func(key string) (offset uint64, ok bool)
	// Health returns the present problems; without Health there never are any. Each /is-healthy calls
	// it, so it must answer from memory.
	Health func() []problem.Problem
	// API answers the requests of the HTTP API, by method and exact path: "GET /config". GET also
	// stands for HEAD. CORS headers are already set.
	API map[string]http.Handler
	// Reserved is how many descriptors API may need. Connections do not use them.
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
	health   func() []problem.Problem
	framesMu sync.Mutex // serialises FrameLog.FrameEnd
	handed   atomic.Uint64
	missed   atomic.Uint64
	leaving  atomic.Int64 // refused connections that are not closed yet

	server *http.Server
	stop   context.CancelCauseFunc // ends the context of every request

	lookGone      time.Duration // the constant of the same name
	limitLoopback bool          // for tests only: all their addresses are loopback

	runningMu sync.Mutex     // guards the three below, and orders Add of the groups before Wait
	listener  net.Listener   // Serve's
	stopped   bool           // Shutdown has begun
	closed    bool           // requests are refused
	serving   sync.WaitGroup // Serve
	running   sync.WaitGroup // handlers; the server does not wait for handlers that took their socket
}

// New returns a gateway that serves nothing yet.
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
		// Errors that clients cause.
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelInfo),
	}
	return g
}

// Reload applies settings to the requests that follow. A request that is being checked keeps the
// former settings, and clients stay connected.
func (g *Gateway) Reload(s Settings) {
	g.policy.Store(newPolicy(s))
	g.requests.set(s.RateLimit, s.RateLimit)
	g.upgrades.set(s.UpgradeRateLimit, upgradeBurst*s.UpgradeRateLimit)
	g.conns.limit(s.MaxConnections, maxWaiting(s))
}

// maxWaiting returns how many connections may wait for room.
func maxWaiting(s Settings) int { return max(s.MaxConnections, 2*upgradeBurst*s.UpgradeRateLimit) }

// Descriptors returns how many descriptors connections outside workers may take: open connections,
// waiting connections, and refused connections that still read their answer.
func Descriptors(s Settings) int {
	return s.MaxConnections + maxWaiting(s) + maxLeaving + spareDescriptors
}

// Expiry returns when the subscription of a key ends under the present settings, in the form of
// supervisor.SetExpiry: zero for never, and a time in the past for a key that may not connect.
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

// Serve accepts connections until Shutdown, then returns nil, or until the listener fails. It
// closes the listener.
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

// stopAccepting makes Serve return as soon as all accepted connections have a handler.
func (g *Gateway) stopAccepting() {
	g.runningMu.Lock()
	defer g.runningMu.Unlock()
	g.stopped = true
	if g.listener != nil {
		_ = g.listener.Close()
	}
}

// Shutdown stops accepting. Accepted connections continue: each gets the answer to its next
// request, which says that it is the last, and is closed then. A connection without a request is
// closed after grace. When ctx ends, Shutdown interrupts what is still in progress and returns
// ctx's error.
func (g *Gateway) Shutdown(ctx context.Context, grace time.Duration) error {
	g.conns.leave()
	g.stopAccepting()
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		g.serving.Wait() // no further connection comes
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
	select { // time for answers that say why
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

// refuseAll makes handle refuse all further requests.
func (g *Gateway) refuseAll() {
	g.runningMu.Lock()
	defer g.runningMu.Unlock()
	g.closed = true
}

// Snapshot holds counts since New.
type Snapshot struct {
	Connections int               // open now: sockets that no worker has, or not yet
	Waiting     int               // accepted, but without room so far
	HandedOver  uint64            // sockets given to workers
	Refused     map[string]uint64 // requests by reason; every reason is present from the start
	Missed      uint64            // clients that returned below the floor of the frame log
	// connections ended because a request was not HTTP, too long, or not complete in time
	Malformed uint64
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

// recovered turns a panic of a handler into a 500, or closes the connection if an answer has begun.
func (g *Gateway) recovered(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		g.refused.add(panicked, fmt.Sprintf("%s %.100q: %v\n%s", r.Method, r.URL.Path, v,
			debug.Stack()), r.RemoteAddr)
		if !w.begun {
			w.Header().Set("Connection", "close")
			writeJSON(w, http.StatusInternalServerError,
				badRequest{"Internal Server Error",
					"this is a fault of the distributor's and has been logged", 500})
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// response records whether a part of the answer was sent.
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

// Unwrap lets http.ResponseController find the underlying writer.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// turnAway answers a connection for which there is no room. It closes the connection when the
// client has closed it, or after lingerTimeout.
func (g *Gateway) turnAway(conn net.Conn, why *refusal) {
	g.refused.add(why.reason, why.sentence, conn.RemoteAddr().String())
	most := int64(maxLeaving)
	if why.reason == noDescriptors {
		most = fewLeaving
	}
	if g.leaving.Add(1) > most {
		answerBare(conn, why) // it does not wait: a new socket has room
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
