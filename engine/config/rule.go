package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Off is the address that turns a listener off.
const Off = "off"

// A rule says which texts a setting allows.
type rule struct {
	want string // completes "expected …"
	ok   func(string) bool
}

var (
	anyText  = rule{"text", func(string) bool { return true }}
	notEmpty = rule{"text that is not empty", func(s string) bool { return s != "" }}
	hex64    = hexDigits(64)
	hex128   = hexDigits(128)
	mode     = rule{`"WS" ("MQ", RabbitMQ, is not offered)`, func(s string) bool { return s == "WS" }}

	hostOrEmpty = rule{
		"an IP address or host name without port, or nothing",
		func(s string) bool { return s == "" || isHost(s) },
	}
	hostPortOrOff = rule{
		`host:port, or "off"`,
		func(s string) bool { return s == "" || s == Off || isHostPort(s) },
	}
)

func hexDigits(n int) rule {
	return rule{fmt.Sprintf("%d hex digits", n), func(s string) bool {
		return len(s) == n && strings.Trim(s, "0123456789abcdefABCDEF") == ""
	}}
}

func oneOf(words ...string) rule {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return rule{strings.Join(quoted, " or "), func(s string) bool { return slices.Contains(words, s) }}
}

func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return s != "" && !strings.ContainsAny(s, ":/[] \t")
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host != "" && !isHost(host) {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// maxShown is the length up to which a wrong value is shown. Longer text does not help the operator
// to recognize a mistake, and may be a key that was put in the wrong place.
const maxShown = 40

func quote(s string) string {
	if n := len([]rune(s)); n > maxShown {
		return fmt.Sprintf("text of %d characters", n)
	}
	return strconv.Quote(s)
}
