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

// askTimeout is for who listens on our port to say who it is.
const askTimeout = 500 * time.Millisecond

func ports(ctx context.Context, v visit) []Finding {
	_, running := framelog.Holder(engine.FrameLogDir(v.cfg))
	found := []Finding{port(ctx, "DISTRIBUTOR_PORT", v.cfg.ListenAddr, v.cfg.DistributorPort, func(ctx context.Context, name, at, url string) Finding {
		return distributor(ctx, name, at, url, running)
	})}
	if v.cfg.AdminAddr == "" || v.cfg.AdminAddr == "off" {
		return found
	}
	const name = "ADMIN_ADDR"
	host, text, err := net.SplitHostPort(v.cfg.AdminAddr)
	n, err2 := strconv.Atoi(text)
	if err := errors.Join(err, err2); err != nil {
		return append(found, problem(name, err.Error(), "set host:port, or off"))
	}
	f := port(ctx, name, host, n, func(ctx context.Context, name, at, url string) Finding {
		return admin(ctx, name, at, url, running, v.cfg.AdminAddr == config.Default().AdminAddr)
	})
	if f.Level == OK && listensBeyond(host) {
		f = warning(name, f.Found+", and reachable from beyond this machine", "keep it on loopback: it asks nobody who they are")
	}
	return append(found, f)
}

// port tells whether host:n can be listened on, or who does already: taken
// asks that by the URL of the one who listens.
func port(ctx context.Context, name, host string, n int, taken func(ctx context.Context, name, at, url string) Finding) Finding {
	if n == 0 {
		return fine(name, "0: any free port")
	}
	addr, err := resolve(ctx, host)
	if err != nil {
		return problem(name, err.Error(), "set an address of this machine, or leave it out for all")
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
		return problem(name, at+" may not be listened on by this user", "take a port from 1024 on, or give the binary CAP_NET_BIND_SERVICE")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return problem(name, fmt.Sprintf("%s is no address of this machine", addr), "set one that `ip address` lists, or leave it out for all")
	default:
		return problem(name, at+": "+err.Error(), "set another port or address")
	}
}

// resolve gives the address that net.Listen would take.
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

// bindable tries the port without listening, so that nobody can connect to us
// and a distributor that starts meanwhile is not in the way: with SO_REUSEADDR
// only a listener keeps another from binding.
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

const freeIt = "end it (ss -ltnp tells which; systemd: distributor.socket has it, start distributor.service), or set another port"

// distributor asks who it is that has the public port. running: a distributor
// has our STATE_DIR.
func distributor(ctx context.Context, name, at, url string, running bool) Finding {
	status, body, err := get(ctx, url+"/is-alive")
	if err != nil || status != http.StatusOK || body != "OK" {
		return problem(name, at+" is taken by another program", freeIt)
	}
	if !running {
		return problem(name, "a distributor runs on "+at+", but not with this STATE_DIR", "end it or set another port, or run doctor with its settings (in its container)")
	}
	status, body, err = get(ctx, url+"/is-healthy")
	var sick struct {
		Problems []struct{ Component, Problem, Remedy string }
	}
	if err == nil && status == http.StatusServiceUnavailable && json.Unmarshal([]byte(body), &sick) == nil && len(sick.Problems) > 0 {
		first := sick.Problems[0]
		return problem(name, fmt.Sprintf("the distributor that runs on %s says: %s: %s", at, first.Component, first.Problem), first.Remedy)
	}
	return fine(name, "a distributor runs on %s, and is well", at)
}

// admin asks who it is that has the admin listener's port. Without a setting
// the distributor does without.
func admin(ctx context.Context, name, at, url string, running, unset bool) Finding {
	var it struct{ Version string }
	status, body, err := get(ctx, url+"/status")
	is := err == nil && status == http.StatusOK && json.Unmarshal([]byte(body), &it) == nil && it.Version != ""
	switch {
	case is && running:
		return fine(name, "a distributor runs with it on %s", at)
	case unset:
		return warning(name, at+" is taken by another program: there will be no admin listener", "set ADMIN_ADDR to an address of its own, or off")
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
