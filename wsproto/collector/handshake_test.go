package collector

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/collector/firehosetest"
	"distributor/wsproto/shardus"
)

// The default hash key of the replaced service, a test key pair, and the request that the real
// collector's libraries made with them for this timestamp.
const (
	sampleHashKey = "69fa4195670576c0160d660c3be36556ff8d504725be8a59b5a96509e0c994bc"
	sampleKey     = "063e550600451f6a762eda733a44f546dfc91ff3e481728ce3374d6453363158ffdcd3f7f920bc1a8587e5825463f29b45564c289cc81cdafeb106d5b26d2949"
	sampleTime    = 1757400000000
	sampleTarget  = "/?data=%7B%22collectorInfo%22%3A%7B%22subscriptionType%22%3A%22FIREHOSE%22%2C%22timestamp%22%3A1757400000000%7D%2C%22sender%22%3A%22ffdcd3f7f920bc1a8587e5825463f29b45564c289cc81cdafeb106d5b26d2949%22%2C%22sign%22%3A%7B%22owner%22%3A%22ffdcd3f7f920bc1a8587e5825463f29b45564c289cc81cdafeb106d5b26d2949%22%2C%22sig%22%3A%2207841a412170aa5cf559f2389fbdd5224d0aa8d9d7e261b9d9e7af55c1d4fa64e41f96b3ccb37491ce6277abc40993339b5df58b7edb2e5bae6d2f391d35320d5dfb322116bdda23932df0e4b2290ba0170f4f218a3616df6e8c47e11438a1ff%22%7D%7D"
)

func sampleOptions(t testing.TB, url string) Options {
	keys, err := shardus.ParseSecretKey(sampleKey)
	if err != nil {
		t.Fatal(err)
	}
	hashKey, err := shardus.ParseHashKey(sampleHashKey)
	if err != nil {
		t.Fatal(err)
	}
	return Options{URL: url, Keys: keys, HashKey: hashKey, SubscriptionType: "FIREHOSE"}
}

func TestHandshakeIsTheCollectors(t *testing.T) {
	for url, want := range map[string]string{
		"http://127.0.0.1:6100":          "ws://127.0.0.1:6100" + sampleTarget,
		"ws://127.0.0.1:6100/":           "ws://127.0.0.1:6100" + sampleTarget,
		"http://127.0.0.1:6100/a?b=c&d#": "ws://127.0.0.1:6100/a" + sampleTarget[1:] + "&b=c&d",
	} {
		o := sampleOptions(t, url)
		got, err := RequestURL(o, time.UnixMilli(sampleTime))
		if got = strings.Replace(got, "6100?", "6100/?", 1); err != nil || got != want {
			t.Errorf("%s:\n got %s, %v\nwant %s", url, got, err, want)
		}
	}
	o := sampleOptions(t, "http://127.0.0.1:6100")
	o.From = wsproto.From{Start: wsproto.At, Position: wsproto.Position{Offset: 7}}
	if got, err := RequestURL(o, time.Now()); err != nil ||
		!strings.HasSuffix(got, "&from=00000000000000000000000000000000-7") {
		t.Errorf("with a position: %s, %v", got, err)
	}
}

func TestEncodeURIComponent(t *testing.T) {
	// The result of JavaScript for all of ASCII and one more character.
	const want = "%00%01%02%03%04%05%06%07%08%09%0A%0B%0C%0D%0E%0F%10%11%12%13%14%15%16%17%18%19%1A%1B%1C%1D%1E%1F%20!%22%23%24%25%26'()*%2B%2C-.%2F0123456789%3A%3B%3C%3D%3E%3F%40" +
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ%5B%5C%5D%5E_%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D~%7F%C3%A9"
	var all []byte
	for c := range 128 {
		all = append(all, byte(c))
	}
	if got := encodeURIComponent(append(all, "é"...)); got != want {
		t.Errorf("%s", got)
	}
}

