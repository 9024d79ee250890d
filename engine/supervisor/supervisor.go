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

// Connect and Start return these errors, wrapped.
var (
	ErrFull     = errors.New("supervisor: all workers are full")
	ErrStopping = errors.New("supervisor: stopping")
	// ErrClosed: by a newer connection of the key, by Disconnect, or because the subscription ended.
	ErrClosed   = errors.New("supervisor: closed before a worker had it")
	ErrNoWorker = errors.New("supervisor: no worker starts")
)

// Options configure a Supervisor.
type Options struct {
	// Command starts a worker process: program and arguments. The process finds its end of the
	// control channel (package handoff) as descriptor 3, and the eventfd of its bell as descriptor 4.
	// It sends Stats every second.
	Command []string
	// Env is the whole environment of the workers. Nothing is inherited from the primary, so none of
	// its secrets are.
	Env []string
	Log *slog.Logger
	// OnClosed is called after the end of every connection that a worker had; may be nil. It may run
	// before Connect has returned, and after a newer Connect of the same key. It should be quick,
	// because it delays messages of that worker. It may call the supervisor, but not Stop.
	OnClosed func(Client, handoff.Closed)
	// OnPosition is called with the position of the newest connection of a key: its first offset when
	// a worker is given the client (begins), each offset that it confirms, and the last one again
	// when it ends; may be nil. It is called with the supervisor locked: it must not wait, nor call
	// the supervisor.
	OnPosition func(key string, offset uint64, begins bool)
	// Readers gets the bells of the workers with clients, CompressedReaders the bells of those with
	// clients that negotiated permessage-deflate. Both may be nil.
	Readers, CompressedReaders *bell.Set
	// Elsewhere is called when a key connects that has no connection in this process. If another
	// process may have one, Elsewhere has it closed, and returns a channel that is closed afterwards;
	// else it returns nil. May be nil. It is called with the supervisor locked, like OnPosition.
	Elsewhere func(key string) <-chan struct{}
	Limits
}

// Limits are the options that a reload may change.
type Limits struct {
	Warm       int              // workers that run even without clients; 0 to Max
	Max        int              // most workers; at least 1
	MaxClients int              // per worker; at least 1
	Settings   handoff.Settings // for the workers; Worker and CompressedLog are filled in
}

func (l Limits) check() error {
	if l.Warm < 0 || l.Max < 1 || l.Warm > l.Max || l.MaxClients < 1 {
		return fmt.Errorf("supervisor: %d warm of at most %d workers with %d clients each: impossible",
			l.Warm, l.Max, l.MaxClients)
	}
	return nil
}

// times are the supervisor's time limits. Tests change them.
type times struct {
	ready time.Duration // from start to Ready
	send  time.Duration // for a message to fit into a worker's channel
	// silentChecks is how many checks in a row a worker may send nothing. It counts checks, not time,
	// because the primary itself may have been stopped.
	silentChecks int
	drain        time.Duration // from Drain to exit, when a worker retires
	// linger is how long a worker stays without clients, for clients that come back at once.
	linger time.Duration
	// held is the longest backoff of a start for which clients wait; else they are refused.
	held time.Duration
	// takeover is how long a newer connection of a key waits for the end of the older one.
	takeover time.Duration
	// check is the time between two checks of the workers and of the wall clock, which may be set.
	check time.Duration
}

var defaultTimes = times{
	ready: 10 * time.Second, send: 2 * time.Second, silentChecks: 5,
	drain: 10 * time.Second, linger: time.Second, held: time.Second, takeover: time.Second,
	check: time.Second,
}

// Supervisor runs the worker processes. See the package doc.
type Supervisor struct {
	command, env      []string
	log               *slog.Logger
	onClosed          func(Client, handoff.Closed)
	onPosition        func(key string, offset uint64, begins bool)
	elsewhere         func(key string) <-chan struct{}
	readers           *bell.Set
	compressedReaders *bell.Set
	times             times
	wall              func() time.Time                     // the wall clock
	cpuWait           func(pid int) (time.Duration, error) // ipc.CPUWait

	kick  chan struct{}  // capacity 1: run has something to do
	first chan error     // capacity 1: the result of Start
	over  chan struct{}  // closed when run has ended
	reaps sync.WaitGroup // the goroutines that wait for workers' ends

	mu         sync.Mutex // guards the fields below
	limits     Limits
	expiry     func(key string) time.Time // nil before the first SetExpiry
	started    bool
	stopping   bool
	workers    []*worker          // by number
	byKey      map[string]*client // the newest client of each key
	waiting    list.List          // of *client
	deflate    int                // clients that negotiated permessage-deflate, waiting ones included
	compressed string             // handoff.Settings.CompressedLog
	lastID     uint64
	nextExpiry time.Time // no client expires before; zero: none expires
	checked    time.Time // when all workers were last checked
	backoff    ipc.Backoff
	counts     counts
}

