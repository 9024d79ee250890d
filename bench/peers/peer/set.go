package peer

import (
	"slices"
	"sync"
)

// Set holds the connections that get what is broadcast. For concurrent use.
type Set[T comparable] struct {
	mu  sync.Mutex
	all []T // never changed in place
}

// Add adds one.
func (s *Set[T]) Add(c T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(slices.Clip(s.all), c)
}

// Remove removes one, if it is there.
func (s *Set[T]) Remove(c T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(slices.Clone(s.all), func(x T) bool { return x == c })
}

// All are those there are now; not to be changed.
func (s *Set[T]) All() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}
