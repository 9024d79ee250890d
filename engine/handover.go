package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"distributor/engine/config"
	"distributor/engine/gateway"
	"distributor/engine/handoff"
	"distributor/engine/handover"
	"distributor/engine/supervisor"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

const (
	// verifyPerGiB is how long a new process may need to verify each GiB of the frame log.
	verifyPerGiB = time.Second
	// takeBackEvery is how often TakeBack retries.
	takeBackEvery = 250 * time.Millisecond
	// watchEvery is how often watchHead looks.
	watchEvery = 2 * time.Millisecond
)

// handOver starts a new process, and returns it if it has taken over. If this process can neither
// hand over nor continue, handOver tells fail.
func (p *primary) handOver(running context.Context, fail func(error)) *handover.Successor {
	cfg := p.cfg.Load()
	o := handover.Options{
		Command: p.o.Binary, Listener: p.listener, State: state{p, fail}, Relay: p.relay, Log: p.log,
		Offer: handover.Offer{
			StateDir: cfg.StateDir, Public: publicAddress(cfg), Activated: p.activated,
			Problems: p.health.sinceWhen(),
		},
		Opening: time.Duration(cfg.FrameLogBytes>>30) * verifyPerGiB,
	}
	if p.admin != nil {
		o.Offer.Admin, o.Admin = cfg.AdminAddr, p.admin
	}
	successor, err := handover.Run(running, o)
	if err != nil {
		fail(err)
	}
	return successor
}

// state is the primary's handover.State: its logs, and the reading.
type state struct {
	*primary
	fail func(error)
}

// Save saves progress, which the new process has to do first.
func (s state) Save() error {
	err := s.encoder.Blocked()
	if err == nil {
		err = s.checkpoint()
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, stateRemedy(err, s.cfg.Load().StateDir))
	}
	return nil
}

// Release stops reading and leaves the logs.
func (s state) Release() error {
	s.reading.stop()
	s.reading.plain()
	return errors.Join(s.checkpoint(), s.logs.Load().leave())
}

// TakeBack opens the logs again and reads on. Meanwhile collectors stay, and the HTTP API answers.
func (s state) TakeBack(ctx context.Context) error {
	s.reading.stop() // as far as Release has not done it
	s.reading.plain()
	if err := s.logs.Load().close(); err != nil {
		s.log.Error("frame log not closed cleanly", "error", err)
	}
	defer s.untaken.Store(nil)
	for {
		progress, err := s.openLogs(s.cfg.Load())
		switch {
		case err == nil:
			s.encoder.Again(s.logs.Load().frames, s.logs.Load().notices, progress)
			s.reading = s.read(s.fail)
			return nil
		case errors.Is(err, errNewLog), errors.Is(err, framelog.ErrVersion):
			return err
		case s.untaken.Swap(&err) == nil:
			s.log.Error("the state cannot be taken back; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(takeBackEvery):
		}
	}
}

// retire runs until the collectors of this process, which successor has replaced, are gone.
func (p *primary) retire(
	ctx context.Context, successor *handover.Successor, reload <-chan os.Signal,
) {
	cfg := p.cfg.Load()
	p.log.Info("handover: collectors are sent to the new process",
		"collectors", p.workers.Snapshot().Clients, "within", cfg.HandoverDrain)
	retired, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		p.watchHead(retired)
	}()
	go func() {
		defer close(retired)
		successor.Retire(ctx, service{p}, cfg.HandoverDrain, cfg.Drain)
	}()
	ignored := func(sig os.Signal) {
		p.log.Warn("signal ignored: the new process has taken over",
			"signal", sig.String(), "process", successor.Pid())
	}
	for {
		select {
		case sig := <-reload:
			ignored(sig)
		case sig := <-p.o.Handover:
			ignored(sig)
		case <-watched:
			return
		}
	}
}

// watchHead wakes the workers when the new process has written, until done is closed.
func (p *primary) watchHead(done <-chan struct{}) {
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	for last := p.index.Head(); ; {
		select {
		case <-done:
			return
		case <-look.C:
		}
		if head := p.index.Head(); head != last {
			last = head
			p.readers.Ring()
		}
	}
}

// service is the primary's handover.Service.
type service struct{ *primary }

func (s service) Answer(ctx context.Context) {
	s.stopGateway(ctx, min(gateway.IdleGrace, s.cfg.Load().HandoverDrain))
}

func (s service) SendAway(within time.Duration) { s.stopWorkers(within) }

// collectors is the primary's handover.Collectors.
type collectors struct{ p *primary }

func (c collectors) Confirmed(key string, offset uint64) { c.p.collectors.Confirmed(key, offset) }

func (c collectors) Displace(key string) bool { return c.p.workers.Displace(key) }

func (c collectors) Disconnect(key string) {
	c.p.workers.Disconnect(key, wsproto.DuplicateConnection)
}

// closed is told by the supervisor of the end of a connection.
func (p *primary) closed(c supervisor.Client, _ handoff.Closed) { p.relay.Ended(c.Key) }

// awaitState does what can be done beside the old process, last of all the start of workers, and
// waits until the old process has released the state.
func (p *primary) awaitState(ctx context.Context, cfg *config.Config) error {
	if err := p.predecessor.CheckStateDir(cfg.StateDir); err != nil {
		return err
	}
	if err := p.openIndex(cfg); err != nil {
		return err
	}
	if err := p.workers.Start(ctx); err != nil {
		return fmt.Errorf("engine: start workers: %w", err)
	}
	return p.predecessor.AwaitState(ctx)
}
