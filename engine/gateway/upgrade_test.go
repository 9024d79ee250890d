package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/supervisor"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

func TestHandedOver(t *testing.T) {
	e := &echo{t: t}
	g := newGateway(t, "subs", func(o *Options) { o.Workers = e })
	addr := serve(t, g)
	request := upgradeRequest(target(signedData("notYetExpired", time.Now(), ""), ""))
	request = strings.Replace(request, "\r\n\r\n",
		"\r\nSec-WebSocket-Protocol: chat, superchat\r\n\r\n", 1)
	ping := "\x89\x84\x01\x02\x03\x04\x60\x60\x60\x60"
	got := exchange(t, addr, request+ping)
	if got.status != 101 || hex.EncodeToString(got.frames) != "8a0461626364" {
		t.Fatalf("%+v", got)
	}
	c := e.last()
	if c.Key != keys["notYetExpired"].PublicKey || c.From != 200 ||
		string(c.Early[:len(ping)]) != ping ||
		c.Expires.UnixMilli() != keys["notYetExpired"].ExpirationTimestamp ||
		string(c.Response) != string(wsproto.Upgrade{Key: "1fGLD1vqgfBGILVGvdZSAA==",
			Protocol: "chat"}.AppendResponse(nil)) {
		t.Errorf("%+v", c)
	}
	eventually(t, "it is counted, and the server holds nothing", func() bool {
		s := g.Snapshot()
		return s.Connections == 0 && s.HandedOver == 1 && s.Malformed == 0
	})
}

// A client's key is the same in every spelling of its hex. Otherwise the newer of two connections
// would not displace the older.
func TestKeyIsLowerCase(t *testing.T) {
	e := &echo{t: t}
	addr := serve(t, newGateway(t, "open", func(o *Options) { o.Workers = e }))
	known := keys["known"].PublicKey
	data := strings.ReplaceAll(sign("known", `{"collectorInfo":{},"sender":"`+
		strings.ToUpper(known)+`"}`), known, strings.ToUpper(known))
	if got := exchange(t, addr, upgradeRequest(target(data, ""))); got.status != 101 ||
		e.last().Key != known {
		t.Errorf("%d, key %q", got.status, e.last().Key)
	}
}

func TestSignedUpgradeWorksOnce(t *testing.T) {
	fail := make(chan error, 1)
	e := &echo{t: t}
	g := newGateway(t, "subs", func(o *Options) {
		o.Workers = connectFunc(func(ctx context.Context, c supervisor.Client, fd int) error {
			select {
			case err := <-fail:
				return err
			default:
				return e.Connect(ctx, c, fd)
			}
		})
	})
	t.Cleanup(e.clients.Wait)
	addr := serve(t, g)
	data := signedData("known", time.Now(), "")
	request := upgradeRequest(target(data, ""))

	// A request that failed without a fault of the client may be sent again.
	fail <- supervisor.ErrFull
	if got := exchange(t, addr, request); got.status != 503 || refusalOf(t, got).Reason != "full" {
		t.Fatalf("%+v", got)
	}
	if got := exchange(t, addr, upgradeRequest(target(data, "&from=nonsense"))); refusalOf(t,
		got).Reason != "malformed_from" {
		t.Fatalf("%+v", got)
	}
	if got := exchange(t, addr, strings.Replace(request, "Version: 13", "Version: 12",
		1)); refusalOf(t, got).Reason != "not_websocket" {
		t.Fatalf("%+v", got)
	}
	for from, c := range map[string]struct {
		to     string
		status int
	}{
		"Version: 13": {"Version: 12", 426},
		"HTTP/1.1":    {"HTTP/1.0", 400},
		"Host: x\r\n": {"Host: x\r\nSec-WebSocket-Extensions: \"\r\n", 400},
	} {
		got := exchange(t, addr, strings.Replace(request, from, c.to, 1))
		if got.status != c.status || c.status == 426 &&
			(got.header.Get("Sec-WebSocket-Version") != "13" || got.header.Get("Upgrade") != "websocket") {
			t.Errorf("%s: %+v", c.to, got)
		}
	}
	if got := exchange(t, addr, request); got.status != 101 {
		t.Fatalf("%+v", got)
	}
	// A request that worked may not be sent again, however it is written.
	sig := data[strings.Index(data, `"sig":"`)+7:][:192]
	for _, again := range []string{
		request, upgradeRequest(target(data, "&from=live")),
		upgradeRequest(target(strings.Replace(data, `{`, ` {`, 1), "")),
		upgradeRequest(target(strings.Replace(data, sig, strings.ToUpper(sig), 1), "")),
		upgradeRequest(target(strings.Replace(data, `"sign":{`, `"sign":{"a":1,`, 1), "")),
	} {
		got := exchange(t, addr, again)
		if got.status != 401 || refusalOf(t, got).Reason != "replayed" {
			t.Errorf("%+v", got)
		}
	}
	// Not even after a reload.
	g.Reload(settingsOf("subs"))
	if got := exchange(t, addr, request); got.status != 401 {
		t.Errorf("after a reload: %+v", got)
	}
	// Later it is too old, and is refused for that.
	late := func() time.Time { return time.Now().Add(31 * time.Second) }
	g2 := newGateway(t, "subs", nil)
	g2.now = late
	if got := exchange(t, serve(t, g2), request); refusalOf(t, got).Reason != "timestamp_too_old" {
		t.Errorf("31 s later: %+v", got)
	}
	if got := g.Snapshot().Refused["replayed"]; got != 6 {
		t.Errorf("%d counted", got)
	}
}

