package engine

import (
	"context"
	"fmt"
	"os"

	"distributor/engine/config"
	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/gateway"
	"distributor/engine/handover"
	"distributor/engine/metrics"
	"distributor/engine/query"
	"distributor/engine/resume"
	"distributor/engine/status"
	"distributor/engine/supervisor"
	"distributor/engine/systemd"
	"distributor/mmaplog/framelog"
	"distributor/wsproto/shardus"
)

// open opens all parts, in an order that shows a fault before anything is promised.
func (p *primary) open(ctx context.Context) error {
	cfg := p.cfg.Load()
	var err error
	if p.predecessor, err = handover.Inherit(); err != nil {
		return err
	}
	socket, err := systemd.Listener()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := p.keys(cfg); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := p.listen(cfg, socket); err != nil {
		return err
	}
	if cfg.UsesSampleKeys() && !loopback(p.listener.Addr()) {
		p.log.Warn("ANYBODY CAN SIGN AS THIS DISTRIBUTOR: it listens beyond loopback with the sample "+
			"keys that are public; make your own with `distributor keygen` and set "+
			"DISTRIBUTOR_PUBLIC_KEY and DISTRIBUTOR_SECRET_KEY",
			"address", p.listener.Addr().String())
	}
	access, err := p.access(cfg)
	if err != nil {
		return err
	}
	if p.api, err = query.New(query.Options{
		Command: p.o.Query, Env: childEnvironment(os.Environ()),
		Databases: databases(cfg), Settings: p.querySettings(cfg), LogLevel: cfg.Level(),
		Signer: p.signer, HashKey: p.hashKey, Origin: gateway.Origin, Log: p.log,
	}); err != nil {
		return err
	}
	p.workers, err = supervisor.New(supervisor.Options{
		Command: p.o.Worker, Env: childEnvironment(os.Environ()), Log: p.log, Limits: limits(cfg),
		OnPosition: p.relay.Reached, OnClosed: p.closed, Elsewhere: p.relay.Elsewhere,
		Readers: p.readers, CompressedReaders: p.compressed,
	})
	if err != nil {
		return err
	}
	if p.predecessor != nil {
		if err := p.awaitState(ctx, cfg); err != nil {
			return err
		}
	}
	progress, err := p.openLogs(cfg)
	if err != nil {
		return err
	}
	if err := p.firstCheckpoint(cfg, progress); err != nil {
		return err
	}
	// The old process has given up its compressed log by now.
	if p.deflate, err = deflate.New(p.compression(cfg)); err != nil {
		return fmt.Errorf("engine: STATE_DIR: %w", err)
	}
	p.collectors, err = resume.Open(
		cfg.StateDir, p.id().String(), p.index.translate, cfg.ResumeWindow)
	if err != nil {
		p.log.Error("cannot read collectors.json; returning collectors start live", "error", err)
	}
	p.encoder = encoder.New(encoder.Options{
		Signer: p.signer, Frames: p.logs.Load().frames, Notices: p.logs.Load().notices,
		StopAtCycle: func() int64 { return p.cfg.Load().StopAtCycle },
		AddShardKey: cfg.AddExecutionShardKey, Readers: p.readers, Log: p.log,
	}, progress)
	p.health = newHealthWatch(p.checks(), p.started, p.log)
	if p.predecessor != nil {
		p.health.inherited = p.predecessor.Offer.Problems
	}
	p.gateway = gateway.New(gateway.Options{
		Settings: access, Workers: p.workers, Frames: p.index, Resume: p.collectors.Offset,
		Health: p.publicHealth, API: p.publicAPI(),
		Reserved: query.Descriptors(descriptorLimit()), Log: p.log,
	})
	p.workers.SetExpiry(p.gateway.Expiry)
	p.board = status.NewBoard(status.Sources{
		Version: p.o.Version, Started: p.started, Source: p.sourceStats, Encoder: p.encoder.Stats,
		FrameLog: func() framelog.Stats { return p.logs.Load().stats() },
		LogID:    p.id().String(), LogDir: frameLogDir(cfg), Blocked: p.encoder.Blocked,
		Workers: p.workers.Snapshot, Gateway: p.gateway.Snapshot, Deflate: p.deflate.Stats,
		API: p.apiStatus, Health: p.detailedHealth, Events: p.events,
	})
	p.metrics = metrics.Handler(p.board.Status, p.log)
	return nil
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
		return fmt.Errorf("engine: DISTRIBUTOR_SECRET_KEY is the key of %s, not of "+
			"DISTRIBUTOR_PUBLIC_KEY %s: set both from one `distributor keygen`",
			p.signer.PublicKey(), public)
	}
	return nil
}