// New checks o. Nothing runs until Start.
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
		elsewhere: o.Elsewhere, readers: o.Readers, compressedReaders: o.CompressedReaders,
		times: defaultTimes, wall: time.Now, cpuWait: ipc.CPUWait,
		kick: make(chan struct{}, 1), first: make(chan error, 1), over: make(chan struct{}),
		limits: o.Limits, byKey: make(map[string]*client), counts: newCounts(),
	}
	return s, nil
}

// Start starts the warm workers, and returns when the first is ready. An error (ErrNoWorker, or
// ctx's) means that none is ready; the supervisor goes on trying until Stop. Start must be called
// once.
func (s *Supervisor) Start(ctx context.Context) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return ErrStopping
	}
	s.started = true
	if s.limits.Warm == 0 {
		s.reportStart(nil)
	}
	s.mu.Unlock()
	go s.run()
	s.wake()
	select {
	case err := <-s.first:
		return err
	case <-ctx.Done():
		return fmt.Errorf("supervisor: start: %w", context.Cause(ctx))
	}
}

// reportStart gives Start its result. Only the first call counts.
func (s *Supervisor) reportStart(err error) {
	select {
	case s.first <- err:
	default:
	}
}

// Connect hands the socket fd to a worker. It waits for a worker that is starting, within ctx, but
// not if starts are in backoff. An older client of the key is closed with DuplicateConnection at
// once, even if this call fails later; Connect waits for its end up to times.takeover (see the
// package doc). The caller closes fd when Connect has returned. If Connect returns an error,
// nothing was written to fd. Errors: ErrFull, ErrStopping, ErrClosed, ErrNoWorker (with ctx's, if
// that ended the wait).
func (s *Supervisor) Connect(ctx context.Context, cl Client, fd int) error {
	c := &client{Client: cl, fd: fd, done: make(chan error, 1)}
	if err := s.enqueue(c); err != nil {
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

// await returns the result of c's Connect.
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
			return <-c.done // at once, or when the writer no longer uses the descriptor
		case <-turn:
		case <-late:
			s.log.Debug("older connection has not ended in time; the newer one begins at what was confirmed",
				"key", c.Key)
		}
		turn, late = nil, nil
		s.begin(c)
	}
}

// enqueue admits c, or refuses it.
func (s *Supervisor) enqueue(c *client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		s.counts.refuse(ErrStopping)
		return ErrStopping
	}
	s.admit(c)
	s.refuseIfFull(c)
	return nil
}

// refuseIfFull finishes c, the last of the waiting clients, if no worker will have a slot for it.
func (s *Supervisor) refuseIfFull(c *client) {
	if c.phase == waiting && s.waiting.Len() > s.pendingCapacity() {
		s.finish(c, ErrFull)
	}
}

// pendingCapacity returns how many clients fit workers that are not ready yet.
func (s *Supervisor) pendingCapacity() int {
	n := s.limits.Max
	for _, w := range s.workers {
		if w.state == ready && w.number <= s.limits.Max {
			n--
		}
	}
	return n * s.limits.MaxClients
}

// giveUp ends a Connect whose ctx has ended, unless the descriptor is being sent already.
func (s *Supervisor) giveUp(c *client, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.phase < sending {
		s.finish(c, s.noWorker(cause))
		s.assignWaiting()
	}
}

func (s *Supervisor) noWorker(cause error) error {
	err := fmt.Errorf("%w: %w", ErrNoWorker, cause)
	if s.backoff.Err != nil {
		err = fmt.Errorf("%w (last failure: %w)", err, s.backoff.Err)
	}
	return err
}

// Disconnect closes the connection of key, and tells whether there was one that was not being
// closed already.
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

// SetExpiry sets the expiry of every client to what f returns for its key, now and whenever a
// client connects, also if older settings admitted its request. Zero means never. A time in the
// past closes the client with SubscriptionExpired. f is called with the supervisor locked: it must
// not wait, nor call the supervisor.
func (s *Supervisor) SetExpiry(f func(key string) time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expiry = f
	for key, c := range s.byKey {
		c.Expires = f(key)
		s.expect(c.Expires)
	}
}

// Configure sets new limits and settings. Workers above a lower Max take no more clients, and end
// with their last client. Clients above a lower MaxClients stay.
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
	s.assignWaiting()
	s.wake()
	return nil
}

// settingsFor returns the Settings message for w.
func (s *Supervisor) settingsFor(w *worker) outgoing {
	settings := s.limits.Settings
	settings.Worker, settings.CompressedLog = w.number, s.compressed
	return outgoing{message: handoff.Message{Settings: &settings}}
}

// SetCompressed sends the workers the directory of the compressed log; "" means that there is none.
func (s *Supervisor) SetCompressed(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compressed = dir
	for _, w := range s.workers {
		w.send(s.settingsFor(w))
	}
}

// updateReaders fills Readers and CompressedReaders. It is called with mu held when a worker got
// its first client or lost its last, of either kind.
func (s *Supervisor) updateReaders() {
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
