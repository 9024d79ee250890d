package wsproto

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// recorded is an upgrade request and the answer of the replaced service, after it had authenticated
// the client.
type recorded struct {
	Name    string
	Method  string
	Headers map[string]string
	Status  int
	Raw     string            // a refusal, to the byte
	Answer  map[string]string // a 101: header names in lower case
}

func recordedHandshakes(t *testing.T) []recorded {
	file, err := os.Open("testdata/handshakes.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []recorded
	for d := json.NewDecoder(file); d.More(); {
		var r recorded
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// request parses the request with net/http, as the gateway does.
func request(t *testing.T, method string, headers map[string]string) *http.Request {
	text := method + " /?data=x HTTP/1.1\r\n"
	for name, value := range headers {
		text += name + ": " + value + "\r\n"
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text + "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecordedHandshakes(t *testing.T) {
	all := recordedHandshakes(t)
	if len(all) < 15 {
		t.Fatalf("only %d recordings", len(all))
	}
	for _, c := range all {
		r := request(t, c.Method, c.Headers)
		if upgrade := IsUpgrade(r.Header); upgrade != (c.Status != http.StatusNotFound) {
			t.Errorf("%s: IsUpgrade is %v", c.Name, upgrade)
			continue
		} else if !upgrade {
			continue
		}
		u, err := CheckUpgrade(r)
		if c.Status != http.StatusSwitchingProtocols {
			if errors.Is(err, errVersion) { // ws answers 400, RFC 6455 §4.4 asks for 426
				c.Status = http.StatusUpgradeRequired
			}
			_, body, _ := strings.Cut(c.Raw, "\r\n\r\n")
			var refusal *Refusal
			if !errors.As(err, &refusal) {
				t.Errorf("%s: let through (%v)", c.Name, err)
			} else if refusal.Text != body || refusal.Status != c.Status {
				t.Errorf("%s: %d %q, want %d %q", c.Name, refusal.Status, refusal.Text, c.Status, body)
			} else if (refusal.Header() != nil) != errors.Is(err, errVersion) {
				t.Errorf("%s: header %v", c.Name, refusal.Header())
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		answer := bufio.NewReader(strings.NewReader(string(u.AppendResponse(nil))))
		response, err := http.ReadResponse(answer, r)
		if err != nil || response.StatusCode != c.Status || len(response.Header) != len(c.Answer) {
			t.Errorf("%s: %v, %v", c.Name, response, err)
			continue
		}
		for name, value := range c.Answer {
			if got := response.Header.Get(name); got != value {
				t.Errorf("%s: %s: %q, want %q", c.Name, name, got, value)
			}
		}
	}
}

// The order of the headers is that of completeUpgrade in npm ws; the key is the one of RFC 6455
// §1.3.
func TestUpgradeResponseBytes(t *testing.T) {
	const want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
	if got := string(Upgrade{Key: "dGhlIHNhbXBsZSBub25jZQ==",
		Protocol: "chat"}.AppendResponse(nil)); got != want {
		t.Errorf("%q", got)
	}
}

func upgradeHeaders(changes ...string) map[string]string {
	h := map[string]string{"host": "x", "connection": "Upgrade", "upgrade": "websocket",
		"sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
	for pair := range slices.Chunk(changes, 2) {
		h[pair[0]] = pair[1]
	}
	return h
}

// Outcomes: subprotocol.parse of npm ws 8.17; empty: it throws.
func TestSubprotocols(t *testing.T) {
	for _, c := range []struct{ header, first string }{
		{"chat", "chat"}, {"chat, superchat", "chat"}, {"a,b", "a"}, {"a ,b", "a"}, {"a\t,\tb", "a"},
		{"a , b", "a"},
		{"a,,b", ""}, {",a", ""}, {"a,", ""}, {"a b", ""}, {"a;b", ""}, {"a, a", ""}, {"a,b,a", ""},
		{"", ""},
		{"a,A", "a"}, {"é", ""}, {"a/b", ""}, {`"a"`, ""}, {"a=b", ""}, {"a,  ,b", ""},
		{"v1.x~_`|!#$%&'*+-^", "v1.x~_`|!#$%&'*+-^"},
	} {
		u, err := CheckUpgrade(request(t, "GET", upgradeHeaders("sec-websocket-protocol", c.header)))
		if (c.first == "" && !errors.Is(err, errProtocol)) ||
			(c.first != "" && (err != nil || u.Protocol != c.first)) {
			t.Errorf("%q: %q, %v", c.header, u.Protocol, err)
		}
	}
}

func TestCheckUpgradeOrder(t *testing.T) {
	bad := []string{"upgrade", "h2c", "sec-websocket-key", "short", "sec-websocket-version", "7",
		"sec-websocket-protocol", ","}
	for i, want := range []error{errUpgrade, errKey, errVersion, errProtocol} {
		r := request(t, "GET", upgradeHeaders(bad[2*i:]...))
		if _, err := CheckUpgrade(r); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", bad[2*i:], err, want)
		}
	}
	if _, err := CheckUpgrade(request(t, "PUT", upgradeHeaders(bad...))); !errors.Is(err, errMethod) {
		t.Errorf("PUT: %v", err)
	}
}

func TestKeys(t *testing.T) {
	for key, want := range map[string]bool{
		"dGhlIHNhbXBsZSBub25jZQ==": true, "++//++//++//++//++//+Z==": true,
		"dGhlIHNhbXBsZSBub25jZQ=": false, "dGhlIHNhbXBsZSBub25jZQ===": false,
		"dGhlIHNhbXBsZSBub25jZQA=": false,
		"dGhlIHNhbXBsZSBub25jZ-==": false, "dGhlIHNhbXBsZSBub25j=Q==": false, "": false,
	} {
		if _, err := CheckUpgrade(request(t, "GET", upgradeHeaders("sec-websocket-key",
			key))); (err == nil) != want {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

// Node joins repeated headers with ", ". The result is invalid for all headers except the list of
// subprotocols.
func TestRepeatedHeaders(t *testing.T) {
	for name, want := range map[string]error{
		"Upgrade": errUpgrade, "Sec-Websocket-Key": errKey, "Sec-Websocket-Version": errVersion,
		"Sec-Websocket-Protocol": nil,
	} {
		r := request(t, "GET", upgradeHeaders("sec-websocket-protocol", "a"))
		r.Header.Add(name, map[bool]string{true: "b", false: r.Header.Get(name)}[want == nil])
		if u, err := CheckUpgrade(r); !errors.Is(err, want) || (err == nil && u.Protocol != "a") {
			t.Errorf("%s twice: %v, want %v", name, err, want)
		}
	}
	r := request(t, "GET", upgradeHeaders("connection", "keep-alive"))
	r.Header.Add("Connection", "UPGRADE")
	if !IsUpgrade(r.Header) {
		t.Error("second Connection header not seen")
	}
}

func FuzzCheckUpgrade(f *testing.F) {
	f.Add("GET", "websocket", "dGhlIHNhbXBsZSBub25jZQ==", "13", "a, b")
	f.Fuzz(func(t *testing.T, method, upgrade, key, version, protocol string) {
		r := &http.Request{Method: method, Header: http.Header{"Upgrade": {upgrade},
			"Sec-Websocket-Key":     {key},
			"Sec-Websocket-Version": {version}, "Sec-Websocket-Protocol": {protocol}}}
		u, err := CheckUpgrade(r)
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) {
			t.Fatalf("%v is no refusal", err)
		}
		// An accepted value must not add lines to the answer's header.
		if answer := string(u.AppendResponse(nil)); err == nil && strings.Count(answer, "\r\n") != 6 {
			t.Errorf("answer %q", answer)
		}
	})
}

func TestUpgradeByTheLetter(t *testing.T) {
	for value, want := range map[string]error{
		"permessage-deflate": nil, "x-other; a=1; b=\"c\"": nil, "a" +
			strings.Repeat(",a", 2*maxOffers): nil,
		"": errExtensions, "\"": errExtensions, ";": errExtensions, "a;": errExtensions,
		"a;b=": errExtensions, "a b": errExtensions, "a; b=\"c": errExtensions,
		"a" + strings.Repeat(",a", 2*maxOffers) + ";": errExtensions,
	} {
		if _, err := CheckUpgrade(request(t, "GET", upgradeHeaders("sec-websocket-extensions",
			value))); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", value, err, want)
		}
	}
	old := request(t, "GET", upgradeHeaders())
	old.Proto, old.ProtoMajor, old.ProtoMinor = "HTTP/1.0", 1, 0
	if _, err := CheckUpgrade(old); !errors.Is(err, errHTTP10) {
		t.Errorf("HTTP/1.0: %v", err)
	}
}
