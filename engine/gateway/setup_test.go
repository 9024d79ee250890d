package gateway

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gobwas/ws"

	"distributor/engine/supervisor"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// hashKeyHex is the reference's default, with which the corpus was recorded.
const hashKeyHex = "69fa4195670576c0160d660c3be36556ff8d504725be8a59b5a96509e0c994bc"

const patience = time.Minute

type testKey struct {
	PublicKey           string
	SecretKey           string
	SubscriptionType    string
	ExpirationTimestamp int64
	Subscribed          *bool
}

// keys are the corpus' key pairs by name.
var keys = func() map[string]testKey {
	data, err := os.ReadFile("testdata/keys.json")
	if err != nil {
		panic(err)
	}
	var m map[string]testKey
	if err := json.Unmarshal(data, &m); err != nil {
		panic(err)
	}
	return m
}()

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// settingsOf returns the corpus' settings: "open", or "subs" with a list.
func settingsOf(config string) Settings {
	s := Settings{
		LimitToSubscribersOnly: config == "subs", HandshakeWindow: 30 * time.Second,
		UpgradeRateLimit: 1000, MaxConnections: 2048,
		HashKey: must(shardus.ParseHashKey(hashKeyHex)),
	}
	for _, k := range keys {
		if k.Subscribed == nil {
			one := Subscriber{Key: must(shardus.ParsePublicKey(k.PublicKey)), Type: k.SubscriptionType}
			if k.ExpirationTimestamp != 0 {
				one.Expires = time.UnixMilli(k.ExpirationTimestamp)
			}
			s.Subscribers = append(s.Subscribers, one)
		}
	}
	return s
}

func signerOf(name string) *shardus.Signer {
	return shardus.NewSigner(must(shardus.ParseSecretKey(keys[name].SecretKey)),
		must(shardus.ParseHashKey(hashKeyHex)))
}

// signedData returns what a collector with that key signs at that time, with members (JSON, each
// behind a comma) beside the usual ones.
func signedData(name string, at time.Time, members string) string {
	text := fmt.Sprintf(`{"collectorInfo":{"subscriptionType":"FIREHOSE","timestamp":%d},"sender":%q%s}`, at.UnixMilli(), keys[name].PublicKey, members)
	return string(must(signerOf(name).AppendSigned(nil, must(shardus.Parse([]byte(text))))))
}

// target returns the request target of the real collector.
func target(data, more string) string { return "/?data=" + url.QueryEscape(data) + more }

const websocketHeaders = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: 1fGLD1vqgfBGILVGvdZSAA==\r\n\r\n"

func upgradeRequest(target string) string {
	return "GET " + target + " HTTP/1.1\r\n" + websocketHeaders
}

// fakeLog is a frame log with frames of 10 bytes.
type fakeLog struct {
	head, floor atomic.Uint64
	err         error
}

// Ancestor knows two earlier IDs, one of which ends below the floor that tests use.
func (l *fakeLog) Ancestor(id [16]byte) (uint64, bool) {
	end := map[[16]byte]uint64{{9, 1}: 150, {9, 2}: 50}[id]
	return end, end != 0
}

func (l *fakeLog) ID() [16]byte  { return [16]byte{1, 2, 3} }
func (l *fakeLog) Head() uint64  { return l.head.Load() }
func (l *fakeLog) Floor() uint64 { return l.floor.Load() }
func (l *fakeLog) FrameEnd(offset uint64) (uint64, error) {
	return (offset + 9) / 10 * 10, l.err
}

// echo is a Connector that serves its clients in this process over their own descriptors: the 101,
// then pongs for pings.
type echo struct {
	t       testing.TB
	clients sync.WaitGroup

	mu  sync.Mutex
	got []supervisor.Client
}

func (e *echo) Connect(_ context.Context, c supervisor.Client, fd int) error {
	if c.Resume != nil {
		c.From = c.Resume()
	}
	// The socket must still be non-blocking, because a worker's loop shares it.
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil ||
		flags&unix.O_NONBLOCK == 0 {
		e.t.Errorf("the descriptor blocks (%v)", err)
	}
	if on, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || on == 0 {
		e.t.Errorf("TCP_NODELAY is off (%v)", err)
	}
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(copied), "client")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return err
	}
	c.Response, c.Early = bytes.Clone(c.Response), bytes.Clone(c.Early)
	e.mu.Lock()
	e.got = append(e.got, c)
	e.mu.Unlock()
	e.clients.Go(func() {
		defer conn.Close()
		if _, err := conn.Write(c.Response); err != nil {
			return
		}
		in := io.MultiReader(bytes.NewReader(c.Early), conn)
		for {
			f, err := ws.ReadFrame(in)
			if err != nil {
				return
			}
			if f = ws.UnmaskFrameInPlace(f); f.Header.OpCode == ws.OpPing {
				if ws.WriteFrame(conn, ws.NewPongFrame(f.Payload)) != nil {
					return
				}
			}
		}
	})
	return nil
}

