package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"distributor/engine/config"
	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/gateway"
	"distributor/engine/query"
	"distributor/engine/resume"
	"distributor/engine/status"
	"distributor/engine/succession"
	"distributor/engine/supervisor"
	"distributor/mmaplog/bell"
	"distributor/mmaplog/framelog"
	"distributor/wsproto/shardus"
)

const (
	// checkpointEvery is how often progress is saved, the collectors' and our
	// own, when there was any.
	checkpointEvery = resume.SaveEvery
	// stopGrace is what stopping may take beyond the time that clients get.
	stopGrace = 3 * time.Second
	// stopIdle is how long a stop waits for requests on HTTP connections that have none: one may be
	// on its way.
	stopIdle = time.Second
)

// ErrConfig is for settings that cannot be used as they are: the next start would end the same way.
var ErrConfig = errors.New("the configuration cannot be used")

// Options are what a primary is started with.
type Options struct {
	Source config.Source // read again for a reload
	Config *config.Config
	Worker []string // command line of a worker process
	Query  []string // command line of the query process
	Log    *slog.Logger
	Level  *slog.LevelVar // follows the configuration
	// Version is shown to whoever operates the distributor.
	Version string
	// Binary is the command line that we were started by: each value from Upgrade
	// asks for another process of it to take over.
	Binary  []string
	Upgrade <-chan os.Signal
}

// Run is the primary's life. It returns nil when ctx has ended and everything
// was stopped, or when another process has taken over; an error when something
// could not start or failed for good.
// Each value from reload asks for the configuration to be read again.
func Run(ctx context.Context, o Options, reload <-chan os.Signal) error {
	events := status.NewEvents()
	p := &primary{
		o: o, log: slog.New(events.Handler(o.Log.Handler())), started: time.Now(),
		checkpointSaved: saved{file: checkpointFile},
		positionsSaved:  saved{file: "collectors.json"},
	}
	p.events = events
	p.origin, p.readers, p.twin = dataLogs{p}, bell.NewSet(), bell.NewSet()
	p.cfg.Store(o.Config)
	defer p.close()
	if err := p.open(ctx); err != nil {
		if p.workers != nil {
			p.stopWorkers() // an heir's have been started
		}
		return err
	}
	return p.serve(ctx, reload)
}

// primary is what open has made. Its fields do not change after that, but the
// atomic ones.
type primary struct {
	o       Options
	log     *slog.Logger
	started time.Time
	cfg     atomic.Pointer[config.Config]

	hashKey    shardus.HashKey
	signer     *shardus.Signer
	listener   *door
	activated  bool              // the service manager has opened the listener, and keeps it
	elder      *succession.Elder // whom we take over from; nil: nobody
	elderGone  chan struct{}     // closed when it has ended
	other      atomic.Pointer[other]
	origin     origin
	logs       atomic.Pointer[logs]
	readers    *bell.Set // of the frame log
	twin       *bell.Set // readers of the compressed log
	index      *index
	encoder    *encoder.Encoder
	deflate    *deflate.Compressor
	collectors *resume.Store
	workers    *supervisor.Supervisor
	api        *query.Front
	gateway    *gateway.Gateway
	hangs      bool                  // STATE_DIR does not answer while we stop
	untaken    atomic.Pointer[error] // why the state cannot be taken back at present
	health     *healthWatch

	checkpointSaved, positionsSaved saved
	observed

	applying sync.Mutex // held while settings are changed
	saving   sync.Mutex // held while the checkpoint is written
}

