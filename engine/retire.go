package engine

import (
	"context"
	"os"
	"sync"
	"time"

	"distributor/engine/gateway"
	"distributor/engine/succession"
)

const (
	// settleWithin of having been replaced, upgrades that we had accepted are let
	// in as before; later ones are told to try again.
	settleWithin = time.Second
	// watchEvery is how often we look whether the heir has written: our workers
	// have to be woken as before.
	watchEvery = 2 * time.Millisecond
)

// retirement is what a primary does that another one has replaced.
type retirement struct {
	p     *primary
	heir  *succession.Heir
	other *other
	limit time.Duration // for collectors

	parts    sync.WaitGroup
	cut      context.CancelFunc // ends requests that are under way
	answered chan struct{}      // closed when there are none
	emptied  chan struct{}      // capacity 2: no collector is left
	leaving  bool               // collectors are being sent away
	hurried  bool               // by a stop of all
}

// retire is what is left to do when heir has taken over: requests under way are
// answered; collectors get what the heir writes, and are sent there a few at a
// time. It returns when none of them is left, or time is up.
func (p *primary) retire(ctx context.Context, heir *succession.Heir, reload <-chan os.Signal) {
	r := &retirement{
		p: p, heir: heir, other: p.other.Load(), limit: p.cfg.Load().HandoverDrain,
		answered: make(chan struct{}), emptied: make(chan struct{}, 2),
	}
	p.log.Info("upgrade: collectors are sent to the other process", "collectors", p.workers.Snapshot().Clients, "within", r.limit)
	watching, stopWatching := context.WithCancel(context.Background())
	r.parts.Go(func() { p.watchHead(watching) })
	telling, stopTelling := context.WithCancel(context.Background())
	told := make(chan struct{})
	go func() {
		defer close(told)
		r.other.spool.Run(telling, heir.Conn)
	}()
	var answering context.Context
	answering, r.cut = context.WithTimeout(context.Background(), r.limit+stopGrace)
	defer r.cut()
	go func() {
		defer close(r.answered)
		if err := p.gateway.Shutdown(answering, min(gateway.IdleGrace, r.limit)); err != nil {
			p.log.Info("HTTP connections were cut", "error", err)
		}
	}()
	r.follow(ctx, reload)
	stopWatching()
	r.parts.Wait()
	stopTelling() // nothing more can come
	<-told
	heir.Close()
}

// follow does what comes up, until no collector and no request is left.
func (r *retirement) follow(ctx context.Context, reload <-chan os.Signal) {
	messages, asked, settled, answered := r.heir.Messages(), ctx.Done(), time.After(settleWithin), r.answered
	for empty := false; !empty || answered != nil; {
		select {
		case m, ok := <-messages:
			switch {
			case !ok:
				messages = nil
				r.p.log.Warn("the process that has taken over is gone")
			case m.Stop != nil:
				r.hurry(time.Duration(m.Stop.WithinMS) * time.Millisecond)
			default:
				r.p.hear(r.other, m)
			}
		case <-asked:
			asked = nil
			r.hurry(r.p.cfg.Load().Drain)
		case <-answered:
			answered = nil
			r.begin()
		case <-settled:
			r.begin()
		case <-r.emptied:
			empty = true
		case sig := <-reload:
			r.ignored(sig)
		case sig := <-r.p.o.Upgrade:
			r.ignored(sig)
		}
	}
}

func (r *retirement) ignored(sig os.Signal) {
	r.p.log.Warn("signal ignored: another process has taken over", "signal", sig.String(), "process", r.heir.Pid())
}

// begin sends the collectors away.
func (r *retirement) begin() {
	if !r.leaving {
		r.send(r.limit)
	}
}

// hurry sends them away sooner, since all is to stop.
func (r *retirement) hurry(within time.Duration) {
	if !r.hurried {
		r.hurried = true
		r.send(min(within, r.limit))
		time.AfterFunc(stopGrace, r.cut)
	}
}

func (r *retirement) send(within time.Duration) {
	r.leaving = true
	r.parts.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), within+stopGrace)
		defer cancel()
		r.p.workers.Stop(ctx, r.p.head(), within)
		r.emptied <- struct{}{}
	})
}

// watchHead wakes our workers when the heir has written.
func (p *primary) watchHead(ctx context.Context) {
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	for last := p.head(); ; {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if head := p.head(); head != last {
			last = head
			p.readers.Ring()
		}
	}
}