func (e *echo) last() supervisor.Client {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got[len(e.got)-1]
}

// connectFunc is a function that implements Connector.
type connectFunc func(ctx context.Context, c supervisor.Client, fd int) error

func (f connectFunc) Connect(ctx context.Context, c supervisor.Client, fd int) error {
	return f(ctx, c, fd)
}

// serve runs a gateway on a loopback port until the test ends, then checks that nothing of it
// remains.
func serve(t testing.TB, g *Gateway) (addr string) {
	t.Helper()
	before := descriptors(t)
	goroutines := runtime.NumGoroutine()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	eventually(t, "it accepts, with all its goroutines", func() bool {
		g.runningMu.Lock()
		defer g.runningMu.Unlock()
		return g.listener != nil
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := g.Shutdown(ctx, 0); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if e, ok := g.workers.(*echo); ok {
			e.clients.Wait()
		}
		eventually(t, "descriptors and goroutines are back", func() bool {
			return descriptors(t) <= before && runtime.NumGoroutine() <= goroutines
		})
	})
	return l.Addr().String()
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// newGateway returns a gateway with an echo and a frame log of [100, 200), after changes of the
// options.
func newGateway(t testing.TB, config string, change func(*Options)) *Gateway {
	frames := &fakeLog{}
	frames.floor.Store(100)
	frames.head.Store(200)
	o := Options{Settings: settingsOf(config), Workers: &echo{t: t}, Frames: frames,
		Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	return New(o)
}

// reply is everything that was received on a connection.
type reply struct {
	status   int
	header   http.Header
	body     string
	complete bool   // a whole HTTP answer, and nothing behind it
	closed   bool   // and then the end of the connection, in order
	frames   []byte // behind a 101
	conn     net.Conn
}

// exchange sends bytes and returns what is received: a refusal up to the end of the connection;
// after a 101, everything before the answer to a last ping. A connection that became a WebSocket
// stays open until the test ends.
func exchange(t testing.TB, addr, request string) reply {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	return leave(answerTo(t, conn, method))
}

// leave closes a connection that the gateway has closed, which waits for that.
func leave(r reply) reply {
	if r.closed {
		r.conn.Close()
	}
	return r
}

func answerTo(t testing.TB, conn net.Conn, method string) reply {
	t.Helper()
	in := bufio.NewReader(conn)
	r := reply{conn: conn}
	answer, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Logf("no answer: %v", err)
		return r
	}
	r.status, r.header = answer.StatusCode, answer.Header
	if r.status == http.StatusSwitchingProtocols {
		last := []byte("the last ping")
		if err := ws.WriteFrame(conn,
			ws.MaskFrameInPlace(ws.NewPingFrame(bytes.Clone(last)))); err != nil {
			t.Fatal(err)
		}
		pong := ws.MustCompileFrame(ws.NewPongFrame(last))
		for !bytes.HasSuffix(r.frames, pong) {
			b, err := in.ReadByte()
			if err != nil {
				t.Fatalf("after the 101 came %x, then %v", r.frames, err)
			}
			r.frames = append(r.frames, b)
		}
		r.frames = bytes.TrimSuffix(r.frames, pong)
		return r
	}
	body, err := io.ReadAll(answer.Body)
	r.body, r.complete = string(body), err == nil
	rest, err := io.ReadAll(in)
	r.closed = err == nil && len(rest) == 0
	return r
}

// refusalOf parses the body of a refusal.
func refusalOf(t testing.TB, r reply) (body struct {
	Error, Floor, From, Head, Reason string
	Success                          *bool
}) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &body); err != nil || body.Success == nil ||
		*body.Success || body.Error == "" {
		t.Fatalf("%d %q is no refusal: %v", r.status, r.body, err)
	}
	if !r.complete || !r.closed || r.header.Get("Content-Type") != contentJSON ||
		r.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("complete %v, closed %v, headers %v", r.complete, r.closed, r.header)
	}
	if after := r.header.Get("Retry-After"); (after != "") != (r.status == 503 || r.status == 429) {
		t.Fatalf("%d with Retry-After %q", r.status, after)
	}
	return body
}

// readLines reads a file of JSON lines.
func readLines[T any](t testing.TB, name string) []T {
	t.Helper()
	file, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if lines, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	var all []T
	for d := json.NewDecoder(lines); ; {
		var one T
		if err := d.Decode(&one); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}

// earlier is a position under one of fakeLog's earlier IDs.
func earlier(id byte, offset uint64) string {
	return wsproto.Position{Log: [16]byte{9, id}, Offset: offset}.String()
}

func token(offset uint64) string {
	return wsproto.Position{Log: (&fakeLog{}).ID(), Offset: offset}.String()
}
