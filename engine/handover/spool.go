package handover

import (
	"context"
	"errors"
	"os"
	"sync"
)

// batch is how many positions go into a packet: about 110 bytes each.
const batch = 400

// spool holds what the other process has to know of collectors until it is sent: the newest of each.
// add and free never wait, so they may be called under locks. Any goroutine may call all methods.
type spool struct {
	more chan struct{} // capacity 1: there is something

	mu      sync.Mutex // guards what follows
	byKey   map[string]Position
	release map[string]bool
}

func newSpool() *spool {
	return &spool{
		more:  make(chan struct{}, 1),
		byKey: make(map[string]Position), release: make(map[string]bool),
	}
}

// add takes the newest position of a collector.
func (s *spool) add(p Position) {
	s.mu.Lock()
	p.Begins = p.Begins || s.byKey[p.Key].Begins
	s.byKey[p.Key] = p
	s.mu.Unlock()
	s.poke()
}

// free takes a key for Message.Release. Positions that were added before are sent before it.
func (s *spool) free(key string) {
	s.mu.Lock()
	s.release[key] = true
	s.mu.Unlock()
	s.poke()
}

func (s *spool) poke() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// run sends what comes until ctx ends, and then what is left. While the other side does not read, run
// retries, so nothing is dropped. It returns early when the other side has gone or, after ctx has
// ended, leaves the channel full once (sendWithin).
func (s *spool) run(ctx context.Context, c *conn) {
	for ctx.Err() == nil {
		select {
		case <-s.more:
		case <-ctx.Done():
		}
		for {
			err := s.flush(c)
			if err == nil {
				break
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
				return
			}
		}
	}
	_ = s.flush(c)
}

// flush sends all there is, and keeps what cannot be sent.
func (s *spool) flush(c *conn) error {
	for {
		m := s.take()
		if len(m.Positions)+len(m.Release) == 0 {
			return nil
		}
		if err := c.Send(m); err != nil {
			s.putBack(m)
			return err
		}
	}
}

// putBack keeps a message that could not be sent, except positions that are older than those here.
func (s *spool) putBack(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range m.Positions {
		newer, ok := s.byKey[p.Key]
		if ok {
			newer.Begins = newer.Begins || p.Begins
			p = newer
		}
		s.byKey[p.Key] = p
	}
	for _, key := range m.Release {
		s.release[key] = true
	}
}

// take returns the next message. Keys are released after all positions.
func (s *spool) take() (m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.byKey {
		if len(m.Positions) == batch {
			return m
		}
		m.Positions = append(m.Positions, p)
		delete(s.byKey, key)
	}
	for key := range s.release {
		if len(m.Positions)+len(m.Release) == batch {
			return m
		}
		m.Release = append(m.Release, key)
		delete(s.release, key)
	}
	return m
}
