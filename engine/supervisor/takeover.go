package supervisor

import (
	"time"

	"distributor/wsproto"
)

// nobody is the turn of a client that has none to wait for.
var nobody = func() <-chan struct{} {
	turn := make(chan struct{})
	close(turn)
	return turn
}()

// hold has c wait for the end of the older connection of its key, if there is one, here or in
// another process, and for the place where it goes on. Called with mu held.
func (s *Supervisor) hold(c *client) {
	c.phase = waiting
	if older := s.displace(c.Key); older != nil {
		c.phase, c.after, c.turn, c.until = held, older, older.over, older.closed.Add(s.times.takeover)
	} else if turn := s.elsewhere(c.Key); turn != nil {
		c.phase, c.turn, c.until = held, turn, time.Now().Add(s.times.takeover)
	} else if c.Resume != nil {
		c.phase, c.turn = held, nobody
	}
}

// displace closes the connection of key. It returns the one whose end is still to come, because a
// worker has it, or nil. A client that was held is finished: only the newest of a key waits. Called
// with mu held.
func (s *Supervisor) displace(key string) *client {
	c := s.byKey[key]
	if c != nil && c.phase < sending {
		s.refuse(c, wsproto.DuplicateConnection)
		c = s.byKey[key] // the connection that it was held for
	}
	if c == nil {
		return nil
	}
	if !c.closing {
		s.close(c, wsproto.DuplicateConnection)
	}
	if c.over == nil {
		c.over = make(chan struct{})
	}
	return c
}

// Displace closes the connection of key with DuplicateConnection, if it has one. It says whether
// the end of a connection is still to come: then OnClosed is told of it.
func (s *Supervisor) Displace(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.displace(key) != nil
}

// begin ends the wait of a client that is held: the older connection has ended, or has had its
// time.
func (s *Supervisor) begin(c *client) {
	from := c.From
	if c.Resume != nil {
		from = c.Resume() // not under the lock: it looks into the frame log
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.phase != held {
		return // finished meanwhile
	}
	c.From, c.after = from, nil
	s.expect(c.Expires)
	if c.worker != nil {
		c.phase = queued
		c.worker.send(outgoing{client: c})
		return
	}
	s.wait(c)
	s.refuseBeyondHope(c)
}
