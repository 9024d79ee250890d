package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"distributor/engine/config"
	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/gateway"
	"distributor/engine/query"
	"distributor/engine/resume"
	"distributor/engine/status"
	"distributor/engine/supervisor"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto/shardus"
)

const (
	// checkpointEvery is how often progress is saved, the collectors' and our
	// own, when there was any.
	checkpointEvery = resume.SaveEvery
	// stopGrace is what stopping may take beyond the time that clients get.
	stopGrace = 3 * time.Second
)

// Options are what a primary is started with.
type Options struct {
	Source config.Source // read again for a reload
	Config *config.Config
	Worker []string // command line of a worker process
	Log    *slog.Logger
	Level  *slog.LevelVar // follows the configuration
	// Version is shown to whoever operates the distributor.
	Version string
}

// Run is the primary's life. It returns nil when ctx has ended and everything
// was stopped, an error when something could not start or failed for good.
// Each value from reload asks for the configuration to be read again.
func Run(ctx context.Context, o Options, reload <-chan os.Signal) error {
	events := status.NewEvents()
	p := &primary{o: o, log: slog.New(events.Handler(o.Log.Handler())), started: time.Now()}
	p.events = events
	p.cfg.Store(o.Config)
	defer p.close()
	if runtime.GOMAXPROCS(0) < 2 {
		// Also on one core: of Go's processors engine/query leaves one free, so that records need not stand in line
		// behind answers. The kernel then shares the core out, by much shorter turns.
		runtime.GOMAXPROCS(2)
	}
	if err := p.open(); err != nil {
		return err
	}
	return p.serve(ctx, reload)
}

// primary is what open has made. Its fields do not change after that, but cfg.
type primary struct {
	o       Options
	log     *slog.Logger
	started time.Time
	cfg     atomic.Pointer[config.Config]

	hashKey    shardus.HashKey
	signer     *shardus.Signer
	listener   net.Listener
	frames     *framelog.Writer
	index      *index
	followers  [len(datalog.Streams)]*datalog.Follower
	encoder    *encoder.Encoder
	deflate    *deflate.Compressor
	collectors *resume.Store
	workers    *supervisor.Supervisor
	api        *query.API
	gateway    *gateway.Gateway
	observed

	applying sync.Mutex // held while settings are changed
}

func (p *primary) open() error {
	cfg := p.cfg.Load()
	if err := p.keys(cfg); err != nil {
		return err
	}
	var err error
	if p.listener, err = net.Listen("tcp", net.JoinHostPort(cfg.ListenAddr, strconv.Itoa(cfg.DistributorPort))); err != nil {
		return fmt.Errorf("engine: listen (DISTRIBUTOR_PORT, LISTEN_ADDR): %w", err)
	}
	if cfg.UsesSampleKeys() && !loopback(p.listener.Addr()) {
		p.log.Warn("ANYBODY CAN SIGN AS THIS DISTRIBUTOR: it listens beyond loopback with the sample keys that are public; "+
			"make your own with `distributor keygen` and set DISTRIBUTOR_PUBLIC_KEY and DISTRIBUTOR_SECRET_KEY", "address", p.listener.Addr().String())
	}
	progress, err := p.openLogs(cfg)
	if err != nil {
		return err
	}
	if p.collectors, err = resume.Open(cfg.StateDir, p.frames.ID().String(), cfg.ResumeWindow); err != nil {
		p.log.Error("collectors that come back begin live", "error", err)
	}
	p.workers, err = supervisor.New(supervisor.Options{
		Command: p.o.Worker, Env: workerEnvironment(os.Environ()), Log: p.log, OnPosition: p.collectors.Confirmed, Limits: limits(cfg),
		OnWish: func(clients int) { p.deflate.SetClients(clients) },
	})
	if err != nil {
		return err
	}
	if p.deflate, err = deflate.New(p.compression(cfg)); err != nil {
		return fmt.Errorf("engine: STATE_DIR: %w", err)
	}
	p.encoder = encoder.New(encoder.Options{
		Signer: p.signer, Frames: p.frames, StopAtCycle: func() int64 { return p.cfg.Load().StopAtCycle }, Wake: p.wake, Log: p.log,
	}, progress)
	access, err := p.access(cfg)
	if err != nil {
		return err
	}
	if p.api, err = query.New(query.Options{
		Databases: databases(cfg), Settings: p.querySettings(cfg), Signer: p.signer, HashKey: p.hashKey, Log: p.log,
	}); err != nil {
		return err
	}
	p.gateway = gateway.New(gateway.Options{
		Settings: access, Workers: p.workers, Frames: p.index, Resume: p.collectors.Offset, Health: p.health, API: p.publicAPI(), Log: p.log,
	})
	p.workers.SetExpiry(p.gateway.Expiry)
	return p.openObserved(cfg)
}

// wake tells who reads the frame log that it has grown.
func (p *primary) wake() {
	p.workers.Wake()
	p.deflate.Wake()
}

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

