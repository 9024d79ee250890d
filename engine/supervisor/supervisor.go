package supervisor

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"distributor/engine/handoff"
	"distributor/engine/ipc"
	"distributor/mmaplog/bell"
	"distributor/wsproto"
)

// What Connect and Start may return, wrapped.
var (
	ErrFull     = errors.New("supervisor: all workers are full")
	ErrStopping = errors.New("supervisor: stopping")
	ErrClosed   = errors.New("supervisor: closed before a worker had it") // by a newer connection of its key, Disconnect, or expiry
	ErrNoWorker = errors.New("supervisor: no worker starts")
)

// Options are what a supervisor needs.
type Options struct {
	// Command starts a worker process: program and arguments. The process finds
	// its end of the control channel (package handoff) as descriptor 3, the
	// eventfd of its bell as descriptor 4, and sends Stats every second.
	Command []string
	// Env is its whole environment: nothing is inherited, so that no secret
	// of the primary's is.
	Env []string
	Log *slog.Logger
	// OnClosed is told of the end of every connection that a worker had; may be
	// nil. It may run before Connect has returned, and after a newer Connect of
	// the same key. It holds up news of that worker: it should be quick. It may
	// call the supervisor, but not Stop.
	OnClosed func(Client, handoff.Closed)
	// OnPosition is told how far the newest connection of a key has come: where
	// it begins when a worker is given it (begins), what it confirms, the same again
	// when it ends; may be nil. It is called with the supervisor locked: it must not
	// wait, nor call the supervisor.
	OnPosition func(key string, offset uint64, begins bool)
	// Readers takes the bells of the workers with clients, CompressedReaders the bells of those with
	// clients that negotiated permessage-deflate. Both may be nil.
	Readers, CompressedReaders *bell.Set
	// Elsewhere is asked when a key connects that has no connection here. If another
	// process may have one, it has that closed and returns a channel that is closed
	// afterwards; else nil. May be nil. It is called as OnPosition is.
	Elsewhere func(key string) <-chan struct{}
	Limits
}

// Limits are what a reload may change.
type Limits struct {
	Warm       int              // workers that run even without clients; 0 to Max
	Max        int              // workers at most; at least 1
	MaxClients int              // per worker; at least 1
	Settings   handoff.Settings // for the workers; Worker and CompressedLog are filled in
}

func (l Limits) check() error {
	if l.Warm < 0 || l.Max < 1 || l.Warm > l.Max || l.MaxClients < 1 {
		return fmt.Errorf("supervisor: %d warm of at most %d workers with %d clients each: impossible", l.Warm, l.Max, l.MaxClients)
	}
	return nil
}

// times are the supervisor's patience.
type times struct {
	ready    time.Duration // from start to Ready
	send     time.Duration // for room in a worker's channel
	quiet    int           // looks in a row without a word of a worker; looks, not time: the primary may be what was held up
	drain    time.Duration // from Drain to exit, when a worker retires
	linger   time.Duration // without clients before a worker retires: a client that comes back at once finds it
	held     time.Duration // for a start that is held back; who would have to wait longer is refused
	takeover time.Duration // for the end of an older connection, before a newer one of its key begins
	look     time.Duration // between two looks at workers and clock (which may have been set)
}

var defaultTimes = times{
	ready: 10 * time.Second, send: 2 * time.Second, quiet: 5,
	drain: 10 * time.Second, linger: time.Second, held: time.Second, takeover: time.Second, look: time.Second,
}

// Supervisor runs the worker processes. See the package's description.
type Supervisor struct {
	command, env      []string
	log               *slog.Logger
	onClosed          func(Client, handoff.Closed)
	onPosition        func(key string, offset uint64, begins bool)
	elsewhere         func(key string) <-chan struct{}
	readers           *bell.Set
	compressedReaders *bell.Set
	times             times
	wall              func() time.Time // the wall clock

	kick  chan struct{}  // capacity 1: run has something to do
	first chan error     // capacity 1: the outcome of Start
	over  chan struct{}  // run has ended
	reaps sync.WaitGroup // the goroutines that wait for workers' ends

	mu         sync.Mutex // guards all that follows
	limits     Limits
	expiry     func(key string) time.Time // nil before the first SetExpiry
	started    bool
	stopping   bool
	workers    []*worker          // by number
	byKey      map[string]*client // the newest of each key
	waiting    list.List          // of *client
	deflate    int                // clients that negotiated permessage-deflate, waiting ones included
	compressed string             // handoff.Settings.CompressedLog
	lastID     uint64
	nextExpiry time.Time // not after the first; zero: none
	looked     time.Time // when all workers were last looked at
	backoff    ipc.Backoff
	counts     counts
}

// New checks o. Nothing runs before Start.
func New(o Options) (*Supervisor, error) {
	if len(o.Command) == 0 {
		return nil, errors.New("supervisor: no command")
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.OnClosed == nil {
		o.OnClosed = func(Client, handoff.Closed) {}
	}
	if o.OnPosition == nil {
		o.OnPosition = func(string, uint64, bool) {}
	}
	if o.Readers == nil {
		o.Readers = bell.NewSet()
	}
	if o.CompressedReaders == nil {
		o.CompressedReaders = bell.NewSet()
	}
	if o.Elsewhere == nil {
		o.Elsewhere = func(string) <-chan struct{} { return nil }
	}
	s := &Supervisor{
		command: o.Command, env: o.Env, log: o.Log, onClosed: o.OnClosed, onPosition: o.OnPosition,
		elsewhere: o.Elsewhere, readers: o.Readers, compressedReaders: o.CompressedReaders, times: defaultTimes, wall: time.Now,
		kick: make(chan struct{}, 1), first: make(chan error, 1), over: make(chan struct{}),
		limits: o.Limits, byKey: make(map[string]*client), counts: newCounts(),
	}
	return s, nil
}

// Start starts the warm workers and returns when the first is ready. An error
// (ErrNoWorker, or ctx's) says that none is; the supervisor goes on trying
// until Stop all the same. It must be called once.
func (s *Supervisor) Start(ctx context.Context) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return ErrStopping
	}
	s.started = true
	if s.limits.Warm == 0 {
		s.tellStart(nil)
	}
	s.mu.Unlock()
	go s.run()
	s.poke()
	select {
	case err := <-s.first:
		return err
	case <-ctx.Done():
		return fmt.Errorf("supervisor: start: %w", context.Cause(ctx))
	}
}

