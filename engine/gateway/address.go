package gateway

import "net/netip"

// An origin is who limits are counted for: an IPv4 address, or the /64 of an
// IPv6 one, which is what a single customer gets and can choose from at will.
// The zero origin is for what is no address.
type origin struct{ netip.Addr }

// Origin is the address that stands for a connection's other end in limits for
// an address, "host:port" being how net/http tells it.
func Origin(remote string) netip.Addr { return originOf(remote).Addr }

// originOf reads the "host:port" of a connection's other end. An IPv4 address
// counts as itself also where a dual-stack socket shows it as ::ffff:a.b.c.d.
func originOf(remote string) origin {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return origin{}
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is6() && !addr.IsLoopback() {
		prefix, err := addr.Prefix(64)
		if err != nil {
			panic("gateway: " + err.Error()) // an IPv6 address has 128 bits
		}
		addr = prefix.Addr()
	}
	return origin{addr}
}
