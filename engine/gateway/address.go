package gateway

import "net/netip"

// An origin is the unit for which limits are counted: an IPv4 address, or the /64 of an IPv6
// address, in which a single customer can choose addresses freely. The zero origin stands for a
// text that is not an address.
type origin struct{ netip.Addr }

// Origin returns the address that represents a connection's other end in limits for an address.
// remote is "host:port", as net/http reports it.
func Origin(remote string) netip.Addr { return originOf(remote).Addr }

// originOf parses the "host:port" of a connection's other end. An IPv4 address counts as itself,
// even if a dual-stack socket shows it as ::ffff:a.b.c.d.
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
