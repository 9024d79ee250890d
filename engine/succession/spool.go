package succession

import (
	"context"
	"sync"
)

// batch is how many positions go into a packet: about 110 bytes each.
const batch = 400

// Spool holds what is to be told of collectors until it is: of each the newest.
// Add never waits, so it may be called under locks. All methods may be called
// from any goroutine.
type Spool struct {
	more chan struct{} // capacity 1: there is something

	mu    sync.Mutex // guards what follows
	byKey map[string]Position
}

// NewSpool has nothing in it.
func NewSpool() *Spool {
	return &Spool{more: make(chan struct{}, 1), byKey: make(map[string]Position)}
}

// Add takes the newest of a collector.
func (s *Spool) Add(p Position) {
	s.mu.Lock()
	p.Begins = p.Begins || s.byKey[p.Key].Begins
	s.byKey[p.Key] = p
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// Run sends what comes until ctx ends, and then what is left; it returns early
// when the other side has gone.
func (s *Spool) Run(ctx context.Context, c *Conn) {
	for {
		select {
		case <-s.more:
		case <-ctx.Done():
			s.flush(c)
			return
		}
		if !s.flush(c) {
			return
		}
	}
}

func (s *Spool) flush(c *Conn) bool {
	for {
		m := Message{Positions: s.take()}
		if len(m.Positions) == 0 {
			return true
		}
		if c.Send(m) != nil {
			return false
		}
	}
}

func (s *Spool) take() (out []Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.byKey {
		if len(out) == batch {
			break
		}
		out = append(out, p)
		delete(s.byKey, key)
	}
	return out
}