func (p *primary) open(ctx context.Context) error {
	cfg := p.cfg.Load()
	var err error
	if p.elder, err = succession.Inherit(); err != nil {
		return err
	}
	socket, err := activated()
	if err != nil {
		return err
	}
	if err := p.keys(cfg); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := p.listen(cfg, socket); err != nil {
		return err
	}
	if cfg.UsesSampleKeys() && !loopback(p.listener.Addr()) {
		p.log.Warn("ANYBODY CAN SIGN AS THIS DISTRIBUTOR: it listens beyond loopback with the sample keys that are public; "+
			"make your own with `distributor keygen` and set DISTRIBUTOR_PUBLIC_KEY and DISTRIBUTOR_SECRET_KEY", "address", p.listener.Addr().String())
	}
	access, err := p.access(cfg)
	if err != nil {
		return err
	}
	if p.api, err = query.New(query.Options{
		Command: p.o.Query, Env: childEnvironment(os.Environ()), Databases: databases(cfg), Settings: p.querySettings(cfg), LogLevel: cfg.Level(),
		Signer: p.signer, HashKey: p.hashKey, Origin: gateway.Origin, Log: p.log,
	}); err != nil {
		return err
	}
	p.workers, err = supervisor.New(supervisor.Options{
		Command: p.o.Worker, Env: childEnvironment(os.Environ()), Log: p.log, OnPosition: p.reached, OnClosed: p.ended, Limits: limits(cfg),
		Elsewhere: p.elsewhere, Readers: p.readers, TwinReaders: p.twin,
	})
	if err != nil {
		return err
	}
	if p.elder != nil {
		if err := p.awaitEstate(ctx, cfg); err != nil {
			return err
		}
	}
	progress, err := p.openLogs(cfg)
	if err != nil {
		return err
	}
	// The checkpoint is on disk before anything else: a first start has no frames that would say
	// where it began.
	if err := errors.Join(clearLeftovers(cfg.StateDir), p.saveProgress(progress)); err != nil {
		return fmt.Errorf("%w: %s", err, stateRemedy(err, cfg.StateDir))
	}
	if p.deflate, err = deflate.New(p.compression(cfg)); err != nil { // not before the elder has let go of its twin
		return fmt.Errorf("engine: STATE_DIR: %w", err)
	}
	if p.collectors, err = resume.Open(cfg.StateDir, p.id().String(), p.index.translate, cfg.ResumeWindow); err != nil {
		p.log.Error("collectors that come back begin live", "error", err)
	}
	p.encoder = encoder.New(encoder.Options{
		Signer: p.signer, Frames: p.logs.Load().frames, Notices: p.logs.Load().notices, StopAtCycle: func() int64 { return p.cfg.Load().StopAtCycle },
		AddShardKey: cfg.AddExecutionShardKey, Readers: p.readers, Log: p.log,
	}, progress)
	p.health = newHealthWatch(p.checks(), p.started, p.log)
	if p.elder != nil {
		p.health.inherited = p.elder.Estate.Problems
	}
	p.gateway = gateway.New(gateway.Options{
		Settings: access, Workers: p.workers, Frames: p.index, Resume: p.collectors.Offset, Health: p.publicHealth, API: p.publicAPI(),
		Reserved: query.Descriptors(descriptorLimit()), Log: p.log,
	})
	p.workers.SetExpiry(p.gateway.Expiry)
	p.openObserved(cfg)
	return nil
}

// listen takes the listeners that the elder leaves us, where they are those
// that we are to have, or socket, which the service manager has opened; nil: it has not.
func (p *primary) listen(cfg *config.Config, socket *net.TCPListener) (err error) {
	var l net.Listener
	if p.elder != nil {
		l = p.elder.TakePublic(publicAddress(cfg))
		p.admin = p.elder.TakeAdmin(cfg.AdminAddr)
		p.activated = p.elder.Estate.Activated
	}
	switch {
	case l == nil && p.activated:
		return fmt.Errorf("%w: DISTRIBUTOR_PORT or LISTEN_ADDR is another one, and distributor.socket has the port: "+
			"change ListenStream= in it as well, and restart both", ErrConfig)
	case socket != nil:
		l, p.activated = socket, true
		if err := checkActivated(cfg, socket.Addr().(*net.TCPAddr)); err != nil {
			_ = socket.Close()
			return err
		}
		p.log.Info("listening on the socket of distributor.socket", "address", socket.Addr().String())
	case l == nil:
		if l, err = listenPublic(publicAddress(cfg)); err != nil {
			return fmt.Errorf("engine: listen (DISTRIBUTOR_PORT, LISTEN_ADDR): %w", err)
		}
	}
	p.listener = &door{TCPListener: l.(*net.TCPListener)}
	if p.admin == nil {
		p.admin, err = listenAdmin(cfg.AdminAddr, p.log)
	}
	return err
}

// portPatience is for how long a port is waited for that is in use. A child that
// a killed distributor was about to start has its descriptors, and so the port,
// until it executes its program.
const portPatience = time.Second

func listenPublic(address string) (net.Listener, error) {
	for end := time.Now().Add(portPatience); ; time.Sleep(10 * time.Millisecond) {
		l, err := net.Listen("tcp", address)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			return l, err
		}
	}
}

func publicAddress(cfg *config.Config) string {
	return net.JoinHostPort(cfg.ListenAddr, strconv.Itoa(cfg.DistributorPort))
}

// id is that of the frame log.
func (p *primary) id() framelog.ID { return p.index.reader.ID() }

// keys turns the configured keys into usable ones. Package config has checked most of them.
func (p *primary) keys(cfg *config.Config) error {
	var err error
	if p.hashKey, err = shardus.ParseHashKey(cfg.HashKey); err != nil {
		return fmt.Errorf("engine: DISTRIBUTOR_HASH_KEY: %w", err)
	}
	secret, err := shardus.ParseSecretKey(string(cfg.SecretKey))
	if err != nil {
		return fmt.Errorf("engine: DISTRIBUTOR_SECRET_KEY: %w", err)
	}
	public, err := shardus.ParsePublicKey(cfg.PublicKey)
	if err != nil {
		return fmt.Errorf("engine: DISTRIBUTOR_PUBLIC_KEY: %w", err)
	}
	p.signer = shardus.NewSigner(secret, p.hashKey)
	if p.signer.PublicKey() != public {
		return fmt.Errorf("engine: DISTRIBUTOR_SECRET_KEY is the key of %s, not of DISTRIBUTOR_PUBLIC_KEY %s: set both from one `distributor keygen`",
			p.signer.PublicKey(), public)
	}
	return nil
}

