package supervisor

import (
	"time"

	"distributor/wsproto"
)

// noOlder is the turn of a client that has no older connection to wait for.
var noOlder = func() <-chan struct{} {
	turn := make(chan struct{})
	close(turn)
	return turn
}()

// hold makes c wait for the end of the older connection of its key, here or in another process, and
// then for its offset. If there is neither, c only waits for a worker. Called with mu held.
func (s *Supervisor) hold(c *client) {
	c.phase = waiting
	if older := s.displace(c.Key); older != nil {
		c.phase, c.after, c.turn, c.until = held, older, older.over, older.closed.Add(s.times.takeover)
	} else if turn := s.elsewhere(c.Key); turn != nil {
		c.phase, c.turn, c.until = held, turn, time.Now().Add(s.times.takeover)
	} else if c.Resume != nil {
		c.phase, c.turn = held, noOlder
	}
}

// displace closes the connection of key. It returns that connection if its end is still to come,
// because a worker has it, else nil. A client that was held is finished, because only the newest of
// a key is held. Called with mu held.
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

// Displace closes the connection of key with DuplicateConnection, if there is one. It tells whether
// the end of a connection is still to come; OnClosed is called when it has ended.
func (s *Supervisor) Displace(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.displace(key) != nil
}

// begin ends the wait of a held client, because the older connection has ended, or its time is
// over.
func (s *Supervisor) begin(c *client) {
	from := c.From
	if c.Resume != nil {
		from = c.Resume() // not under the lock, because it reads the frame log
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.phase != held {
		return // it was finished meanwhile
	}
	c.From, c.after = from, nil
	s.expect(c.Expires)
	if c.worker != nil {
		c.phase = queued
		c.worker.send(outgoing{client: c})
		return
	}
	s.wait(c)
	s.refuseIfFull(c)
}