func TestTooManyUpgradesOfOneKey(t *testing.T) {
	g := newGateway(t, "subs", nil)
	key := must(shardus.ParsePublicKey(keys["known"].PublicKey))
	for n := range maxRemembered {
		g.used.claim(key, signature{byte(n), byte(n >> 8)}, time.Now().Add(time.Minute), time.Now())
	}
	addr := serve(t, g)
	if got := exchange(t, addr, upgradeRequest(target(signedData("known", time.Now(), ""),
		""))); got.status != 503 || refusalOf(t, got).Reason != "too_many_upgrades" {
		t.Errorf("%+v", got)
	}
	if got := exchange(t, addr, upgradeRequest(target(signedData("second", time.Now(), ""),
		""))); got.status != 101 {
		t.Errorf("another key: %+v", got)
	}
}

func TestFrom(t *testing.T) {
	e := &echo{t: t}
	addr := serve(t, newGateway(t, "open", func(o *Options) { o.Workers = e }))
	data := signedData("known", time.Now(), "")
	other := wsproto.Position{Log: [16]byte{9}, Offset: 150}.String()
	for _, c := range []struct {
		from   string
		status int
		offset uint64 // where it begins, or may go on if it is refused; 0: that is not said
		reason string
	}{
		{"", 101, 200, ""},
		{"&from=", 101, 200, ""},
		{"&from=live", 101, 200, ""},
		{"&from=earliest", 101, 100, ""},
		{"&from=" + token(100), 101, 100, ""},
		{"&from=" + token(150), 101, 150, ""},
		{"&from=" + token(200), 101, 200, ""},
		{"&from=" + token(90), 410, 0, "from_below_floor"},
		{"&from=" + token(0), 410, 0, "from_below_floor"},
		{"&from=" + token(210), 400, 0, "from_beyond_head"},
		{"&from=" + token(1<<64-1), 400, 0, "from_beyond_head"},
		{"&from=" + token(155), 400, 0, "from_inside_frame"},
		{"&from=" + other, 409, 0, "from_other_log"},
		{"&from=" + earlier(1, 100), 101, 100, ""},
		{"&from=" + earlier(1, 150), 101, 150, ""},
		{"&from=" + earlier(1, 151), 409, 150, "from_other_log"},
		{"&from=" + earlier(1, 1<<64-1), 409, 150, "from_other_log"},
		{"&from=" + earlier(1, 145), 400, 0, "from_inside_frame"},
		{"&from=" + earlier(1, 90), 410, 0, "from_below_floor"},
		{"&from=" + earlier(2, 40), 410, 0, "from_below_floor"},
		{"&from=" + earlier(2, 60), 409, 100, "from_other_log"},
		{"&from=Live", 400, 0, "malformed_from"},
		{"&from=150", 400, 0, "malformed_from"},
		{"&from=live&from=live", 400, 0, "malformed_from"},
	} {
		t.Run(c.from, func(t *testing.T) {
			got := exchange(t, addr, upgradeRequest(target(data, c.from)))
			if got.status != c.status {
				t.Fatalf("%+v", got)
			}
			if c.status == 101 {
				if e.last().From != c.offset {
					t.Errorf("from %d", e.last().From)
				}
				return
			}
			from := ""
			if c.offset != 0 {
				from = token(c.offset)
			}
			if r := refusalOf(t, got); r.Reason != c.reason || r.Floor != token(100) ||
				r.Head != token(200) || r.From != from {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Only clients that ask for notices by their name get them.
func TestAskingForNotices(t *testing.T) {
	e := &echo{t: t}
	addr := serve(t, newGateway(t, "open", func(o *Options) { o.Workers = e }))
	data := signedData("known", time.Now(), "")
	for more, want := range map[string]bool{"": false, "&notices=": false, "&notices=gap": true,
		"&from=live&notices=g%61p": true} {
		if got := exchange(t, addr, upgradeRequest(target(data, more))); got.status != 101 ||
			e.last().Notices != want {
			t.Errorf("%q: %d, %v", more, got.status, e.last().Notices)
		}
	}
	for _, more := range []string{"&notices=1", "&notices=Gap", "&notices=gap&notices=gap"} {
		if got := exchange(t, addr, upgradeRequest(target(data, more))); got.status != 400 ||
			refusalOf(t, got).Reason != "malformed_notices" {
			t.Errorf("%q: %+v", more, got)
		}
	}
}

// A client that does not say where to begin continues where it was.
func TestResume(t *testing.T) {
	e := &echo{t: t}
	var known uint64
	addr := serve(t, newGateway(t, "open", func(o *Options) {
		o.Workers = e
		o.Resume = func(key string) (uint64, bool) {
			return known, key == keys["known"].PublicKey &&
				known != 0
		}
	}))
	for _, c := range []struct {
		key    string
		known  uint64
		from   string
		offset uint64
	}{
		{"known", 150, "", 150},
		{"known", 150, "&from=", 150},
		{"known", 150, "&from=live", 200},
		{"known", 150, "&from=earliest", 100},
		{"known", 150, "&from=" + token(120), 120},
		{"known", 200, "", 200},
		{"known", 153, "", 160}, // an offset that was never sent to a client
		{"known", 90, "", 100},  // below the floor: all that there is
		{"known", 210, "", 200}, // cannot be, and must not be a gap later
		{"known", 0, "", 200},
		{"second", 150, "", 200},
	} {
		known = c.known
		got := exchange(t, addr, upgradeRequest(target(signedData(c.key, time.Now(), ""), c.from)))
		if got.status != 101 || e.last().From != c.offset {
			t.Errorf("%+v: %d, from %d", c, got.status, e.last().From)
		}
	}
}

// The floor may move between its check and FrameEnd.
func TestFromWhenTheFloorMoves(t *testing.T) {
	frames := &fakeLog{err: errors.New("below the floor")}
	frames.head.Store(200)
	g := newGateway(t, "open", func(o *Options) { o.Frames = frames })
	if _, _, why := g.start("from="+token(150), ""); why.reason != frameLogFailed ||
		strings.Contains(why.sentence, "below the floor") ||
		!strings.Contains(why.detail, "below the floor") {
		t.Errorf("%+v", why)
	}
	// FrameEnd moves the floor.
	g = newGateway(t, "open", func(o *Options) { o.Frames = movingLog{frames} })
	if _, _, why := g.start("from="+token(150), ""); why.reason != belowFloor ||
		why.floor.Offset != 180 {
		t.Errorf("%+v", why)
	}
}

type movingLog struct{ *fakeLog }

func (l movingLog) FrameEnd(offset uint64) (uint64, error) {
	l.floor.Store(180)
	return l.fakeLog.FrameEnd(offset)
}

func TestNoWorker(t *testing.T) {
	var outcome error
	g := newGateway(t, "open", func(o *Options) {
		o.Workers = connectFunc(func(context.Context, supervisor.Client, int) error { return outcome })
	})
	addr := serve(t, g)
	request := upgradeRequest(target(signedData("known", time.Now(), ""), ""))
	for _, c := range []struct {
		err    error
		reason string
	}{
		{fmt.Errorf("x: %w", supervisor.ErrFull), "full"},
		{supervisor.ErrStopping, "stopping"},
		{supervisor.ErrClosed, "displaced"},
		{supervisor.ErrNoWorker, "hand_off_failed"},
		{context.DeadlineExceeded, "hand_off_failed"},
		{context.Canceled, "client_gone"},
	} {
		outcome = c.err
		// Frames behind the request must not turn the answer into a reset.
		got := exchange(t, addr, request+strings.Repeat("\x81\x85\x00\x00\x00\x00hello", 2000))
		if r := refusalOf(t, got); got.status != 503 || r.Reason != c.reason ||
			g.Snapshot().Refused[c.reason] == 0 {
			t.Errorf("%v: %+v", c.err, got)
		}
	}
	if g.Snapshot().HandedOver != 0 {
		t.Error("counted as handed over")
	}
}

// A client that leaves while a worker is searched for leaves nothing behind: serve checks that no
// descriptor and no goroutine remains.
func TestClientLeavesDuringHandOff(t *testing.T) {
	for _, c := range []struct {
		name  string
		leave func(*net.TCPConn)
	}{
		{"close", func(c *net.TCPConn) { c.Close() }},
		{"reset", func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			there, gone := make(chan struct{}), make(chan struct{})
			e := &echo{t: t}
			g := newGateway(t, "subs", func(o *Options) {
				o.Workers = connectFunc(func(ctx context.Context, c supervisor.Client, fd int) error {
					there <- struct{}{}
					<-gone
					return e.Connect(ctx, c, fd)
				})
			})
			t.Cleanup(e.clients.Wait)
			addr := serve(t, g)
			conn := must(net.Dial("tcp", addr))
			_, _ = conn.Write([]byte(upgradeRequest(target(signedData("known", time.Now(), ""), ""))))
			<-there
			c.leave(conn.(*net.TCPConn))
			close(gone)
			eventually(t, "the hand-off is over", func() bool {
				s := g.Snapshot()
				return s.HandedOver+s.Refused["hand_off_failed"] == 1
			})
		})
	}
}

// Shutdown ends a hand-off that waits, and the client is told.
func TestShutdownDuringHandOff(t *testing.T) {
	there := make(chan struct{})
	g := newGateway(t, "open", func(o *Options) {
		o.Workers = connectFunc(func(ctx context.Context, _ supervisor.Client, _ int) error {
			close(there)
			<-ctx.Done()
			return ctx.Err()
		})
	})
	addr := serve(t, g)
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = conn.Write([]byte(upgradeRequest(target(signedData("known", time.Now(), ""), ""))))
	<-there
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := g.Shutdown(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if got := answerTo(t, conn, "GET"); got.status != 503 || refusalOf(t, got).Reason != "stopping" {
		t.Errorf("%+v", got)
	}
}

// The gateway's close must not affect the worker's duplicate.
func TestCloseWithoutShutdown(t *testing.T) {
	fds := make(chan int, 1)
	g := newGateway(t, "open", func(o *Options) {
		o.Workers = connectFunc(func(_ context.Context, _ supervisor.Client, fd int) error {
			fds <- must(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0))
			return nil
		})
	})
	addr := serve(t, g)
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = conn.Write([]byte(upgradeRequest(target(signedData("known", time.Now(), ""), ""))))
	fd := <-fds
	defer unix.Close(fd)
	eventually(t, "the gateway has let go", func() bool {
		return g.Snapshot().HandedOver == 1 &&
			g.Snapshot().Connections == 0
	})
	if _, err := unix.Write(fd, []byte("still here")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "still here" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	_, _ = conn.Write([]byte("and back"))
	eventually(t, "the worker reads", func() bool {
		n, err := unix.Read(fd, buf)
		return err == nil && string(buf[:n]) == "and back"
	})
}

func TestUpgradeWithABody(t *testing.T) {
	addr := serve(t, newGateway(t, "open", nil))
	request := upgradeRequest(target(signedData("known", time.Now(), ""), ""))
	for _, header := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
		got := exchange(t, addr, strings.Replace(request, "\r\n\r\n",
			"\r\n"+header+"\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1))
		if got.status != 400 || refusalOf(t, got).Reason != "has_body" {
			t.Errorf("%s: %+v", header, got)
		}
	}
}

// A client that leaves while it waits for a worker is removed, and its room is free for others.
func TestClientLeavesWhileItWaitsForAWorker(t *testing.T) {
	var inside atomic.Int64
	g := newGateway(t, "open", func(o *Options) {
		o.Workers = connectFunc(func(ctx context.Context, _ supervisor.Client, _ int) error {
			inside.Add(1)
			<-ctx.Done()
			return ctx.Err()
		})
	})
	g.lookGone = time.Microsecond // so that it has been looked at before it leaves
	addr := serve(t, g)
	conn := from(t, "127.0.0.1", addr)
	_, _ = io.WriteString(conn, upgradeRequest(target(signedData("known", time.Now(), ""), "")))
	eventually(t, "it waits", func() bool { return inside.Load() == 1 })
	if n := g.Snapshot().Connections; n != 1 {
		t.Errorf("%d connections while it waits", n)
	}
	conn.Close()
	eventually(t, "it is dismissed", func() bool {
		s := g.Snapshot()
		return s.Connections == 0 && s.Refused["client_gone"] == 1
	})
}
