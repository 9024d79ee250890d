package supervisor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
)

// State is where a worker is in its life.
type State string

const (
	starting State = "starting"
	ready    State = "ready"
	draining State = "draining" // asked to end, takes no clients
	gone     State = "gone"     // condemned or dead, not reaped yet
)

// Failure is why a worker was lost, a metric label and log key.
type Failure string

// What can go wrong with a worker.
const (
	FailedSpawn  Failure = "spawn"     // the process could not be started
	FailedStart  Failure = "not_ready" // it was not ready in time
	FailedExit   Failure = "exit"      // it exited, or ended its channel
	FailedSend   Failure = "stuck"     // it took nothing from its channel for a while
	FailedSilent Failure = "silent"    // it said nothing for a while
	FailedDrain  Failure = "not_ended" // it was asked to end and did not in time
	FailedSpeech Failure = "nonsense"  // it said what a worker cannot say
)

// failures are all of them, so that a metric shows each from the start.
var failures = []Failure{FailedSpawn, FailedStart, FailedExit, FailedSend, FailedSilent, FailedDrain, FailedSpeech}

// worker is one process and what it serves. Guarded by Supervisor.mu, but for
// the immutable number, log, more and dead, and process, which is set once,
// before the worker's goroutines start.
type worker struct {
	number  int
	log     *slog.Logger
	process *process // nil: about to be started
	state   State
	since   time.Time // of the state
	quiet   int       // looks in a row without a word of it
	idle    time.Time // since when it has no clients
	clients map[uint64]*client
	closing int // those of them that were told to close
	room    int // for how many it has descriptors; 0: unknown
	deflate int // those of them that negotiated permessage-deflate
	queue   []outgoing
	more    chan struct{} // capacity 1: the queue is not empty
	dead    chan struct{} // closed with gone: the writer ends
	stats   handoff.Stats
	why     Failure // of gone; "": it ended as asked
	err     error   // the same in words
}

// outgoing is what a worker is to be sent: a client, or a message.
type outgoing struct {
	client  *client
	message handoff.Message
}

func newWorker(number int, log *slog.Logger) *worker {
	return &worker{
		number: number, log: log.With("worker", number), state: starting, since: time.Now(),
		clients: make(map[uint64]*client), more: make(chan struct{}, 1), dead: make(chan struct{}),
	}
}

func (w *worker) enter(state State) { w.state, w.since = state, time.Now() }

// send queues; what is sent to a worker that is gone is lost with it. Called
// with mu held, so the queue's order is the order of decisions. The queue is
// bounded: each client is in it at most twice, settings are in it once, and a
// worker that does not take it is condemned.
func (w *worker) send(o outgoing) {
	if w.state == gone {
		return
	}
	at := -1
	if o.message.Settings != nil { // the newest take the place of older ones
		at = slices.IndexFunc(w.queue, func(q outgoing) bool { return q.message.Settings != nil })
	}
	if at >= 0 {
		w.queue[at] = o
	} else {
		w.queue = append(w.queue, o)
	}
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// take returns the next of w's queue.
func (s *Supervisor) take(w *worker) (outgoing, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(w.queue) > 0 {
		o := w.queue[0]
		w.queue[0] = outgoing{}
		w.queue = w.queue[1:]
		if o.client != nil {
			if o.client.phase != queued {
				continue // its Connect has given up
			}
			o.client.phase = sending
			s.position(o.client, o.client.From, true) // before the worker can tell more
		}
		return o, true
	}
	w.queue = nil
	return outgoing{}, false
}

// write is the goroutine that sends to w: the only one that waits for it.
func (s *Supervisor) write(w *worker) {
	for {
		o, ok := s.take(w)
		switch {
		case !ok:
			select {
			case <-w.more:
			case <-w.dead:
				return
			}
		case o.client != nil:
			c := o.client
			s.sent(w, c, w.process.conn.SendClient(handoff.Client{
				ID: c.id, Key: c.Key, From: c.From, Response: c.Response, Early: c.Early,
				Negotiated: c.Negotiated,
			}, c.fd, s.times.send))
		default:
			err := w.process.conn.Send(o.message, s.times.send)
			if err != nil && (sendFailure(err) != FailedExit || !s.mayEnd(w)) { // else reap waits for its exit
				s.condemn(w, sendFailure(err), err)
			}
		}
	}
}

// sent notes the outcome of a hand-off.
func (s *Supervisor) sent(w *worker, c *client, err error) {
	// A descriptor or size that cannot be sent is no fault of the worker's.
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.ETOOMANYREFS) || errors.Is(err, handoff.ErrTooBig) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.finish(c, err)
		s.settle()
		return
	}
	if err != nil {
		s.condemn(w, sendFailure(err), err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.again(c)
		s.settle()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.handoffs++
	c.Response, c.Early = nil, nil
	if c.phase == sending { // else the worker has already closed it
		c.phase = served
	}
	c.done <- nil
}

// sendFailure tells a worker that does not listen from one that has gone.
func sendFailure(err error) Failure {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return FailedSend
	}
	return FailedExit
}

