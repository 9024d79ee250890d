package handover

import (
	"context"
	"sync"
	"time"
)

const (
	// admitFor is how long after a handover the old process still admits upgrades on connections that
	// it accepted before. Later ones are asked to try again.
	admitFor = time.Second
	// StopGrace is how much longer than its time limit for collectors a stop may take.
	StopGrace = 3 * time.Second
)

// Service is the part of the old process that still runs after a handover.
type Service interface {
	// Answer answers the HTTP requests that are under way, and returns when there are none. It cuts
	// them when ctx ends.
	Answer(ctx context.Context)
	// SendAway closes the connections of all collectors within a time, a few at a time, and returns
	// when no collector is left. Another call, with less time, replaces the first, and both return.
	SendAway(within time.Duration)
}

// Retire ends the old process's service. Requests under way are answered. Collectors get the new
// process's frames until they are sent away: within drain, or within stopDrain when ctx ends or the
// new process stops. Retire returns when no collector is left, or the time is over.
func (s *Successor) Retire(ctx context.Context, service Service, drain, stopDrain time.Duration) {
	r := &retirement{
		Successor: s, service: service, drain: drain,
		answered: make(chan struct{}), empty: make(chan struct{}, 2),
	}
	relaying, stopRelaying := context.WithCancel(context.Background())
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		s.peer.spool.run(relaying, s.conn)
	}()
	var answering context.Context
	answering, r.cut = context.WithTimeout(context.Background(), drain+StopGrace)
	defer r.cut()
	go func() {
		defer close(r.answered)
		service.Answer(answering)
	}()
	r.run(ctx, stopDrain)
	r.sending.Wait()
	stopRelaying() // no more positions can come
	<-relayed
	s.Close()
}

// retirement is the old process's state in Retire.
type retirement struct {
	*Successor
	service  Service
	drain    time.Duration
	sending  sync.WaitGroup
	cut      context.CancelFunc // ends requests that are under way
	answered chan struct{}      // closed when no request is under way
	empty    chan struct{}      // capacity 2: SendAway has returned
	leaving  bool               // SendAway was called
	hurried  bool               // SendAway was called with the time of a stop
}

// run waits until no collector and no request is left.
func (r *retirement) run(ctx context.Context, stopDrain time.Duration) {
	messages, stop, answered := r.Messages(), ctx.Done(), r.answered
	admitted := time.After(admitFor)
	for empty := false; !empty || answered != nil; {
		select {
		case m, ok := <-messages:
			switch {
			case !ok:
				messages = nil
				r.log.Warn("the new process, which has taken over, is gone")
			case m.Stop != nil:
				r.hurry(time.Duration(m.Stop.WithinMS) * time.Millisecond)
			default:
				r.relay.receive(r.peer, m)
			}
		case <-stop:
			stop = nil
			r.hurry(stopDrain)
		case <-answered:
			answered = nil
			r.begin()
		case <-admitted:
			r.begin()
		case <-r.empty:
			empty = true
		}
	}
}

// begin sends the collectors away, unless hurry or begin has done so.
func (r *retirement) begin() {
	if !r.leaving {
		r.send(r.drain)
	}
}

// hurry sends the collectors away in less time, because this process is to stop.
func (r *retirement) hurry(within time.Duration) {
	if !r.hurried {
		r.hurried = true
		r.send(min(within, r.drain))
		time.AfterFunc(StopGrace, r.cut)
	}
}

func (r *retirement) send(within time.Duration) {
	r.leaving = true
	r.sending.Go(func() {
		r.service.SendAway(within)
		r.empty <- struct{}{}
	})
}
