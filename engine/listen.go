package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"time"

	"distributor/engine/config"
	"distributor/engine/handover"
)

// ports are where the distributor listens.
type ports struct {
	public    *handover.Listener
	admin     net.Listener // nil: off
	activated bool         // the service manager has opened public, and keeps it
}

// listen opens both ports. It takes those of the old process that this one is configured with,
// or socket, which the service manager has opened; nil: it has not. The caller closes what is open,
// after an error too.
func listen(
	cfg *config.Config, old *handover.Predecessor, socket *net.TCPListener, log *slog.Logger,
) (p ports, err error) {
	var l net.Listener
	if old != nil {
		l = old.TakePublic(publicAddress(cfg))
		p.admin = old.TakeAdmin(cfg.AdminAddr)
		p.activated = old.Offer.Activated
	}
	switch {
	case l == nil && p.activated:
		return p, fmt.Errorf("%w: DISTRIBUTOR_PORT or LISTEN_ADDR is another one, and distributor.socket "+
			"has the port: change ListenStream= in it as well, and restart both", ErrConfig)
	case socket != nil:
		l, p.activated = socket, true
		if err := checkSocket(cfg, socket.Addr().(*net.TCPAddr)); err != nil {
			_ = socket.Close()
			return p, err
		}
		log.Info("listening on the socket of distributor.socket", "address", socket.Addr().String())
	case l == nil:
		if l, err = listenPublic(publicAddress(cfg)); err != nil {
			return p, fmt.Errorf("engine: listen (DISTRIBUTOR_PORT, LISTEN_ADDR): %w", err)
		}
	}
	p.public = &handover.Listener{TCPListener: l.(*net.TCPListener)}
	if p.admin == nil {
		p.admin, err = listenAdmin(cfg.AdminAddr, log)
	}
	return p, err
}

// at returns where the public port is.
func (p ports) at() net.Addr { return p.public.Addr() }

func (p ports) close() {
	if p.public != nil {
		_ = p.public.Close()
	}
	if p.admin != nil {
		_ = p.admin.Close()
	}
}

// bindTries is how often listenPublic retries EADDRINUSE, bindPause how long it waits in between:
// for a second at least. After a kill -9, a child that was being forked at that moment may still
// hold the port.
const (
	bindTries = 100
	bindPause = 10 * time.Millisecond
)

func listenPublic(address string) (net.Listener, error) {
	for tries := bindTries; ; tries-- {
		l, err := net.Listen("tcp", address)
		if !errors.Is(err, syscall.EADDRINUSE) || tries == 0 {
			return l, err
		}
		time.Sleep(bindPause)
	}
}

func publicAddress(cfg *config.Config) string {
	return net.JoinHostPort(cfg.ListenAddr, strconv.Itoa(cfg.DistributorPort))
}

// checkSocket compares the service manager's socket with the settings, which say where
// collectors are expected. Without LISTEN_ADDR any address is right.
func checkSocket(cfg *config.Config, at *net.TCPAddr) error {
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

// listenAdmin gives nil when there is to be no listener, and when the default's
// port is taken: a second distributor on the machine is not to fail for what
// nobody asked for.
func listenAdmin(address string, log *slog.Logger) (net.Listener, error) {
	if address == "" || address == config.Off {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if address == config.Default().AdminAddr && errors.Is(err, syscall.EADDRINUSE) {
		log.Warn("no admin listener: its port is taken; give each distributor an ADMIN_ADDR of its own, or off", "address", address)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("engine: listen (ADMIN_ADDR): %w", err)
	}
	if !loopback(l.Addr()) {
		log.Warn("ADMIN_ADDR is reachable from beyond this machine; it asks nobody who they are, and profiles tell a lot", "address", l.Addr().String())
	}
	return l, nil
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