// condemn takes a failed worker out of service and kills it; reap does the
// rest. Only the first reason counts.
func (s *Supervisor) condemn(w *worker, why Failure, err error) {
	s.mu.Lock()
	if w.state != gone {
		s.fail(w, why, err)
		s.dismiss(w)
	}
	s.mu.Unlock()
	w.process.kill()
}

// fail notes a failure, at once: the next start must not come before.
func (s *Supervisor) fail(w *worker, why Failure, err error) {
	w.why, w.err = why, fmt.Errorf("supervisor: worker %d: %s", w.number, why)
	if err != nil {
		w.err = fmt.Errorf("%w: %w", w.err, err)
	}
	if !s.stopping {
		s.counts.failures[why]++
		s.backoff.Fail(time.Now(), w.err)
	}
}

// dismiss ends the service of a worker. Clients that it was not given are
// placed anew, those that it was given are reap's.
func (s *Supervisor) dismiss(w *worker) {
	w.enter(gone)
	close(w.dead)
	for _, o := range slices.Backward(w.queue) { // backwards, as again puts each first
		if o.client != nil && o.client.phase == queued {
			s.again(o.client)
		}
	}
	w.queue = nil
	for _, c := range w.clients {
		if c.phase == held {
			s.leave(c) // it looks for another place when its turn comes
		}
	}
	s.settle()
	s.poke()
}

// read is the goroutine that listens to w, until the end of the channel.
func (s *Supervisor) read(w *worker) {
	for {
		m, err := w.process.conn.Receive()
		switch {
		case errors.Is(err, io.EOF):
			if !s.mayEnd(w) { // else reap waits for its exit
				s.condemn(w, FailedExit, nil)
			}
			return
		case err != nil:
			s.condemn(w, FailedSpeech, err)
			return
		}
		s.hear(w, m)
	}
}

func (s *Supervisor) mayEnd(w *worker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.state == draining
}

func (s *Supervisor) hear(w *worker, m handoff.Message) {
	s.mu.Lock()
	w.quiet = 0
	switch {
	case m.Ready != nil && w.state == starting:
		w.enter(ready)
		w.idle, w.room = time.Now(), m.Ready.Room
		s.tellStart(nil)
		s.settle()
		s.poke() // the next start may be due
		s.mu.Unlock()
		w.log.Info("worker ready", "pid", w.process.cmd.Process.Pid)
		return
	case m.Stats != nil:
		w.stats, w.room = *m.Stats, m.Stats.Room
		s.settle() // there may be room again
	case m.Confirmed != nil:
		for _, f := range m.Confirmed {
			if c := w.clients[f.ID]; c != nil {
				s.position(c, f.Offset, false)
			}
		}
	case m.Closed != nil:
		c := w.clients[m.Closed.ID]
		if c == nil || c.phase == queued {
			break // broken, but no reason to lose the worker's other clients
		}
		s.position(c, max(c.From, m.Closed.Acked), false)
		s.forget(c)
		s.counts.disconnect(m.Closed.Disconnect)
		s.settle()
		cl := c.public()
		s.mu.Unlock()
		s.onClosed(cl, *m.Closed)
		return
	}
	s.mu.Unlock()
}
