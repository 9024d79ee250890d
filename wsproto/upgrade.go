package wsproto

import (
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"strings"
)

// A Refusal is the reason why a request cannot become a WebSocket. It is an error, with the HTTP
// answer.
type Refusal struct {
	Status int    // HTTP status: 400, 405 or 426
	Text   string // the body, as npm ws words it
}

func (e *Refusal) Error() string { return "wsproto: upgrade refused: " + e.Text }

// Header returns the headers that this refusal has and others have not: for a wrong version, the
// right one (RFC 6455 §4.4).
func (e *Refusal) Header() http.Header {
	if e.Status != http.StatusUpgradeRequired {
		return nil
	}
	return http.Header{"Sec-WebSocket-Version": {"13"}}
}

var (
	errMethod  = &Refusal{http.StatusMethodNotAllowed, "Invalid HTTP method"}
	errUpgrade = &Refusal{http.StatusBadRequest, "Invalid Upgrade header"}
	errKey     = &Refusal{http.StatusBadRequest, "Missing or invalid Sec-WebSocket-Key header"}
	errVersion = &Refusal{
		http.StatusUpgradeRequired, "Missing or invalid Sec-WebSocket-Version header",
	}
	errProtocol = &Refusal{http.StatusBadRequest, "Invalid Sec-WebSocket-Protocol header"}

	errExtensions = &Refusal{http.StatusBadRequest, "Invalid Sec-WebSocket-Extensions header"}
	errHTTP10     = &Refusal{http.StatusBadRequest, "A WebSocket needs HTTP/1.1"}
)

// An Upgrade holds the parts of a request that the 101 answer needs.
type Upgrade struct {
	Key      string // Sec-WebSocket-Key, 24 characters
	Protocol string // the subprotocol to answer; empty: none was offered
	// Extensions is the answer to the offered extensions (NegotiateDeflate); empty: none. CheckUpgrade
	// leaves it empty.
	Extensions string
}

// IsUpgrade reports whether the request asks for another protocol, by the rule of Node's HTTP
// server:
// it has an Upgrade header, and its Connection lists "upgrade". Otherwise it is a plain request.
func IsUpgrade(h http.Header) bool {
	if len(h.Values("Upgrade")) == 0 {
		return false
	}
	for token := range strings.SplitSeq(joined(h, "Connection"), ",") {
		if strings.EqualFold(strings.Trim(token, " \t"), "upgrade") {
			return true
		}
	}
	return false
}

// CheckUpgrade applies the rules of npm ws 8.17, in its order, and requires HTTP/1.1 as RFC 6455
// §4.2.1 does. The error is always a *Refusal. The first offered subprotocol is answered.
func CheckUpgrade(r *http.Request) (Upgrade, error) {
	key := joined(r.Header, "Sec-WebSocket-Key")
	version := joined(r.Header, "Sec-WebSocket-Version")
	switch {
	case r.Method != http.MethodGet:
		return Upgrade{}, errMethod
	case !r.ProtoAtLeast(1, 1):
		return Upgrade{}, errHTTP10
	case !strings.EqualFold(joined(r.Header, "Upgrade"), "websocket"):
		return Upgrade{}, errUpgrade
	case !validKey(key):
		return Upgrade{}, errKey
	// ws also accepts other forms of these numbers ("13.0", "0xd"), which no client sends.
	case version != "13" && version != "8":
		return Upgrade{}, errVersion
	}
	u := Upgrade{Key: key}
	if len(r.Header.Values("Sec-WebSocket-Protocol")) > 0 {
		var ok bool
		if u.Protocol, ok = firstProtocol(joined(r.Header, "Sec-WebSocket-Protocol")); !ok {
			return Upgrade{}, errProtocol
		}
	}
	if !validExtensions(r.Header) {
		return Upgrade{}, errExtensions
	}
	return u, nil
}

// joined returns a header's value, with repeated headers joined as Node does.
func joined(h http.Header, name string) string { return strings.Join(h.Values(name), ", ") }

// validKey reports whether key is the base64 of 16 bytes. As in ws, the unused bits of the last
// digit may have any value.
func validKey(key string) bool {
	if len(key) != 24 || key[22:] != "==" {
		return false
	}
	for _, c := range []byte(key[:22]) {
		if !isAlphanumeric(c) && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// firstProtocol checks a list of subprotocols: tokens, separated by commas and white space, without
// empty or repeated ones. It returns the first.
func firstProtocol(list string) (first string, ok bool) {
	seen := map[string]bool{}
	for item := range strings.SplitSeq(list, ",") {
		// ws allows white space on both sides of an item, but not at the ends of the value, where HTTP
		// has trimmed it already.
		item = strings.Trim(item, " \t")
		if !isToken(item) || seen[item] {
			return "", false
		}
		if len(seen) == 0 {
			first = item
		}
		seen[item] = true
	}
	return first, true
}

// isToken reports whether s is a token (RFC 9110 §5.6.2), which is not empty.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// AppendResponse appends the 101 answer, with the headers of the replaced service in its order. An
// extension, which that service never answers, comes last, as in npm ws.
func (u Upgrade) AppendResponse(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = append(dst, AcceptKey(u.Key)...)
	if u.Protocol != "" {
		dst = append(append(dst, "\r\nSec-WebSocket-Protocol: "...), u.Protocol...)
	}
	if u.Extensions != "" {
		dst = append(append(dst, "\r\nSec-WebSocket-Extensions: "...), u.Extensions...)
	}
	return append(dst, "\r\n\r\n"...)
}

// AcceptKey returns the Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2).
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
