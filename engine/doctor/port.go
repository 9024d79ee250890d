package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine"
	"distributor/engine/config"
	"distributor/mmaplog/framelog"
)

// askTimeout is how long the program that listens on a configured port may take to answer.
const askTimeout = 500 * time.Millisecond

func ports(ctx context.Context, v visit) []Finding {
	_, running := framelog.Holder(engine.FrameLogDir(v.cfg))
	found := []Finding{port(ctx, "DISTRIBUTOR_PORT", v.cfg.ListenAddr, v.cfg.DistributorPort,
		func(ctx context.Context, name, at, url string) Finding {
			return distributor(ctx, name, at, url, running)
		})}
	if v.cfg.AdminAddr == "" || v.cfg.AdminAddr == "off" {
		return found
	}
	const name = "ADMIN_ADDR"
	host, text, err := net.SplitHostPort(v.cfg.AdminAddr)
	n, err2 := strconv.Atoi(text)
	if err := errors.Join(err, err2); err != nil {
		return append(found, problem(name, err.Error(), "set ADMIN_ADDR to host:port, or to off"))
	}
	f := port(ctx, name, host, n, func(ctx context.Context, name, at, url string) Finding {
		return admin(ctx, name, at, url, running, v.cfg.AdminAddr == config.Default().AdminAddr)
	})
	if f.Level == OK && listensBeyond(host) {
		f = warning(name, f.Found+", but reachable from beyond this machine",
			"set ADMIN_ADDR to a loopback address: the admin listener has no authentication")
	}
	return append(found, f)
}

// port checks whether host:n can be listened on. If another program listens there, taken examines
// that program by its URL.
func port(ctx context.Context, name, host string, n int,
	taken func(ctx context.Context, name, at, url string) Finding) Finding {
	if n == 0 {
		return fine(name, "0: any free port")
	}
	addr, err := resolve(ctx, host)
	if err != nil {
		return problem(name, err.Error(),
			"set an address of this machine, or none to listen on all addresses")
	}
	at := net.JoinHostPort(host, strconv.Itoa(n))
	switch err := bindable(addr, n); {
	case err == nil:
		return fine(name, "%s is free", at)
	case errors.Is(err, unix.EADDRINUSE):
		if addr.IsUnspecified() {
			addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		return taken(ctx, name, at, "http://"+netip.AddrPortFrom(addr, uint16(n)).String())
	case errors.Is(err, unix.EACCES):
		return problem(name, at+" cannot be listened on by this user",
			"use a port from 1024 on, or give the binary CAP_NET_BIND_SERVICE")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return problem(name, fmt.Sprintf("%s is no address of this machine", addr),
			"set an address that `ip address` lists, or none to listen on all addresses")
	default:
		return problem(name, at+": "+err.Error(), "set another port or address")
	}
}

// resolve returns the address that net.Listen would use.
func resolve(ctx context.Context, host string) (netip.Addr, error) {
	if host == "" {
		return netip.IPv6Unspecified(), nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if a.Unmap().Is4() {
			return a.Unmap(), nil
		}
	}
	return addrs[0], nil
}

// bindable binds the port without listening, so that nobody can connect to doctor and a distributor
// that starts meanwhile is not blocked: with SO_REUSEADDR only a listener keeps another process
// from binding.
func bindable(addr netip.Addr, n int) error {
	family := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: n, Addr: addr.As16()}
	if addr.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: n, Addr: addr.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && addr == netip.IPv6Unspecified() { // a machine without IPv6
		return bindable(netip.IPv4Unspecified(), n)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if family == unix.AF_INET6 {
		only := 1
		if addr.IsUnspecified() {
			only = 0 // IPv4 as well
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return err
		}
	}
	return unix.Bind(fd, sa)
}

const freeIt = "stop that program (find it with ss -ltnp; if it is systemd's distributor.socket, start distributor.service), or set another port"

// distributor finds out which program listens on the public port. running says that a distributor
// uses our STATE_DIR.
func distributor(ctx context.Context, name, at, url string, running bool) Finding {
	status, body, err := get(ctx, url+"/is-alive")
	if err != nil || status != http.StatusOK || body != "OK" {
		return problem(name, at+" is taken by another program", freeIt)
	}
	if !running {
		return problem(name, "a distributor runs on "+at+", but not with this STATE_DIR",
			"stop that distributor, or set another port, or run doctor with its settings (in its container)")
	}
	status, body, err = get(ctx, url+"/is-healthy")
	var sick struct {
		Problems []struct{ Component, Problem, Remedy string }
	}
	if err == nil && status == http.StatusServiceUnavailable &&
		json.Unmarshal([]byte(body), &sick) == nil && len(sick.Problems) > 0 {
		first := sick.Problems[0]
		return problem(name, fmt.Sprintf("the distributor that runs on %s reports: %s: %s", at,
			first.Component, first.Problem), first.Remedy)
	}
	return fine(name, "a distributor runs on %s and is healthy", at)
}

// admin finds out which program listens on the admin listener's port. If ADMIN_ADDR is unset, the
// distributor can run without the admin listener.
func admin(ctx context.Context, name, at, url string, running, unset bool) Finding {
	var it struct{ Version string }
	status, body, err := get(ctx, url+"/status")
	is := err == nil && status == http.StatusOK && json.Unmarshal([]byte(body), &it) == nil &&
		it.Version != ""
	switch {
	case is && running:
		return fine(name, "a distributor runs with its admin listener on %s", at)
	case unset:
		return warning(name, at+" is taken by another program: the distributor would run without an admin listener", "set ADMIN_ADDR to a free address, or to off")
	}
	return problem(name, at+" is taken by another program", freeIt)
}

func get(ctx context.Context, url string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	return answer.StatusCode, string(b), err
}
