package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guarded refuses requests that foreign pages in a local browser may make. address is the
// listener's address as configured.
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

// fromElsewhere returns why another site's page may be behind a request, or "" if no such page can
// be. Browsers send Sec-Fetch-Site only over https and to loopback. For other requests, a browser
// is recognized by its User-Agent, which a page cannot change, and then Origin or Referer must name
// this host. A link to this host is allowed, unless it starts work (a profile takes as long as its
// address says) or is embedded as a part of the foreign page.
func fromElsewhere(r *http.Request) string {
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site == "cross-site" || site == "same-site":
		dest := r.Header.Get("Sec-Fetch-Dest")
		link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && (dest == "" || dest == "document")
		if !link || beginsWork(r) {
			return otherSite
		}
	// the User-Agent of every browser has it
	case site != "" || !strings.Contains(r.UserAgent(), "Mozilla/"):
	case r.Header.Get("Origin") != "":
		if !names(r.Header.Get("Origin"), r.Host) {
			return otherSite
		}
	case beginsWork(r) && !names(r.Referer(), r.Host):
		return unsourced
	}
	return ""
}

// beginsWork reports whether a request does more than read.
func beginsWork(r *http.Request) bool {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	return !reads || strings.HasPrefix(r.URL.Path, "/debug/") && r.URL.Path != "/debug/pprof/"
}

// names reports whether an Origin or a Referer belongs to this host.
func names(source, host string) bool {
	u, err := url.Parse(source)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// mayName reports whether a request may name this host. Only names are checked, because somebody
// else can make a name point here.
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
