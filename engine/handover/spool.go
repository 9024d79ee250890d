package handover

import (
	"context"
	"errors"
	"os"
	"sync"
)

// batch is the most positions in a packet: about 110 bytes each.
const batch = 400

// spool keeps what must be sent to the other process: the newest position of each collector, and
// the keys to release. add and free never wait, so they may be called under locks. Any goroutine
// may call all methods.
type spool struct {
	more chan struct{} // capacity 1: there is something to send

	mu      sync.Mutex // guards the fields below
	byKey   map[string]Position
	release map[string]bool
}

func newSpool() *spool {
	return &spool{
		more:  make(chan struct{}, 1),
		byKey: make(map[string]Position), release: make(map[string]bool),
	}
}

// add queues the newest position of a collector.
func (s *spool) add(p Position) {
	s.mu.Lock()
	p.Begins = p.Begins || s.byKey[p.Key].Begins
	s.byKey[p.Key] = p
	s.mu.Unlock()
	s.signal()
}

// free queues a key for Message.Release. Positions that were added before are sent before it.
func (s *spool) free(key string) {
	s.mu.Lock()
	s.release[key] = true
	s.mu.Unlock()
	s.signal()
}

func (s *spool) signal() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// run sends what is queued until ctx ends, and then the rest. While the other side does not read,
// run retries, so nothing is dropped. It returns early when the other side has ended, or when ctx
// has ended and the other side leaves the channel full once (sendWithin).
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

// flush sends everything that is queued. What cannot be sent stays queued.
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

// putBack queues a message again that could not be sent, except positions for which a newer one is
// queued.
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
