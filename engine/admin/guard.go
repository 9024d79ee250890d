package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guarded refuses what foreign pages in a local browser may try. address is
// the listener's, as configured.
func guarded(address string, next http.Handler) http.Handler {
	own, _, _ := net.SplitHostPort(address)
	next = http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		if !mayName(r.Host, own) {
			http.Error(w, fmt.Sprintf("the request is for host %.100q; use an address or localhost, or name that host in ADMIN_ADDR", r.Host), http.StatusForbidden)
			return
		}
		if why := fromElsewhere(r); why != "" {
			http.Error(w, why, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

const (
	otherSite = "another site's page asks for this"
	unsourced = "the browser does not say whose page asks for this: over plain HTTP it says so " +
		"to localhost alone. Use a tunnel to localhost, or a program such as curl"
)

// fromElsewhere returns why another site's page may be behind a request, "" if none can be.
// Browsers send Sec-Fetch-Site over https and to loopback alone. Elsewhere a browser is known by
// its User-Agent, which a page cannot change, and Origin or Referer must name us. A link to us is
// fine, unless it begins work (a profile takes as long as its address says) or is to be shown as a
// part of that page.
func fromElsewhere(r *http.Request) string {
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site == "cross-site" || site == "same-site":
		dest := r.Header.Get("Sec-Fetch-Dest")
		link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && (dest == "" || dest == "document")
		if !link || beginsWork(r) {
			return otherSite
		}
	case site != "" || !strings.Contains(r.UserAgent(), "Mozilla/"): // all browsers have that
	case r.Header.Get("Origin") != "":
		if !names(r.Header.Get("Origin"), r.Host) {
			return otherSite
		}
	case beginsWork(r) && !names(r.Referer(), r.Host):
		return unsourced
	}
	return ""
}

// beginsWork reports whether a request does more than read what is shown anyway.
func beginsWork(r *http.Request) bool {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	return !reads || strings.HasPrefix(r.URL.Path, "/debug/") && r.URL.Path != "/debug/pprof/"
}

// names reports whether an Origin or a Referer is of this host.
func names(source, host string) bool {
	u, err := url.Parse(source)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
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
