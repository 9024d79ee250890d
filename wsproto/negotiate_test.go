package wsproto

import (
	"net/http"
	"strings"
	"testing"
)

func TestNegotiateDeflate(t *testing.T) {
	const (
		yes  = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
		full = yes + "; server_max_window_bits=15"
	)
	for _, c := range []struct {
		headers string // one a line
		want    string
	}{
		{"", ""},
		{"permessage-deflate", yes},
		{"permessage-deflate; client_max_window_bits", yes},                                 // npm ws
		{"permessage-deflate; server_no_context_takeover; client_no_context_takeover", yes}, // gorilla
		{"permessage-deflate;client_max_window_bits=8 ;\tserver_no_context_takeover", yes},
		{`permessage-deflate; client_max_window_bits="15"`, yes},
		{`permessage-deflate; client_max_window_bits="1\5"`, yes},
		{"permessage-deflate; server_max_window_bits=15", full},
		{`permessage-deflate; server_max_window_bits="15"; client_max_window_bits`, full},
		{"x-webkit-deflate-frame, permessage-deflate", yes},
		{"x-webkit-deflate-frame; a=b; c\npermessage-deflate", yes},
		{",, permessage-deflate ,,", yes},
		{"permessage-deflate; server_max_window_bits=15, permessage-deflate", full}, // the first counts
		{"permessage-deflate; server_max_window_bits=10, permessage-deflate", yes},
		{"permessage-deflate; server_max_window_bits=10; client_max_window_bits, permessage-deflate; client_max_window_bits", yes},
		{"permessage-deflate; unknown, permessage-deflate; unknown=1", ""},

		{"Permessage-Deflate", ""},
		{"permessage-deflated", ""},
		{"permessage-deflate; server_max_window_bits", ""},
		{"permessage-deflate; server_max_window_bits=16", ""},
		{"permessage-deflate; server_max_window_bits=8", ""},
		{"permessage-deflate; server_max_window_bits=015", ""},
		{"permessage-deflate; client_max_window_bits=7", ""},
		{"permessage-deflate; client_max_window_bits=08", ""},
		{"permessage-deflate; client_max_window_bits=16", ""},
		{"permessage-deflate; client_max_window_bits=1", ""},
		{"permessage-deflate; server_no_context_takeover=1", ""},
		{"permessage-deflate; client_no_context_takeover=true", ""},
		{"permessage-deflate; server_no_context_takeover; server_no_context_takeover", ""},
		{"permessage-deflate; client_max_window_bits; client_max_window_bits=15", ""},
		{"permessage-deflate; server_max_window_bits=15; server_max_window_bits=15", ""},

		// Not a valid list of extensions: all of it is ignored.
		{"permessage-deflate;", ""},
		{"permessage-deflate; =1", ""},
		{"permessage-deflate; client_max_window_bits=", ""},
		{`permessage-deflate; client_max_window_bits="15`, ""},
		{`permessage-deflate; client_max_window_bits=""`, ""},
		{`permessage-deflate; client_max_window_bits="1 5"`, ""},
		{"permessage-deflate permessage-deflate", ""},
		{"permessage-deflate, é", ""},
		{"permessage-deflate, =", ""},
		{";", ""},
		{"permessage-deflate" + strings.Repeat(",x", maxOffers), ""}, // too many
	} {
		h := http.Header{}
		for line := range strings.Lines(c.headers) {
			h.Add("Sec-WebSocket-Extensions", strings.TrimSuffix(line, "\n"))
		}
		if got := NegotiateDeflate(h); got != c.want {
			t.Errorf("%q: %q, want %q", c.headers, got, c.want)
		}
	}
}

func TestUpgradeResponseWithExtension(t *testing.T) {
	u := Upgrade{Key: "dGhlIHNhbXBsZSBub25jZQ==", Protocol: "chat", Extensions: "permessage-deflate"}
	got, ok := strings.CutPrefix(string(u.AppendResponse(nil)), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n")
	if !ok || got != "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

// For any offer, the answer is one that we can keep and that the offer allows: the client offered
// it, and a window is named only if the client named it.
func FuzzNegotiateDeflate(f *testing.F) {
	for _, seed := range []string{
		"permessage-deflate; client_max_window_bits", `permessage-deflate; server_max_window_bits="15"`,
		"a,b;c=d,permessage-deflate", ";,=\"\\", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		answer := NegotiateDeflate(http.Header{"Sec-Websocket-Extensions": {header}})
		if answer == "" {
			return
		}
		rest, ok := strings.CutPrefix(answer, "permessage-deflate; server_no_context_takeover; client_no_context_takeover")
		if !ok || rest != "" && rest != "; server_max_window_bits=15" {
			t.Fatalf("%q is answered with %q", header, answer)
		}
		if !strings.Contains(header, "permessage-deflate") || rest != "" &&
			!strings.Contains(header, "server_max_window_bits") {
			t.Fatalf("%q does not offer %q", header, answer)
		}
		// The same offer in two headers gives the same answer, and so does an offer of the answer.
		if again := NegotiateDeflate(http.Header{"Sec-Websocket-Extensions": {answer,
			","}}); again != answer {
			t.Fatalf("%q is answered with %q", answer, again)
		}
	})
}
