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
		if fromElsewhere(r) {
			http.Error(w, "another site's page asks for this", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fromElsewhere tells whether another site's page is behind a request: browsers
// say so. A link to us is fine, unless it begins work (a profile takes as long
// as its address says) or is to be shown as a part of that page.
func fromElsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		dest := r.Header.Get("Sec-Fetch-Dest")
		return r.Header.Get("Sec-Fetch-Mode") != "navigate" || dest != "" && dest != "document" || strings.HasPrefix(r.URL.Path, "/debug/")
	}
	return false
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
