package wsproto

import (
	"net/http"
	"strings"
)

const (
	extensionsHeader = "Sec-WebSocket-Extensions"
	deflateName      = "permessage-deflate"

	// maxOffers bounds how many offers are read. A client makes one or two.
	maxOffers = 16
)

// NegotiateDeflate returns the value of the answer's Sec-WebSocket-Extensions header that accepts
// permessage-deflate (RFC 7692), or "" if the client makes no offer that we can accept. The first
// acceptable offer counts.
//
// The answer always says that both sides begin every message with an empty window: our messages are
// compressed once for all clients, and the client's are discarded. An offer is declined if it has
// an unknown parameter, a parameter twice, or an invalid value, or if it asks for a smaller window
// of ours than the one that all clients share. A header that breaks the grammar declines all
// offers; CheckUpgrade refuses it before.
func NegotiateDeflate(h http.Header) string {
	values := h.Values(extensionsHeader)
	if len(values) == 0 {
		return ""
	}
	s := scanner{strings.Join(values, ",")}
	answer := ""
	for range maxOffers {
		o, ok := s.offer()
		if !ok {
			return ""
		}
		if answer == "" && o.acceptable {
			answer = deflateName + "; server_no_context_takeover; client_no_context_takeover"
			if o.window {
				answer += "; server_max_window_bits=15"
			}
		}
		if s.rest == "" {
			return answer
		}
	}
	return ""
}

// validExtensions reports whether the offered extensions follow the grammar of RFC 6455 §9.1.
func validExtensions(h http.Header) bool {
	values := h.Values(extensionsHeader)
	if len(values) == 0 {
		return true
	}
	s := scanner{strings.Join(values, ",")}
	for {
		if _, ok := s.offer(); !ok {
			return false
		}
		if s.rest == "" {
			return true
		}
	}
}

// offer is one element of the header.
type offer struct {
	acceptable bool
	window     bool // it names our window, with the full size, so the answer must name it too
}

// offer reads one element and the comma after it. ok is false if it breaks the grammar of RFC 6455
// §9.1.
func (s *scanner) offer() (o offer, ok bool) {
	s.commas()
	name, ok := s.token()
	if !ok {
		return o, false
	}
	o.acceptable = name == deflateName
	var seen [4]bool
	for s.next(';') {
		param, ok := s.token()
		if !ok {
			return o, false
		}
		value, has := "", s.next('=')
		if has {
			if value, ok = s.value(); !ok {
				return o, false
			}
		}
		which, good := -1, false
		switch param {
		case "server_no_context_takeover":
			which, good = 0, !has
		case "client_no_context_takeover":
			which, good = 1, !has
		case "server_max_window_bits":
			which, good = 2, value == "15"
			o.window = true
		case "client_max_window_bits":
			which, good = 3, !has || windowBits(value)
		}
		if !good || seen[which] {
			o.acceptable = false
			continue
		}
		seen[which] = true
	}
	return o, s.end()
}

// windowBits reports whether s is a number from 8 to 15, without leading zeros.
func windowBits(s string) bool {
	return s == "8" || s == "9" || len(s) == 2 && s[0] == '1' && s[1] >= '0' && s[1] <= '5'
}

// scanner reads a list header from its beginning.
type scanner struct{ rest string }

func (s *scanner) blanks() { s.rest = strings.TrimLeft(s.rest, " \t") }

// next reads c, if c is the next character after white space. It reports whether it was.
func (s *scanner) next(c byte) bool {
	s.blanks()
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// commas skips empty elements, which a list may have (RFC 9110 §5.6.1.2).
func (s *scanner) commas() {
	for s.next(',') {
	}
}

// end reads the comma after an element, and the empty elements after it.
func (s *scanner) end() bool {
	s.blanks()
	if s.rest == "" {
		return true
	}
	if s.rest[0] != ',' {
		return false
	}
	s.commas()
	return true
}

func (s *scanner) token() (string, bool) {
	s.blanks()
	n := 0
	for n < len(s.rest) && isToken(s.rest[n:n+1]) {
		n++
	}
	token := s.rest[:n]
	s.rest = s.rest[n:]
	return token, n > 0
}

// value reads a token, or a quoted string that is a token without its quotes.
func (s *scanner) value() (string, bool) {
	if !s.next('"') {
		return s.token()
	}
	var value []byte
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			return string(value), isToken(string(value))
		case c == '\\' && i+1 < len(s.rest):
			i++
			value = append(value, s.rest[i])
		default:
			value = append(value, c)
		}
	}
	return "", false
}
