package succession

import (
	"context"
	"errors"
	"os"
	"sync"
)

// batch is how many positions go into a packet: about 110 bytes each.
const batch = 400

// Spool holds what is to be told of collectors until it is: of each the newest.
// Add never waits, so it may be called under locks. All methods may be called
// from any goroutine.
type Spool struct {
	more chan struct{} // capacity 1: there is something

	mu      sync.Mutex // guards what follows
	byKey   map[string]Position
	release map[string]bool
}

// NewSpool has nothing in it.
func NewSpool() *Spool {
	return &Spool{more: make(chan struct{}, 1), byKey: make(map[string]Position), release: make(map[string]bool)}
}

// Add takes the newest of a collector.
func (s *Spool) Add(p Position) {
	s.mu.Lock()
	p.Begins = p.Begins || s.byKey[p.Key].Begins
	s.byKey[p.Key] = p
	s.mu.Unlock()
	s.poke()
}

// Release takes a key for Message.Release; what was added before is sent before.
func (s *Spool) Release(key string) {
	s.mu.Lock()
	s.release[key] = true
	s.mu.Unlock()
	s.poke()
}

func (s *Spool) poke() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// Run sends what comes until ctx ends, and then what is left. While the other side does not read, it
// tries again: nothing is dropped. It returns early when the other side has gone or, after ctx has
// ended, leaves the channel full for once (sendWithin).
func (s *Spool) Run(ctx context.Context, c *Conn) {
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

// flush sends all there is. What cannot be sent is kept.
func (s *Spool) flush(c *Conn) error {
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

// putBack takes a message that could not be sent, unless there is newer word of a collector.
func (s *Spool) putBack(m Message) {
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

// take returns the next message; keys are released in one that comes after all positions.
func (s *Spool) take() (m Message) {
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
