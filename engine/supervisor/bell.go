package supervisor

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// one is what an eventfd takes to be rung: 1, in the machine's byte order,
// which is little-endian on all that this runs on; any other order would ring
// as well.
var one = [8]byte{1}

// A bell is the eventfd that tells a worker that the frame log has grown. It
// stays out of the runtime's poller: there each ring would wake ourselves too.
type bell struct {
	mu sync.Mutex // guards fd: a ring must not hit a descriptor that was closed and is another's now
	fd int        // -1: closed
}

// newBell returns a bell and the file to give to the worker, which the caller
// closes.
func newBell() (*bell, *os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("supervisor: eventfd: %w", err)
	}
	theirs, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(fd)
		return nil, nil, fmt.Errorf("supervisor: eventfd: %w", err)
	}
	// NewFile leaves a descriptor that is non-blocking so, also for the child.
	return &bell{fd: fd}, os.NewFile(uintptr(theirs), "wake"), nil
}

// ring never blocks. A bell that cannot take more has been rung.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		_, _ = unix.Write(b.fd, one[:])
	}
}

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		_ = unix.Close(b.fd)
		b.fd = -1
	}
}
