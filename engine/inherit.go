package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"distributor/engine/config"
	"distributor/engine/succession"
)

// estateWithin is how long the elder, once we are ready, may take to let go of
// what is to be ours.
const estateWithin = time.Minute

// awaitEstate does what can be done beside the elder, last of all the start of
// workers, says that we are ready and waits until the state is ours.
func (p *primary) awaitEstate(ctx context.Context, cfg *config.Config) error {
	if err := sameDirectory(cfg.StateDir, p.elder.Estate.StateDir); err != nil {
		return err
	}
	if err := p.openIndex(cfg); err != nil {
		return err
	}
	if err := p.workers.Start(ctx); err != nil {
		return fmt.Errorf("engine: start workers: %w", err)
	}
	if err := p.elder.Send(succession.Message{Ready: true}); err != nil {
		return fmt.Errorf("engine: tell the elder: %w", err)
	}
	select {
	case m, ok := <-p.elder.Messages():
		if !ok || !m.Yours {
			return errors.New("engine: the process that was to hand over has not done so")
		}
		return nil
	case <-time.After(estateWithin):
		return fmt.Errorf("engine: the process that was to hand over has not done so within %v", estateWithin)
	case <-ctx.Done():
		return fmt.Errorf("engine: taking over: %w", context.Cause(ctx))
	}
}

func sameDirectory(ours, theirs string) error {
	a, err := os.Stat(ours)
	if err != nil {
		return fmt.Errorf("engine: STATE_DIR: %w", err)
	}
	b, err := os.Stat(theirs)
	if err != nil {
		return fmt.Errorf("engine: STATE_DIR of the process that hands over: %w", err)
	}
	if !os.SameFile(a, b) {
		return fmt.Errorf("engine: STATE_DIR is %s, not %s as it was: that needs a restart", ours, theirs)
	}
	return nil
}

// takeOver tells the elder that it is not needed any more, and listens to what
// it still has to say.
func (p *primary) takeOver() {
	o, telling := newOther(false), make(chan struct{})
	p.other.Store(o)
	p.elderGone = make(chan struct{})
	if err := p.elder.Send(succession.Message{Serving: true}); err != nil {
		p.log.Warn("the process that has handed over is gone already", "error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(telling)
		o.spool.Run(ctx, p.elder.Conn)
	}()
	go func() {
		defer close(p.elderGone)
		for m := range p.elder.Messages() {
			p.hear(o, m)
		}
		o.silent()
		cancel()
		<-telling
		p.other.Store(nil)
		p.elder.Close()
		p.log.Info("the process that has handed over has ended")
	}()
}

// succeeding tells whether the process that has handed over to us is still there.
func (p *primary) succeeding() bool {
	if p.elderGone == nil {
		return false
	}
	select {
	case <-p.elderGone:
		return false
	default:
		return true
	}
}

// stopElder has the elder stop as we do, and waits for its end: what its
// collectors have confirmed by then is saved.
func (p *primary) stopElder() {
	if !p.succeeding() {
		return
	}
	within := p.cfg.Load().Drain
	if err := p.elder.Send(succession.Message{Stop: &succession.Stop{WithinMS: within.Milliseconds()}}); err != nil {
		return
	}
	select {
	case <-p.elderGone:
	case <-time.After(within + stopGrace):
		p.log.Warn("the process that has handed over has not ended yet")
	}
}
