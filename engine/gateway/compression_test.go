package gateway

import (
	"fmt"
	"strings"
	"testing"

	"distributor/wsproto"
)

// A client that offers permessage-deflate gets it if it is on, and the worker is told. If it is
// off, or the client does not offer it, the answer equals that of the replaced service byte for
// byte.
func TestCompression(t *testing.T) {
	plain := string(wsproto.Upgrade{Key: "1fGLD1vqgfBGILVGvdZSAA=="}.AppendResponse(nil))
	const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	agreed := strings.TrimSuffix(plain,
		"\r\n") + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n\r\n"
	e := &echo{t: t}
	g := newGateway(t, "open", func(o *Options) { o.Workers = e })
	addr := serve(t, g)
	for i, c := range []struct {
		on      bool
		headers string
		answer  string
	}{
		{false, offer, plain},
		{true, "", plain},
		{true, offer, agreed},
		{true, "Sec-WebSocket-Extensions: x-other\r\n" + offer, agreed},
		{true, "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n", plain},
		{false, offer, plain},
	} {
		s := settingsOf("open")
		s.Deflate = c.on
		g.Reload(s)
		request := upgradeRequest(target(sign("known",
			fmt.Sprintf(`{"collectorInfo":{"n":%d},"sender":"%s"}`, i, keys["known"].PublicKey)), ""))
		got := exchange(t, addr, strings.Replace(request, "\r\n\r\n", "\r\n"+c.headers+"\r\n", 1))
		if client := e.last(); got.status != 101 || string(client.Response) != c.answer ||
			client.Deflate != (c.answer == agreed) {
			t.Errorf("on: %v, %q: answered %q, the worker is told %v", c.on, c.headers, client.Response,
				client.Deflate)
		}
	}
}
