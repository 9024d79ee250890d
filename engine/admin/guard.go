package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guarded refuses what foreign pages in a local browser may try. address is
// the listener's, as configured.
func guarded(address string, next http.Handler) http.Handler {
	own, _, _ := net.SplitHostPort(address)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !mayName(r.Host, own) {
			http.Error(w, fmt.Sprintf("the request is for host %.100q; use an address or localhost, or name that host in ADMIN_ADDR", r.Host), http.StatusForbidden)
			return
		}
		// Browsers say where a request comes from; a link from elsewhere is fine.
		if site := r.Header.Get("Sec-Fetch-Site"); (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			http.Error(w, "another site's page asks for this", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// mayName tells whether a request may be for this host: only names can be made
// to point here by somebody else.
func mayName(host, own string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost") || own != "" && strings.EqualFold(host, own)
}
