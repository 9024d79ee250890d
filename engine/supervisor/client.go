package supervisor

import (
	"container/list"
	"errors"
	"fmt"
	"time"

	"distributor/engine/handoff"
	"distributor/wsproto"
)

// Client is a collector that may connect.
type Client struct {
	Key  string // its public key, as the client wrote it
	From uint64 // offset of the first byte to send; a frame boundary
	// Resume returns From when the older connection of the key has ended, because until then it may
	// confirm more. nil: From is what the client asked for.
	Resume   func() uint64
	Response []byte    // the 101; read until Connect returns
	Early    []byte    // bytes that arrived after its request; read until Connect returns
	Expires  time.Time // when its connection is closed; zero: never
	handoff.Negotiated
}

// phase is the progress of a client.
type phase uint8

const (
	held    phase = iota // until the older connection of its key has ended
	waiting              // in Supervisor.waiting
	queued               // in the queue of its worker
	sending              // its worker's writer is sending the descriptor
	served               // its worker has the descriptor
	ended                // forgotten, or never served
)

// client is one Connect and its result. Guarded by Supervisor.mu, except fd and Client, which
// change only while no writer uses them.
type client struct {
	Client
	id      uint64
	fd      int // the caller's, who closes it after done
	phase   phase
	closing bool          // told to close: takes no slot any more
	closed  time.Time     // when it was told to close
	reached uint64        // offset that onPosition was last called with
	worker  *worker       // from queued to the end; also when held, if there was a free slot
	place   *list.Element // in Supervisor.waiting
	done    chan error    // takes the result of Connect; capacity 1
	over    chan struct{} // closed when it has ended; nil: nothing waits for that

	// These are for a client that is, or was, held. turn and until do not change.
	after *client         // the older connection, until this one begins; nil: another process has it
	turn  <-chan struct{} // closed when there is no older connection any more
	until time.Time       // when it begins in any case
}

// public returns c as OnClosed gets it.
func (c *client) public() Client {
	cl := c.Client
	cl.Response, cl.Early, cl.Resume = nil, nil, nil
	return cl
}

// The functions below are called with mu held.

// admit makes c the client of its key. c is held while an older connection of the key ends.
func (s *Supervisor) admit(c *client) {
	s.lastID++
	c.id = s.lastID
	s.hold(c)
	s.byKey[c.Key] = c
	if c.Deflate {
		s.deflate++
	}
	if s.expiry != nil {
		c.Expires = s.expiry(c.Key)
	}
	s.expect(c.Expires)
	switch w := s.freeWorker(); {
	case c.phase == waiting:
		s.wait(c)
	case w != nil:
		s.assign(c, w) // reserves the slot while c is held
	}
}

// wait puts c into the queue for a worker.
func (s *Supervisor) wait(c *client) {
	c.phase, c.place = waiting, s.waiting.PushBack(c)
	s.assignWaiting()
}

// position reports the offset that c has reached, unless a newer connection has begun. That one
// began at the offset that c was known to have reached, and reports its own.
func (s *Supervisor) position(c *client, offset uint64, begins bool) {
	c.reached = offset
	if newest := s.byKey[c.Key]; newest == c || newest != nil && newest.after == c {
		s.onPosition(c.Key, offset, begins)
	}
}

// assignWaiting gives waiting clients to workers with free slots. If there is none, and starts are
// in backoff, it refuses the waiting clients instead of letting them hang.
func (s *Supervisor) assignWaiting() {
	for e := s.waiting.Front(); e != nil; e = s.waiting.Front() {
		w := s.freeWorker()
		if w == nil && s.startsDelayed() {
			s.finish(e.Value.(*client), s.noWorker(errHeldBack))
			continue
		}
		if w == nil {
			s.wake() // a worker may be started
			return
		}
		c := s.waiting.Remove(e).(*client)
		c.place, c.phase = nil, queued
		s.assign(c, w)
		w.send(outgoing{client: c})
	}
}

// assign gives c a slot in w.
func (s *Supervisor) assign(c *client, w *worker) {
	c.worker = w
	w.clients[c.id] = c
	if c.Deflate {
		w.deflate++
	}
	if len(w.clients) == 1 || c.Deflate && w.deflate == 1 {
		s.updateReaders()
	}
}

