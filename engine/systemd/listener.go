package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// firstFD is the descriptor at which the service manager's sockets begin.
const firstFD = 3

// Listener returns the listener that the service manager has opened for this process
// (sd_listen_fds(3)), as systemd does for a socket unit, or nil if there is none. It must be called
// before any other process is started, because the descriptor and the variables are for this
// process alone.
func Listener() (*net.TCPListener, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("systemd: %w", err)
		}
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // the variables are meant for a process above this one
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("systemd: LISTEN_FDS is %q, not a number", count)
	}
	for fd := firstFD; fd < firstFD+n; fd++ {
		unix.CloseOnExec(fd)
	}
	switch {
	case n == 0:
		return nil, nil
	case n > 1:
		return nil, fmt.Errorf(
			"systemd: distributor.socket opens %d sockets: leave one ListenStream= in it", n)
	}
	l, err := listenerOf(firstFD)
	if err != nil {
		return nil, fmt.Errorf("systemd: the socket of distributor.socket cannot be used: %w: "+
			"set ListenStream= to a TCP port, and Accept=no", err)
	}
	return l, nil
}

func listenerOf(fd int) (*net.TCPListener, error) {
	file := os.NewFile(uintptr(fd), "distributor.socket")
	defer file.Close() // FileListener works on a duplicate
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, err
	}
	if listens == 0 {
		return nil, errors.New("it does not listen")
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		_ = l.Close()
		return nil, fmt.Errorf("it listens on %s", l.Addr().Network())
	}
	return tcp, nil
}
