package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"distributor/engine/config"
	"distributor/engine/gateway"
	"distributor/engine/handover"
	"distributor/engine/problem"
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
		Command: p.o.Binary, Listener: p.ports.public, State: ownState{p, fail}, Relay: p.relay,
		Log: p.log,
		Offer: handover.Offer{
			StateDir: cfg.StateDir, Public: publicAddress(cfg), Activated: p.ports.activated,
			Problems: p.health.sinceWhen(),
		},
		Opening: time.Duration(cfg.FrameLogBytes>>30) * verifyPerGiB,
	}
	if p.ports.admin != nil {
		o.Offer.Admin, o.Admin = cfg.AdminAddr, p.ports.admin
	}
	successor, err := handover.Run(running, o)
	if err != nil {
		fail(err)
	}
	return successor
}

// ownState is the primary's handover.State: its logs, and the reading.
type ownState struct {
	*primary
	fail func(error)
}

// Save saves progress, which the new process has to do first.
func (s ownState) Save() error {
	err := s.encoder.Blocked()
	if err == nil {
		err = s.saver.save(s.logs.Load())
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, problem.StateDir.For(err, s.cfg.Load().StateDir))
	}
	return nil
}

// Release stops reading and leaves the logs.
func (s ownState) Release() error {
	s.stopReading()
	s.stopCompressing()
	l := s.logs.Load()
	return errors.Join(s.saver.save(l), l.leave())
}

// TakeBack opens the logs again and reads on. Meanwhile collectors stay, and the HTTP API answers.
func (s ownState) TakeBack(ctx context.Context) error {
	s.stopReading() // as far as Release has not done it
	s.stopCompressing()
	if err := s.logs.Load().close(); err != nil {
		s.log.Error("frame log not closed cleanly", "error", err)
	}
	defer s.untaken.Store(nil)
	for {
		l, begin, err := openLogs(s.cfg.Load(), s.origin, s.index, s.log)
		switch {
		case err == nil:
			s.logs.Store(l)
			s.encoder.Again(l.frames, l.notices, begin)
			s.stopReading, s.stopCompressing = startReading(l, s.saver, s.deflate, s.fail)
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
		successor.Retire(ctx, ownService{p}, cfg.HandoverDrain, cfg.Drain)
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

// ownService is the primary's handover.Service.
type ownService struct{ *primary }

func (s ownService) Answer(ctx context.Context) {
	s.stopGateway(ctx, min(gateway.IdleGrace, s.cfg.Load().HandoverDrain))
}

func (s ownService) SendAway(within time.Duration) { s.stopWorkers(within) }

// ownCollectors is the primary's handover.Collectors.
type ownCollectors struct{ p *primary }

func (c ownCollectors) Confirmed(key string, offset uint64) {
	c.p.collectors.Confirmed(key, offset)
}

func (c ownCollectors) Displace(key string) bool { return c.p.workers.Displace(key) }

func (c ownCollectors) Disconnect(key string) {
	c.p.workers.Disconnect(key, wsproto.DuplicateConnection)
}

// awaitState does what can be done beside the old process, last of all the start of workers, and
// waits until the old process has released the state.
func (p *primary) awaitState(ctx context.Context, cfg *config.Config) (err error) {
	if err := p.predecessor.CheckStateDir(cfg.StateDir); err != nil {
		return err
	}
	if p.index, err = openIndex(frameLogDir(cfg)); err != nil {
		return err
	}
	if err := p.workers.Start(ctx); err != nil {
		return fmt.Errorf("engine: start workers: %w", err)
	}
	return p.predecessor.AwaitState(ctx)
}
