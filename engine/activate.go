package engine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"distributor/engine/config"
)

// firstActivated is the descriptor at which the service manager's sockets begin (sd_listen_fds(3)).
const firstActivated = 3

// activated returns the listener that the service manager has opened for this process, as systemd
// does for a socket unit; nil: it has opened none. It must be called before any other process is
// started: the descriptor and the variables are for this process alone.
func activated() (*net.TCPListener, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("engine: %w", err)
		}
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // the variables are of a process above this one
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%w: LISTEN_FDS is %q, no number", ErrConfig, count)
	}
	for fd := firstActivated; fd < firstActivated+n; fd++ {
		unix.CloseOnExec(fd)
	}
	switch {
	case n == 0:
		return nil, nil
	case n > 1:
		return nil, fmt.Errorf("%w: distributor.socket opens %d sockets: leave one ListenStream= in it", ErrConfig, n)
	}
	file := os.NewFile(firstActivated, "distributor.socket")
	defer file.Close() // FileListener works on a duplicate
	listens, err := unix.GetsockoptInt(firstActivated, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err == nil && listens == 0 {
		err = errors.New("it does not listen")
	}
	var l net.Listener
	if err == nil {
		l, err = net.FileListener(file)
	}
	public, ok := l.(*net.TCPListener)
	if err == nil && !ok {
		err = fmt.Errorf("it listens on %s", l.Addr().Network())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the socket of distributor.socket cannot be used: %w: set ListenStream= to a TCP port, and Accept=no",
			ErrConfig, err)
	}
	return public, nil
}

// checkActivated compares the service manager's socket with the settings, which say where
// collectors are expected. Without LISTEN_ADDR any address is right.
func checkActivated(cfg *config.Config, at *net.TCPAddr) error {
	const both = "make ListenStream= in distributor.socket and %s the same, then: systemctl daemon-reload; " +
		"systemctl stop distributor.service; systemctl restart distributor.socket; systemctl start distributor.service"
	if cfg.DistributorPort != 0 && cfg.DistributorPort != at.Port {
		return fmt.Errorf("%w: DISTRIBUTOR_PORT is %d, but distributor.socket listens on %v: "+both,
			ErrConfig, cfg.DistributorPort, at, "DISTRIBUTOR_PORT")
	}
	if cfg.ListenAddr == "" {
		return nil
	}
	want, err := net.ResolveTCPAddr("tcp", publicAddress(cfg))
	if err != nil {
		return fmt.Errorf("engine: LISTEN_ADDR: %w", err)
	}
	if !want.IP.Equal(at.IP) && !(want.IP.IsUnspecified() && at.IP.IsUnspecified()) {
		return fmt.Errorf("%w: LISTEN_ADDR is %s, but distributor.socket listens on %v: "+both,
			ErrConfig, cfg.ListenAddr, at, "LISTEN_ADDR")
	}
	return nil
}
