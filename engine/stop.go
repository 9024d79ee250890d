package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"distributor/engine/handover"
)

const (
	// stopIdle is how long a stop waits for requests on HTTP connections that have none: one may be
	// on its way.
	stopIdle = time.Second
	// writeWithin is how long a stop waits for STATE_DIR.
	writeWithin = 10 * time.Second
)

// stop ends everything, in the order that the package doc tells, because of cause; nil: as it was
// asked to.
func (p *primary) stop(cause error, parts *sync.WaitGroup, stopObserving func()) error {
	p.notify("STOPPING=1")
	unread := p.inTime(func() error { p.stopReading(); return nil }) // the head is final
	parts.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), handover.StopGrace)
		defer cancel()
		// The workers' end refuses upgrades already.
		p.stopGateway(ctx, min(stopIdle, p.cfg.Load().Drain))
	})
	parts.Go(func() { p.predecessor.Stop(p.cfg.Load().Drain) })
	p.stopWorkers(p.cfg.Load().Drain)
	unread = errors.Join(unread, p.inTime(func() error { p.stopCompressing(); return nil }))
	stopObserving() // not before: a stop that takes its time can be looked at
	parts.Wait()
	return errors.Join(cause, unread, p.inTime(func() error {
		return p.saver.save(p.logs.Load())
	}))
}

// stopGateway ends what is under way on the public port. Connections without a request are closed
// after idle, the others when ctx ends.
func (p *primary) stopGateway(ctx context.Context, idle time.Duration) {
	if err := p.gateway.Shutdown(ctx, idle); err != nil {
		p.log.Info("HTTP connections were cut", "error", err)
	}
}

// stopWorkers lets the collectors catch up within a time, and ends the workers.
func (p *primary) stopWorkers(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within+handover.StopGrace)
	defer cancel()
	head := uint64(0)
	if p.index != nil { // else the frame log is not open yet
		head = p.index.Head()
	}
	p.workers.Stop(ctx, head, within)
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
	p.ports.close()
}

// inTime runs save for a stop, and waits no longer than writeWithin. If the disk hangs, save goes
// on using what it has, so inTime begins no later save, and close leaves that open. Nothing is
// lost: the next start finds a log that was open, and verifies it.
func (p *primary) inTime(save func() error) error {
	if p.hangs {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- save() }()
	select {
	case err := <-done:
		return err
	case <-time.After(writeWithin):
		p.hangs = true
		return fmt.Errorf("engine: stop: STATE_DIR (%s) is not written within %v: the disk does not answer; "+
			"the next start verifies the frame log and goes on where it ends: look at the kernel's log",
			p.cfg.Load().StateDir, writeWithin)
	}
}