// openLogs recovers the frame log and begins to follow the data logs where it
// ends. The returned progress has been saved.
func (p *primary) openLogs(cfg *config.Config) (encoder.Progress, error) {
	var progress encoder.Progress
	if err := os.MkdirAll(cfg.StateDir, 0o755); err != nil {
		return progress, fmt.Errorf("engine: STATE_DIR: %w", err)
	}
	var err error
	p.frames, _, err = framelog.OpenWriter(framelog.Options{
		Dir: frameLogDir(cfg), SegmentBytes: cfg.FrameLogSegmentBytes, RetainBytes: cfg.FrameLogBytes, Log: p.log,
	})
	if err != nil {
		return progress, fmt.Errorf("engine: open the frame log (STATE_DIR): %w", err)
	}
	reader, err := framelog.OpenReader(frameLogDir(cfg))
	if err != nil {
		return progress, fmt.Errorf("engine: read the frame log: %w", err)
	}
	p.index = &index{reader: reader}

	saved, err := loadCheckpoint(cfg.StateDir)
	if err != nil {
		p.log.Error("checkpoint not used", "error", err)
	}
	progress.Head = p.frames.Head()
	for i, from := range saved.resume(p.frames) {
		s := datalog.Streams[i]
		p.followers[i], err = datalog.NewFollower(datalog.Options{
			Dir: cfg.DataLogDir, Stream: s, From: from, NotFirst: saved.follows(cfg.DataLogDir), Interval: cfg.FileStreamInterval, MaxLine: cfg.MaxRecordBytes, Log: p.log,
		})
		if err != nil {
			return progress, fmt.Errorf("engine: follow %s: %w", s, err)
		}
		progress.Position[i] = p.followers[i].Position()
		p.log.Info("following data log", "stream", s.String(), "dir", cfg.DataLogDir, "resumed", !from.IsZero(), "log", progress.Position[i].Number, "offset", progress.Position[i].Offset)
	}
	return progress, newCheckpoint(p.frames.ID(), cfg.DataLogDir, progress).save(cfg.StateDir)
}

// serve runs until ctx ends or something fails.
func (p *primary) serve(ctx context.Context, reload <-chan os.Signal) error {
	if err := p.workers.Start(ctx); err != nil {
		p.stopWorkers()
		return fmt.Errorf("engine: start workers: %w", err)
	}
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var parts, encoding sync.WaitGroup
	reading, stopReading := context.WithCancel(context.Background())
	defer stopReading()
	encoding.Go(func() {
		if err := p.encoder.Run(reading, p.followers); err != nil {
			fail(err)
		}
	})
	parts.Go(func() {
		if err := p.gateway.Serve(p.listener); err != nil {
			fail(err)
		}
	})
	parts.Go(func() { p.checkpoints(reading) })
	compressing, stopCompressing := context.WithCancel(context.Background())
	defer stopCompressing()
	parts.Go(func() { p.deflate.Run(compressing) })
	observing, stopObserving := context.WithCancel(context.Background())
	defer stopObserving()
	parts.Go(func() { p.observe(observing) })
	p.log.Info("distributing", "address", p.listener.Addr().String(), "public_key", p.signer.PublicKey().String())

	for running.Err() == nil {
		select {
		case <-running.Done():
		case sig := <-reload:
			p.reload(sig)
		}
	}
	cause := context.Cause(running)
	if ctx.Err() != nil {
		cause = nil // asked to stop
		p.log.Info("stopping")
	} else {
		p.log.Error("stopping", "error", cause)
	}
	stopReading()
	encoding.Wait() // the head is final
	parts.Go(p.stopGateway)
	p.stopWorkers()
	stopCompressing()
	stopObserving() // not before: a stop that takes its time can be looked at
	parts.Wait()
	return errors.Join(cause, p.checkpoint())
}

// stopGateway ends what is under way on the public port. Upgrades are refused
// by the workers' end already.
func (p *primary) stopGateway() {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	if err := p.gateway.Shutdown(ctx); err != nil {
		p.log.Warn("HTTP connections were cut", "error", err)
	}
}

func (p *primary) stopWorkers() {
	drain := p.cfg.Load().Drain
	ctx, cancel := context.WithTimeout(context.Background(), drain+stopGrace)
	defer cancel()
	p.workers.Stop(ctx, p.frames.Head())
}

func (p *primary) close() {
	if p.api != nil {
		p.api.Close()
	}
	for _, f := range p.followers {
		if f != nil {
			_ = f.Close()
		}
	}
	if p.index != nil {
		_ = p.index.reader.Close()
	}
	if p.frames != nil {
		if err := p.frames.Close(); err != nil {
			p.log.Error("frame log not closed cleanly", "error", err)
		}
	}
	for _, l := range []net.Listener{p.listener, p.admin} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// checkpoints saves progress from time to time.
func (p *primary) checkpoints(ctx context.Context) {
	t := time.NewTicker(checkpointEvery)
	defer t.Stop()
	var saved encoder.Progress
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		p.index.release()
		var err error
		if now := p.encoder.Progress(); now != saved {
			if err = p.saveProgress(now); err == nil {
				saved = now
			}
		}
		if err = errors.Join(err, p.collectors.Save()); err != nil && !failing {
			p.log.Error("progress not saved; it is tried again", "error", err)
		}
		failing = err != nil
	}
}

// checkpoint saves everything, at the end.
func (p *primary) checkpoint() error {
	return errors.Join(p.saveProgress(p.encoder.Progress()), p.collectors.Save())
}

func (p *primary) saveProgress(now encoder.Progress) error {
	cfg := p.cfg.Load()
	return newCheckpoint(p.frames.ID(), cfg.DataLogDir, now).save(cfg.StateDir)
}