// serve runs until ctx ends, something fails, or another process has taken over.
func (p *primary) serve(ctx context.Context, reload <-chan os.Signal) error {
	if p.elder == nil { // else they have been started
		if err := p.workers.Start(ctx); err != nil {
			p.stopWorkers()
			return fmt.Errorf("engine: start workers: %w", err)
		}
	}
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var parts sync.WaitGroup
	reading := p.read(fail)
	if p.elder != nil {
		p.takeOver()
	}
	parts.Go(func() {
		if err := p.gateway.Serve(p.listener); err != nil {
			fail(err)
		}
	})
	observing, stopObserving := context.WithCancel(context.Background())
	defer stopObserving()
	parts.Go(func() { p.observe(observing) })
	p.log.Info("distributing", "address", p.listener.Addr().String(), "public_key", p.signer.PublicKey().String(), "pid", os.Getpid())
	p.tell("READY=1", fmt.Sprintf("MAINPID=%d", os.Getpid()))

	for running.Err() == nil {
		select {
		case <-running.Done():
		case sig := <-reload:
			p.reload(sig)
		case <-p.o.Upgrade:
			var heir *succession.Heir
			if heir, reading = p.upgrade(running, fail, reload, reading); heir != nil {
				stopObserving() // the heir can be looked at
				p.retire(ctx, heir, reload)
				parts.Wait()
				return nil
			}
		}
	}
	cause := context.Cause(running)
	if ctx.Err() != nil {
		cause = nil // asked to stop
		p.log.Info("stopping")
	} else {
		p.log.Error("stopping", "error", cause)
	}
	p.tell("STOPPING=1")
	unread := p.inTime(func() error { reading.stop(); return nil }) // the head is final
	parts.Go(p.stopGateway)
	parts.Go(p.stopElder)
	p.stopWorkers()
	unread = errors.Join(unread, p.inTime(func() error { reading.plain(); return nil }))
	stopObserving() // not before: a stop that takes its time can be looked at
	parts.Wait()
	return errors.Join(cause, unread, p.inTime(p.checkpoint))
}

// stopGateway ends what is under way on the public port. Upgrades are refused
// by the workers' end already.
func (p *primary) stopGateway() {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	if err := p.gateway.Shutdown(ctx, min(stopIdle, p.cfg.Load().Drain)); err != nil {
		p.log.Info("HTTP connections were cut", "error", err)
	}
}

func (p *primary) stopWorkers() {
	drain := p.cfg.Load().Drain
	ctx, cancel := context.WithTimeout(context.Background(), drain+stopGrace)
	defer cancel()
	p.workers.Stop(ctx, p.head(), drain)
}

// head is that of the frame log; 0 before it is open.
func (p *primary) head() uint64 {
	if p.index == nil {
		return 0
	}
	return p.index.Head()
}

func (p *primary) close() {
	if p.api != nil {
		p.api.Close()
	}
	if l := p.logs.Load(); l != nil {
		if err := p.inTime(l.close); err != nil {
			p.log.Error("frame log not closed cleanly", "error", err)
		}
	}
	if p.index != nil && !p.hangs {
		_ = p.index.reader.Close()
	}
	if p.listener != nil {
		_ = p.listener.Close()
	}
	if p.admin != nil {
		_ = p.admin.Close()
	}
}

// checkpoints saves progress from time to time.
func (p *primary) checkpoints(ctx context.Context) {
	t := time.NewTicker(checkpointEvery)
	defer t.Stop()
	var saved encoder.Progress
	var soon <-chan time.Time // when collectors that are new are saved; nil: there are none
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.collectors.Fresh():
			if soon == nil {
				soon = time.After(resume.SaveFresh)
			}
			continue
		case <-soon:
		case <-t.C:
			p.index.release()
			if now := p.encoder.Progress(); now != saved {
				err := p.saveProgress(now)
				if p.checkpointSaved.note(err, p.log); err == nil {
					saved = now
				}
			}
		}
		soon = nil
		p.positionsSaved.note(p.collectors.Save(), p.log)
	}
}

// checkpoint saves everything, at the end.
func (p *primary) checkpoint() error {
	return errors.Join(p.saveProgress(p.encoder.Progress()), p.collectors.Save())
}

func (p *primary) saveProgress(now encoder.Progress) error {
	cfg := p.cfg.Load()
	p.saving.Lock()
	defer p.saving.Unlock()
	l := p.logs.Load()
	c := newCheckpoint(p.id(), p.origin.name(), now, l.begin)
	c.Left = l.left()
	return c.save(cfg.StateDir)
}
