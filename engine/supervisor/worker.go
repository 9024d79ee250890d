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

// State is the state of a worker.
type State string

const (
	starting State = "starting"
	ready    State = "ready"
	draining State = "draining" // asked to end, takes no clients
	gone     State = "gone"     // condemned or dead, not reaped yet
)

// Failure is why a worker was lost, a metric label and log key.
type Failure string

// The failures of a worker.
const (
	FailedSpawn  Failure = "spawn"     // the process could not be started
	FailedStart  Failure = "not_ready" // it was not ready in time
	FailedExit   Failure = "exit"      // it exited, or ended its channel
	FailedSend   Failure = "stuck"     // its channel stayed full for times.send
	FailedSilent Failure = "silent"    // it sent nothing for times.silentChecks
	FailedDrain  Failure = "not_ended" // it did not end in time after a Drain
	FailedSpeech Failure = "nonsense"  // it sent an invalid message
)

// failures lists all of them, so that a metric has each from the start.
var failures = []Failure{
	FailedSpawn, FailedStart, FailedExit, FailedSend, FailedSilent, FailedDrain, FailedSpeech,
}

// worker is one process and its clients. Guarded by Supervisor.mu, except the immutable number,
// log, more and dead, and process, which is set once, before the worker's goroutines start.
type worker struct {
	number       int
	log          *slog.Logger
	process      *process // nil: about to be started
	state        State
	since        time.Time // of the state
	silentChecks int       // checks in a row without a message from it
	waited       cpuWait   // for run alone
	idle         time.Time // when it lost its last client
	clients      map[uint64]*client
	closing      int // of clients, those that were told to close
	slots        int // how many clients it has descriptors for; 0: unknown
	deflate      int // of clients, those that negotiated permessage-deflate
	queue        []outgoing
	more         chan struct{} // capacity 1: the queue is not empty
	dead         chan struct{} // closed in state gone: the writer ends
	stats        handoff.Stats
	why          Failure // why it is gone; "": it ended as asked
	err          error   // why, with the cause
}

// outgoing is what a worker is to be sent: a client, or else a message.
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

// send queues o. For a worker that is gone it does nothing. It is called with mu held, so the order
// of the queue is the order of decisions. The queue is bounded: each client is in it at most twice,
// settings are in it once, and a worker whose channel stays full is condemned.
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

// take returns the next item of w's queue.
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
			s.position(o.client, o.client.From, true) // before the worker reports a later one
		}
		return o, true
	}
	w.queue = nil
	return outgoing{}, false
}

// write is the goroutine that sends to w. Only it waits for the channel.
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
			// If w may end, reap waits for its exit.
			if err != nil && (sendFailure(err) != FailedExit || !s.mayEnd(w)) {
				s.condemn(w, sendFailure(err), err)
			}
		}
	}
}

// sent handles the result of sending c to w.
func (s *Supervisor) sent(w *worker, c *client, err error) {
	// A descriptor or size that cannot be sent is not the worker's fault.
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.ETOOMANYREFS) ||
		errors.Is(err, handoff.ErrTooBig) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.finish(c, err)
		s.assignWaiting()
		return
	}
	if err != nil {
		s.condemn(w, sendFailure(err), err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requeue(c)
		s.assignWaiting()
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

// sendFailure returns FailedSend if the channel stayed full, FailedExit if it has ended.
func sendFailure(err error) Failure {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return FailedSend
	}
	return FailedExit
}

// condemn takes a failed worker out of service and kills it; reap does the rest. Only the first
// reason counts.
func (s *Supervisor) condemn(w *worker, why Failure, err error) {
	s.mu.Lock()
	if w.state != gone {
		s.fail(w, why, err)
		s.endService(w)
	}
	s.mu.Unlock()
	w.process.kill()
}

// fail records a failure. It does so at once, because the backoff must delay the next start.
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

// endService ends the service of a worker. Clients whose descriptors it did not get are assigned
// again. reap handles the others.
func (s *Supervisor) endService(w *worker) {
	w.enter(gone)
	close(w.dead)
	for _, o := range slices.Backward(w.queue) { // backwards, because requeue puts each first
		if o.client != nil && o.client.phase == queued {
			s.requeue(o.client)
		}
	}
	w.queue = nil
	for _, c := range w.clients {
		if c.phase == held {
			s.leave(c) // it gets another slot when it begins
		}
	}
	s.assignWaiting()
	s.wake()
}

// read is the goroutine that receives messages of w, until the end of the channel.
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
		s.handle(w, m)
	}
}

func (s *Supervisor) mayEnd(w *worker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.state == draining
}

// handle handles a message of w.
func (s *Supervisor) handle(w *worker, m handoff.Message) {
	s.mu.Lock()
	w.silentChecks = 0
	switch {
	case m.Ready != nil && w.state == starting:
		w.enter(ready)
		w.idle, w.slots = time.Now(), m.Ready.Slots
		s.reportStart(nil)
		s.assignWaiting()
		s.wake() // the next start may be due
		s.mu.Unlock()
		w.log.Info("worker ready", "pid", w.process.cmd.Process.Pid)
		return
	case m.Stats != nil:
		w.stats, w.slots = *m.Stats, m.Stats.Slots
		s.assignWaiting() // there may be free slots again
	case m.Confirmed != nil:
		for _, f := range m.Confirmed {
			if c := w.clients[f.ID]; c != nil {
				s.position(c, f.Offset, false)
			}
		}
	case m.Closed != nil:
		c := w.clients[m.Closed.ID]
		if c == nil || c.phase == queued {
			break // a bug of the worker, but its other clients can stay
		}
		s.position(c, max(c.From, m.Closed.Acked), false)
		s.forget(c)
		s.counts.disconnect(m.Closed.Disconnect)
		s.assignWaiting()
		cl := c.public()
		s.mu.Unlock()
		s.onClosed(cl, *m.Closed)
		return
	}
	s.mu.Unlock()
}
