package engine

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/gateway"
	"distributor/engine/handoff"
	"distributor/engine/handover"
	"distributor/engine/metrics"
	"distributor/engine/query"
	"distributor/engine/resume"
	"distributor/engine/status"
	"distributor/engine/supervisor"
	"distributor/engine/systemd"
	"distributor/mmaplog/framelog"
)

// open opens all parts, in an order that shows a fault before anything is promised.
func (p *primary) open(ctx context.Context) error {
	cfg := p.cfg.Load()
	p.relay = handover.NewRelay(ownCollectors{p})
	var err error
	if p.predecessor, err = handover.Inherit(); err != nil {
		return err
	}
	socket, err := systemd.Listener()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if p.hashKey, p.signer, err = keys(cfg); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if p.ports, err = listen(cfg, p.predecessor, socket, p.log); err != nil {
		return err
	}
	if cfg.UsesSampleKeys() && !loopback(p.ports.at()) {
		p.log.Warn("ANYBODY CAN SIGN AS THIS DISTRIBUTOR: it listens beyond loopback with the sample "+
			"keys that are public; make your own with `distributor keygen` and set "+
			"DISTRIBUTOR_PUBLIC_KEY and DISTRIBUTOR_SECRET_KEY",
			"address", p.ports.at().String())
	}
	access, err := gatewaySettings(cfg, p.hashKey)
	if err != nil {
		return err
	}
	if p.api, err = query.New(query.Options{
		Command: p.o.Query, Env: childEnvironment(os.Environ()),
		Databases: databases(cfg), Settings: querySettings(cfg, p.ports.at()), LogLevel: cfg.Level(),
		Signer: p.signer, HashKey: p.hashKey, Origin: gateway.Origin, Log: p.log,
	}); err != nil {
		return err
	}
	p.workers, err = supervisor.New(supervisor.Options{
		Command: p.o.Worker, Env: childEnvironment(os.Environ()), Log: p.log, Limits: limits(cfg),
		OnPosition: p.relay.Reached, Elsewhere: p.relay.Elsewhere,
		OnClosed: func(c supervisor.Client, _ handoff.Closed) { p.relay.Ended(c.Key) },
		Readers:  p.readers, CompressedReaders: p.compressed,
	})
	if err != nil {
		return err
	}
	if p.predecessor != nil {
		if err := p.awaitState(ctx, cfg); err != nil {
			return err
		}
	}
	logs, begin, err := openLogs(cfg, p.origin, p.index, p.log)
	if err != nil {
		return err
	}
	p.logs.Store(logs)
	if p.index == nil { // otherwise awaitState has opened it
		if p.index, err = openIndex(frameLogDir(cfg)); err != nil {
			return err
		}
	}
	p.collectors, err = resume.Open(
		cfg.StateDir, logs.id.String(), p.index.translate, cfg.ResumeWindow)
	if err != nil {
		p.log.Error("cannot read collectors.json; returning collectors start live", "error", err)
	}
	p.encoder = encoder.New(encoder.Options{
		Signer: p.signer, Frames: logs.frames, Notices: logs.notices,
		StopAtCycle: func() int64 { return p.cfg.Load().StopAtCycle },
		AddShardKey: cfg.AddExecutionShardKey, Readers: p.readers, Log: p.log,
	}, begin)
	p.saver = newSaver(p.encoder, p.collectors, p.index, p.log)
	if err := p.saver.first(logs, begin); err != nil {
		return err
	}
	o := compression(cfg)
	o.Announce, o.Grown, o.Readers = p.workers.SetCompressed, p.readers.Listen(), p.compressed
	o.Blocked, o.Log = p.encoder.Blocked, p.log
	// The old process has given up its compressed log by now.
	if p.deflate, err = deflate.New(o); err != nil {
		return fmt.Errorf("engine: STATE_DIR: %w", err)
	}
	p.counts = &recordCounts{encoder: p.encoder, stats: p.sourceStats, started: p.started}
	p.health = newHealthWatch(p.checks(), p.started, p.log)
	if p.predecessor != nil {
		p.health.inherited = p.predecessor.Offer.Problems
	}
	prometheus := func(w http.ResponseWriter, r *http.Request) { p.metrics.ServeHTTP(w, r) }
	p.gateway = gateway.New(gateway.Options{
		Settings: access, Workers: p.workers, Frames: p.index, Resume: p.collectors.Offset,
		Health: p.health.public, API: publicAPI(p.api, p.counts.counts, prometheus),
		Reserved: query.Descriptors(descriptorLimit()), Log: p.log,
	})
	p.workers.SetExpiry(p.gateway.Expiry)
	p.board = status.NewBoard(status.Sources{
		Version: p.o.Version, Started: p.started, Source: p.sourceStats, Encoder: p.encoder.Stats,
		FrameLog: func() framelog.Stats { return p.logs.Load().stats() },
		LogID:    logs.id.String(), LogDir: frameLogDir(cfg), Blocked: p.encoder.Blocked,
		Workers: p.workers.Snapshot, Gateway: p.gateway.Snapshot, Deflate: p.deflate.Stats,
		API:    func() status.API { return apiStatus(p.api.Snapshot()) },
		Health: p.health.detailed, Events: p.events,
	})
	p.metrics = metrics.Handler(p.board.Status, p.log)
	return nil
}
