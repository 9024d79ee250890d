package supervisor

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Profile opens a connection on which worker number answers one HTTP request for /debug/pprof. The
// control channel carries the socket, so there is no file or port that others could find. It
// returns ErrNoWorker if that worker does not run.
func (s *Supervisor) Profile(number int) (net.Conn, error) {
	w := s.working(number)
	if w == nil {
		return nil, fmt.Errorf("%w: none with number %d", ErrNoWorker, number)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("supervisor: profile: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "profile")
	defer ours.Close() // FileConn works on a duplicate
	err = w.process.conn.SendProfile(fds[1], s.times.send)
	_ = unix.Close(fds[1])
	if err != nil {
		return nil, fmt.Errorf("supervisor: profile: %w", err)
	}
	return net.FileConn(ours)
}

// working returns the worker with that number, or nil if it has no Settings yet or no channel.
func (s *Supervisor) working(number int) *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		if w.number == number && (w.state == ready || w.state == draining) {
			return w
		}
	}
	return nil
}
