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
	Key  string // its public key, as it wrote it
	From uint64 // offset of the first byte to send; a frame boundary
	// Resume finds From when no older connection of the key is left, which may have confirmed more
	// until then. nil: From is what the client asked for.
	Resume   func() uint64
	Response []byte    // the 101; read until Connect returns
	Early    []byte    // what came behind its request; read until Connect returns
	Expires  time.Time // its connection is closed then; zero: never
	handoff.Negotiated
}

// phase is how far a client has come.
type phase uint8

const (
	held    phase = iota // until the older connection of its key has ended
	waiting              // in Supervisor.waiting
	queued               // in the queue of its worker
	sending              // its worker's writer has the descriptor in hand
	served               // its worker has it
	ended                // forgotten, or never served
)

// client is one Connect and what came of it. Guarded by Supervisor.mu, but for
// fd and Client, which change only while no writer has them.
type client struct {
	Client
	id      uint64
	fd      int // the caller's, who waits on done before closing it
	phase   phase
	closing bool          // told to close: takes no room any more
	closed  time.Time     // when it was told
	reached uint64        // as OnPosition was last told
	worker  *worker       // from queued to the end; already when held, if there is room
	place   *list.Element // in Supervisor.waiting
	done    chan error    // takes the outcome of Connect; capacity 1
	over    chan struct{} // closed when it has ended; nil: nobody waits for that

	// Of one that is, or was, held. turn and until do not change.
	after *client         // the older connection, as long as its news count; nil: another process has it
	turn  <-chan struct{} // closed when there is no older connection any more
	until time.Time       // when it begins all the same
}

// public is c for OnClosed.
func (c *client) public() Client {
	cl := c.Client
	cl.Response, cl.Early, cl.Resume = nil, nil, nil
	return cl
}

// The functions below are called with mu held.

// admit makes c the client of its key. It is held while an older connection of the key ends.
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
	switch w := s.roomy(); {
	case c.phase == waiting:
		s.wait(c)
	case w != nil:
		s.assign(c, w) // nobody else may take this place meanwhile
	}
}

// wait puts c into the queue for a worker.
func (s *Supervisor) wait(c *client) {
	c.phase, c.place = waiting, s.waiting.PushBack(c)
	s.settle()
}

// position tells how far c has come, unless a newer connection has begun: that
// one began where c was known to be, and goes its own way.
func (s *Supervisor) position(c *client, offset uint64, begins bool) {
	c.reached = offset
	if newest := s.byKey[c.Key]; newest == c || newest != nil && newest.after == c {
		s.onPosition(c.Key, offset, begins)
	}
}

// settle places those who wait while there is room. When there is none, and
// will not be soon because starts fail, it is better to tell them.
func (s *Supervisor) settle() {
	for e := s.waiting.Front(); e != nil; e = s.waiting.Front() {
		w := s.roomy()
		if w == nil && s.heldBack() {
			s.finish(e.Value.(*client), s.noWorker(errHeldBack))
			continue
		}
		if w == nil {
			s.poke() // perhaps a worker can be started
			return
		}
		c := s.waiting.Remove(e).(*client)
		c.place, c.phase = nil, queued
		s.assign(c, w)
		w.send(outgoing{client: c})
	}
}

// assign gives c a place in w.
func (s *Supervisor) assign(c *client, w *worker) {
	c.worker = w
	w.clients[c.id] = c
	if c.Deflate {
		w.deflate++
	}
	if len(w.clients) == 1 || c.Deflate && w.deflate == 1 {
		s.hangBells()
	}
}

var errHeldBack = errors.New("starts fail one after the other and are held back")

// heldBack says that no worker is about to be ready, nor will one be started
// for a while.
func (s *Supervisor) heldBack() bool {
	return s.count(starting) == 0 && time.Until(s.backoff.Until) > s.times.held
}

// roomy returns the first ready worker with room.
func (s *Supervisor) roomy() *worker {
	for _, w := range s.workers {
		if w.state == ready && w.number <= s.limits.Max && len(w.clients)-w.closing < s.limits.MaxClients && (w.room == 0 || len(w.clients) < w.room) {
			return w
		}
	}
	return nil
}

// close has c's connection closed, or its Connect fail.
func (s *Supervisor) close(c *client, why wsproto.Disconnect) {
	if c.phase == held || c.phase == waiting {
		s.refuse(c, why)
		return
	}
	c.closing, c.closed = true, time.Now()
	c.worker.closing++
	c.worker.send(outgoing{message: handoff.Message{Close: &handoff.Close{ID: c.id, Disconnect: why.Name}}})
	s.settle()
}

// refuse ends the Connect of a client that no worker has.
func (s *Supervisor) refuse(c *client, why wsproto.Disconnect) {
	s.finish(c, fmt.Errorf("%w: %s", ErrClosed, why.Name))
	s.settle()
}

// finish ends a Connect without a connection.
func (s *Supervisor) finish(c *client, err error) {
	s.forget(c)
	c.done <- err
}

// again places a client anew whose worker has failed before it had it.
func (s *Supervisor) again(c *client) {
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

// forget drops all that is known of c. A newer client of its key stays, and so does an older one
// that still ends.
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

// leave takes c from its worker.
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
			s.hangBells()
		}
	}
	if len(w.clients) == 0 {
		w.idle = time.Now()
		s.hangBells()
		s.poke() // it may retire
	}
}

// expect has the clock looked at when t comes.
func (s *Supervisor) expect(t time.Time) {
	if !t.IsZero() && (s.nextExpiry.IsZero() || t.Before(s.nextExpiry)) {
		s.nextExpiry = t
		s.poke()
	}
}

// expire closes the clients whose time has come by the wall clock.
func (s *Supervisor) expire(now time.Time) {
	if s.nextExpiry.IsZero() || now.Before(s.nextExpiry) {
		return
	}
	s.nextExpiry = time.Time{}
	for _, c := range s.byKey {
		switch {
		case c.closing || c.Expires.IsZero() || c.phase == held: // begin looks at it again
		case now.Before(c.Expires):
			s.expect(c.Expires)
		default:
			s.close(c, wsproto.SubscriptionExpired)
		}
	}
}