func TestOptionsRefused(t *testing.T) {
	good := sampleOptions(t, "http://127.0.0.1:6100")
	for name, change := range map[string]func(*Options){
		"no URL":         func(o *Options) { o.URL = "" },
		"TLS":            func(o *Options) { o.URL = "https://127.0.0.1:6100" },
		"no host":        func(o *Options) { o.URL = "http:///x" },
		"broken URL":     func(o *Options) { o.URL = "http://127.0.0.1:61 00" },
		"user in URL":    func(o *Options) { o.URL = "http://a:b@127.0.0.1:6100" },
		"no secret key":  func(o *Options) { o.Keys = shardus.SecretKey{} },
		"no scheme":      func(o *Options) { o.URL = "127.0.0.1:6100" },
		"another scheme": func(o *Options) { o.URL = "ftp://127.0.0.1" },
	} {
		o := good
		change(&o)
		if _, err := Dial(t.Context(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		want         error
	}{
		{"JSON error", "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"error\":\"Unknown subscriber\",\"success\":false}", &RefusedError{401, "Unknown subscriber"}},
		{"JSON message", "HTTP/1.1 410 Gone\r\nContent-Length: 25\r\n\r\n{\"message\":\"below floor\"}",
			&RefusedError{410, "below floor"}},
		{"no JSON", "HTTP/1.1 400 Bad Request\r\nContent-Length: 22\r\n\r\nInvalid Upgrade header", &RefusedError{400, "Invalid Upgrade header"}},
		{"the replaced service's 401", "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nConnection: close\r\nUnauthorized: Authentication failed\r\n", &RefusedError{401, "Unauthorized"}},
		{"empty", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n",
			&RefusedError{503, "Service Unavailable"}},
		{"control characters", "HTTP/1.1 400 Bad Request\r\n\r\na\x1b[2J\nb",
			&RefusedError{400, "a [2J b"}},
		{"long", "HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat("é", 50_000),
			&RefusedError{400, strings.Repeat("é", 150)}},
		{"200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", &RefusedError{200, "OK"}},
		{"nothing", "", ErrLost},
		{"no HTTP", "SSH-2.0-x\r\n", ErrProtocol},
		{"endless line", "HTTP/1.1 101 " + strings.Repeat("x", 200_000), ErrProtocol},
		{"endless headers", "HTTP/1.1 101 X\r\n" + strings.Repeat("a: b\r\n", 40_000), ErrProtocol},
		{"wrong accept key", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: 7cmVxGN0d0khn4Yu5lmgFKXRC2M=\r\n\r\n", ErrProtocol},
		{"an extension nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", ErrProtocol},
	} {
		_, err := Dial(t.Context(), sampleOptions(t, firehosetest.StartRaw(t, c.answer)))
		var refused, want *RefusedError
		if errors.As(c.want, &want) {
			if !errors.As(err, &refused) || *refused != *want {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		} else if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestDialNobody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if _, err := Dial(t.Context(), sampleOptions(t, "http://"+listener.Addr().String())); !errors.Is(err, ErrLost) {
		t.Error(err)
	}
}

func TestDialTimeout(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	o := sampleOptions(t, "http://"+listener.Addr().String()) // the kernel connects, but nothing answers
	o.DialTimeout = 50 * time.Millisecond
	if _, err := Dial(t.Context(), o); !errors.Is(err, ErrLost) ||
		!errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Frames that arrive in the same segment as the answer are not lost.
func TestEarlyFrames(t *testing.T) {
	log := firehosetest.NewLog(t)
	frame := bytes.Clone(log.Add("receipt", `{"a":1}`))
	url := firehosetest.Start(t, func(c *firehosetest.Conn) { c.Send(frame); c.WaitForClose() })
	o := sampleOptions(t, url)
	o.HashKey = log.HashKey
	for range 20 { // some of them arrive with the answer
		c, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := c.Next(t.Context()); err != nil || string(m.Record) != `{"a":1}` {
			t.Fatalf("%s, %v", m.Text, err)
		}
		c.Close()
	}
}
