// Package bell wakes the readers of a log when the log has grown. Whoever writes the log rings a
// Set; whoever knows the readers fills it.
//
//	encoder ──▶ Set of the frame log ──▶ workers, compressor
//	compressor ──▶ Set of the compressed log ──▶ workers whose clients negotiated compression
//
// A Bell wakes another process, by an eventfd. A reader in the writer's process listens on a
// channel. Neither ever holds up the writer: a bell that has been rung and not been answered stays
// rung.
package bell

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// one is what an eventfd takes to be rung: 1, in the machine's byte order,
// which is little-endian on all that this runs on; any other order would ring
// as well.
var one = [8]byte{1}

// Bell is the eventfd of a reader in another process. It stays out of the runtime's poller, where
// each ring would wake the writer's process too.
type Bell struct {
	mu sync.Mutex // guards fd: a ring must not hit a descriptor that was closed and is another's now
	fd int        // -1: closed
}

// New returns a bell and the file to give to the reader, which the caller closes.
func New() (*Bell, *os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("bell: eventfd: %w", err)
	}
	theirs, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(fd)
		return nil, nil, fmt.Errorf("bell: eventfd: %w", err)
	}
	// NewFile leaves a descriptor that is non-blocking so, also for the child.
	return &Bell{fd: fd}, os.NewFile(uintptr(theirs), "wake"), nil
}

// Ring never blocks. A bell that cannot take more has been rung.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		_, _ = unix.Write(b.fd, one[:])
	}
}

// Close closes the writer's side. Later rings do nothing.
func (b *Bell) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		_ = unix.Close(b.fd)
		b.fd = -1
	}
}

// Set is the bells of a log's readers. Its methods may be called from any goroutine.
type Set struct {
	bells   atomic.Pointer[[]*Bell] // read-only once stored
	changed chan struct{}           // capacity 1

	mu    sync.Mutex                      // held while heard is replaced
	heard atomic.Pointer[[]chan struct{}] // each of capacity 1; read-only once stored
}

// NewSet returns a Set of no readers.
func NewSet() *Set {
	s := &Set{changed: make(chan struct{}, 1)}
	s.bells.Store(new([]*Bell))
	s.heard.Store(new([]chan struct{}))
	return s
}

// Ring wakes all readers: a system call for each in another process. It does not wait.
func (s *Set) Ring() {
	for _, b := range *s.bells.Load() {
		b.Ring()
	}
	for _, c := range *s.heard.Load() {
		signal(c)
	}
}

// Fill replaces the readers in other processes. The caller does not change bells afterwards.
func (s *Set) Fill(bells []*Bell) {
	s.bells.Store(&bells)
	signal(s.changed)
}

// Filled reports whether there are readers in other processes.
func (s *Set) Filled() bool { return len(*s.bells.Load()) > 0 }

// Changed returns a channel that takes a value after each Fill, for one goroutine.
func (s *Set) Changed() <-chan struct{} { return s.changed }

// Listen makes the caller a reader. The channel, for one goroutine, takes a value after each Ring.
func (s *Set) Listen() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{}, 1)
	heard := append(slices.Clone(*s.heard.Load()), c)
	s.heard.Store(&heard)
	return c
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