var errHeldBack = errors.New("starts fail one after the other and are held back")

// startsDelayed tells whether no worker is starting, nor will be started for a while.
func (s *Supervisor) startsDelayed() bool {
	return s.count(starting) == 0 && time.Until(s.backoff.Until) > s.times.held
}

// freeWorker returns the first ready worker with a free slot, or nil.
func (s *Supervisor) freeWorker() *worker {
	for _, w := range s.workers {
		if w.state == ready && w.number <= s.limits.Max &&
			len(w.clients)-w.closing < s.limits.MaxClients &&
			(w.slots == 0 || len(w.clients) < w.slots) {
			return w
		}
	}
	return nil
}

// close has c's connection closed. If no worker has c, its Connect fails.
func (s *Supervisor) close(c *client, why wsproto.Disconnect) {
	if c.phase == held || c.phase == waiting {
		s.refuse(c, why)
		return
	}
	c.closing, c.closed = true, time.Now()
	c.worker.closing++
	c.worker.send(outgoing{
		message: handoff.Message{Close: &handoff.Close{ID: c.id, Disconnect: why.Name}},
	})
	s.assignWaiting()
}

// refuse ends the Connect of a client that no worker has, with ErrClosed.
func (s *Supervisor) refuse(c *client, why wsproto.Disconnect) {
	s.finish(c, fmt.Errorf("%w: %s", ErrClosed, why.Name))
	s.assignWaiting()
}

// finish ends the Connect of c with an error.
func (s *Supervisor) finish(c *client, err error) {
	s.forget(c)
	c.done <- err
}

// requeue puts a client back to the front of the waiting ones, if its worker failed before it got
// the client's descriptor.
func (s *Supervisor) requeue(c *client) {
	s.leave(c)
	switch {
	case c.closing:
		s.finish(c, fmt.Errorf("%w: %s", ErrClosed, wsproto.WorkerLost.Name))
	case s.stopping:
		s.finish(c, ErrStopping)
	default:
		c.phase = waiting
		c.place = s.waiting.PushFront(c)
	}
}

// forget removes c. A newer client of its key stays, and so does an older one whose end is still to
// come.
func (s *Supervisor) forget(c *client) {
	s.leave(c)
	if c.place != nil {
		s.waiting.Remove(c.place)
		c.place = nil
	}
	if s.byKey[c.Key] == c {
		delete(s.byKey, c.Key)
		if c.after != nil && c.after.phase != ended {
			s.byKey[c.Key] = c.after
		}
	}
	if c.Deflate && c.phase != ended {
		s.deflate--
	}
	c.phase = ended
	if c.over != nil {
		close(c.over)
		c.over = nil
	}
}

// leave removes c from its worker.
func (s *Supervisor) leave(c *client) {
	w := c.worker
	if w == nil {
		return
	}
	c.worker = nil
	delete(w.clients, c.id)
	if c.closing {
		w.closing--
	}
	if c.Deflate {
		if w.deflate--; w.deflate == 0 {
			s.updateReaders()
		}
	}
	if len(w.clients) == 0 {
		w.idle = time.Now()
		s.updateReaders()
		s.wake() // it may retire
	}
}

// expect makes run check expiries at t.
func (s *Supervisor) expect(t time.Time) {
	if !t.IsZero() && (s.nextExpiry.IsZero() || t.Before(s.nextExpiry)) {
		s.nextExpiry = t
		s.wake()
	}
}

// expire closes the clients whose subscriptions have ended by the wall clock.
func (s *Supervisor) expire(now time.Time) {
	if s.nextExpiry.IsZero() || now.Before(s.nextExpiry) {
		return
	}
	s.nextExpiry = time.Time{}
	for _, c := range s.byKey {
		switch {
		case c.closing || c.Expires.IsZero() || c.phase == held: // begin checks held ones again
		case now.Before(c.Expires):
			s.expect(c.Expires)
		default:
			s.close(c, wsproto.SubscriptionExpired)
		}
	}
}