// tellStart gives Start its outcome; later ones are dropped.
func (s *Supervisor) tellStart(err error) {
	select {
	case s.first <- err:
	default:
	}
}

// Connect hands the socket fd over to a worker; it waits for one that starts, within ctx, unless
// starts fail and are held back. An older client of the key is closed with DuplicateConnection at
// once, even if this call fails later, and its end is waited for, up to times.takeover: see the
// package's description. fd stays the caller's, who closes it when Connect has returned; nothing
// was written to it when that is an error. Errors: ErrFull, ErrStopping, ErrClosed, ErrNoWorker
// (with ctx's, if that ended the wait).
func (s *Supervisor) Connect(ctx context.Context, cl Client, fd int) error {
	c := &client{Client: cl, fd: fd, done: make(chan error, 1)}
	if err := s.enrol(c); err != nil {
		return err
	}
	err := s.await(ctx, c)
	if err != nil {
		s.mu.Lock()
		s.counts.refuse(err)
		s.mu.Unlock()
	}
	return err
}

// await returns the outcome of c's Connect.
func (s *Supervisor) await(ctx context.Context, c *client) error {
	turn, late := c.turn, (<-chan time.Time)(nil)
	if !c.until.IsZero() {
		late = time.After(time.Until(c.until))
	}
	for {
		select {
		case err := <-c.done:
			return err
		case <-ctx.Done():
			s.giveUp(c, context.Cause(ctx))
			return <-c.done // at once, or when the writer has let go of the descriptor
		case <-turn:
		case <-late:
			s.log.Debug("older connection has not ended in time; the newer one begins at what was confirmed", "key", c.Key)
		}
		turn, late = nil, nil
		s.begin(c)
	}
}

func (s *Supervisor) enrol(c *client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		s.counts.refuse(ErrStopping)
		return ErrStopping
	}
	s.admit(c)
	s.refuseBeyondHope(c)
	return nil
}

// refuseBeyondHope finishes c, the last that waits, when no worker will ever have room for it.
func (s *Supervisor) refuseBeyondHope(c *client) {
	if c.phase == waiting && s.waiting.Len() > s.hope() {
		s.finish(c, ErrFull)
	}
}

// hope is how many clients could be served by workers that are not ready yet.
func (s *Supervisor) hope() int {
	n := s.limits.Max
	for _, w := range s.workers {
		if w.state == ready && w.number <= s.limits.Max {
			n--
		}
	}
	return n * s.limits.MaxClients
}

// giveUp ends a Connect whose caller waits no longer, unless it is too late.
func (s *Supervisor) giveUp(c *client, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.phase < sending {
		s.finish(c, s.noWorker(cause))
		s.settle()
	}
}

func (s *Supervisor) noWorker(cause error) error {
	err := fmt.Errorf("%w: %w", ErrNoWorker, cause)
	if s.backoff.Err != nil {
		err = fmt.Errorf("%w (last failure: %w)", err, s.backoff.Err)
	}
	return err
}

// Disconnect closes the connection of key, and says whether it had one that
// was not being closed already.
func (s *Supervisor) Disconnect(key string, why wsproto.Disconnect) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byKey[key]
	if c == nil || c.closing {
		return false
	}
	s.close(c, why)
	return true
}

// SetExpiry gives every client the expiry that f has for its key, now and when
// it connects (a request that was let in by older settings included); zero is
// never, a past one closes it with SubscriptionExpired. f is called with the
// supervisor locked: it must not wait, nor call the supervisor.
func (s *Supervisor) SetExpiry(f func(key string) time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expiry = f
	for key, c := range s.byKey {
		c.Expires = f(key)
		s.expect(c.Expires)
	}
}

// Configure takes new limits and settings. Workers above a lower Max take no
// more clients and end with their last; clients above a lower MaxClients stay.
func (s *Supervisor) Configure(l Limits) error {
	if err := l.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
	for _, w := range s.workers {
		w.send(s.settingsFor(w))
	}
	s.settle()
	s.poke()
	return nil
}

func (s *Supervisor) settingsFor(w *worker) outgoing {
	settings := s.limits.Settings
	settings.Worker, settings.CompressedLog = w.number, s.compressed
	return outgoing{message: handoff.Message{Settings: &settings}}
}

// SetCompressed tells the workers where the compressed log is, "" that there is none
// any more.
func (s *Supervisor) SetCompressed(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compressed = dir
	for _, w := range s.workers {
		w.send(s.settingsFor(w))
	}
}

// hangBells fills Readers and CompressedReaders. Called with mu held when a worker got its first client or
// lost its last, of either kind.
func (s *Supervisor) hangBells() {
	var all, compressed []*bell.Bell
	for _, w := range s.workers {
		if len(w.clients) > 0 {
			all = append(all, w.process.bell)
		}
		if w.deflate > 0 {
			compressed = append(compressed, w.process.bell)
		}
	}
	s.readers.Fill(all)
	s.compressedReaders.Fill(compressed)
}
