package engine

import (
	"context"
	"fmt"
	"os"
	"sync"

	"distributor/engine/admin"
	"distributor/engine/config"
	"distributor/engine/handover"
	"distributor/engine/status/page"
)

// serve runs until ctx ends, something fails, or a new process has taken over.
func (p *primary) serve(ctx context.Context, reload <-chan os.Signal) error {
	if p.predecessor == nil { // otherwise awaitState has started them
		if err := p.workers.Start(ctx); err != nil {
			p.stopWorkers(p.cfg.Load().Drain)
			return fmt.Errorf("engine: start workers: %w", err)
		}
	}
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var parts sync.WaitGroup
	p.stopReading, p.stopCompressing = startReading(p.logs.Load(), p.saver, p.deflate, fail)
	if p.predecessor != nil {
		p.predecessor.TakeOver(p.relay, p.log)
	}
	parts.Go(func() {
		if err := p.gateway.Serve(p.ports.public); err != nil {
			fail(err)
		}
	})
	observing, stopObserving := context.WithCancel(context.Background())
	defer stopObserving()
	parts.Go(func() { p.observe(observing) })
	p.log.Info("distributing", "address", p.ports.at().String(),
		"public_key", p.signer.PublicKey().String(), "pid", os.Getpid())
	p.notify("READY=1", fmt.Sprintf("MAINPID=%d", os.Getpid()))

	if successor := p.handleSignals(running, fail, reload); successor != nil {
		stopObserving() // the new process can be looked at
		p.retire(ctx, successor, reload)
		parts.Wait()
		return nil
	}
	cause := context.Cause(running)
	if ctx.Err() != nil {
		cause = nil // asked to stop
		p.log.Info("stopping")
	} else {
		p.log.Error("stopping", "error", cause)
	}
	return p.stop(cause, &parts, stopObserving)
}

// handleSignals reloads and hands over when it is asked to. It returns the new process once that
// has taken over, or nil when running has ended.
func (p *primary) handleSignals(
	running context.Context, fail func(error), reload <-chan os.Signal,
) *handover.Successor {
	ended := running.Done()
	var handing chan *handover.Successor // nil: no handover is under way
	for ended != nil || handing != nil {
		select {
		case <-ended:
			ended = nil // a handover that is under way gives up
		case sig := <-reload:
			p.reload(sig)
		case <-p.o.Handover:
			switch {
			case handing != nil:
				p.log.Warn("handover refused: another handover is under way")
			case p.predecessor.Remains():
				p.log.Warn("handover refused: the old process of the last handover has not ended yet")
			default:
				handing = make(chan *handover.Successor, 1)
				go func() { handing <- p.handOver(running, fail) }()
			}
		case successor := <-handing:
			if successor != nil {
				return successor
			}
			handing = nil
		}
	}
	return nil
}

// observe keeps the status new and answers on the admin listener until ctx ends.
func (p *primary) observe(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { p.health.run(ctx) })
	parts.Go(func() { p.board.Run(ctx) })
	parts.Go(func() { p.counts.countStored(ctx, p.api) })
	if p.ports.admin == nil {
		return
	}
	p.log.Info("admin listener", "address", p.ports.admin.Addr().String())
	err := admin.Serve(ctx, p.ports.admin, admin.Options{
		Address: p.cfg.Load().AdminAddr, Board: p.board, Metrics: p.metrics, Health: p.health.text,
		Page: page.Handler(), Profile: p.workers.Profile, Query: p.api.Connect,
		Args: config.HideSecrets(p.o.Binary), Level: p.o.Level, SetLevel: p.setLevel, Log: p.log,
	})
	if err != nil {
		p.log.Error("admin listener failed", "error", err)
	}
}
