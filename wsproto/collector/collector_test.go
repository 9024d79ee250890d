package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/collector/firehosetest"
	"distributor/wsproto/shardus"

	"github.com/gobwas/ws"
)

// dial connects to a server that runs serve.
func dial(t testing.TB, log *firehosetest.Log, change func(*Options),
	serve func(*firehosetest.Conn)) *Collector {
	t.Helper()
	o := sampleOptions(t, firehosetest.Start(t, serve))
	o.HashKey = log.HashKey
	if change != nil {
		change(&o)
	}
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestMessages(t *testing.T) {
	log := firehosetest.NewLog(t)
	want := [][2]string{
		{"receipt", `{"a":1}`}, {"cycle", `{"counter":5,"x":"` + strings.Repeat("é", 40_000) + `"}`},
		{"originalTx", `null`}, {"receipt", `"` + strings.Repeat("y", 1<<20) + `"`},
		{"receipt", `{"sign":{"owner":"` + strings.Repeat("0", 64) + `"}}`},
	}
	for _, m := range want {
		log.Add(m[0], m[1])
	}
	// The messages are the same for any division of the bytes.
	for _, piece := range []int{1 << 30, 70_000, 1400} {
		c := dial(t, log, nil, func(s *firehosetest.Conn) {
			for chunk := range slices.Chunk(log.Since(wsproto.Position{}), piece) {
				s.Send(chunk)
			}
			s.Send(wsproto.AppendClose(nil, 1012, "server shutdown"))
			s.WaitForClose()
		})
		for _, w := range want {
			m, err := c.Next(t.Context())
			if err != nil || m.Stream != w[0] || string(m.Record) != w[1] || !m.Verified ||
				m.Received.IsZero() {
				t.Fatalf("in pieces of %d: %.80s, %v", piece, m.Text, err)
			}
			if string(m.Text) != string(log.Signer.AppendMessage(nil, w[0], []byte(w[1]))) {
				t.Errorf("text %.80s", m.Text)
			}
		}
		if owner, ok := c.Owner(); !ok || owner != log.Signer.PublicKey() {
			t.Errorf("owner %v, %v", owner, ok)
		}
		for range 2 { // the error stays
			_, err := c.Next(t.Context())
			var closed *CloseError
			if !errors.As(err, &closed) || closed.Code != 1012 || closed.Reason != "server shutdown" {
				t.Errorf("at the end: %v", err)
			}
		}
	}
}

// Messages that must be refused, each followed by a valid message that must be returned.
func TestForgedMessages(t *testing.T) {
	log, other := firehosetest.NewLog(t), firehosetest.NewLog(t)
	good := bytes.Clone(log.Signer.AppendMessage(nil, "receipt", []byte(`{"a":1}`)))
	changed := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	otherHash := shardus.NewSigner(must(shardus.GenerateKey()), shardus.HashKey{9})
	for name, text := range map[string][]byte{
		"record changed":    changed(`"a":1`, `"a":2`),
		"stream changed":    changed(`receipt`, `cycle`),
		"unknown stream":    log.Signer.AppendMessage(nil, "account", []byte(`1`)),
		"signed by another": other.Signer.AppendMessage(nil, "receipt", []byte(`{"a":1}`)),
		"other hash key":    otherHash.AppendMessage(nil, "receipt", []byte(`{"a":1}`)),
		"owner exchanged": changed(log.Signer.PublicKey().String(),
			other.Signer.PublicKey().String()),
		"owner is no hex":     changed(log.Signer.PublicKey().String(), strings.Repeat("g", 64)),
		"truncated":           good[:len(good)-1],
		"truncated in front":  good[1:],
		"first half":          good[:len(good)/2],
		"one byte more":       append(bytes.Clone(good), ' '),
		"no sign":             []byte(`{"receipt":{"a":1}}`),
		"no JSON":             []byte(strings.Repeat("x", 500)),
		"empty":               {},
		"no record":           changed(`{"a":1}`, ``),
		"sign without a name": changed(`"sign"`, `"sigm"`),
	} {
		for _, pinned := range []bool{false, true} {
			c := dial(t, log, func(o *Options) {
				if pinned {
					o.ExpectOwner = log.Signer.PublicKey()
				}
			}, func(s *firehosetest.Conn) {
				s.Send(wsproto.AppendTextFrame(nil, good), wsproto.AppendTextFrame(nil, text),
					wsproto.AppendTextFrame(nil, good))
				s.WaitForClose()
			})
			var errs []error
			for range 3 {
				_, err := c.Next(t.Context())
				errs = append(errs, err)
			}
			if errs[0] != nil || !errors.Is(errs[1], ErrForged) || errs[2] != nil {
				t.Errorf("%s: %v", name, errs)
			}
			c.Close()
		}
	}
}

func must(_ shardus.PublicKey, k shardus.SecretKey, err error) shardus.SecretKey {
	if err != nil {
		panic(err)
	}
	return k
}

// The key of a forged first message must not become the expected key.
func TestForgedFirstMessageIsNotLearned(t *testing.T) {
	log, other := firehosetest.NewLog(t), firehosetest.NewLog(t)
	good := log.Signer.AppendMessage(nil, "receipt", []byte(`{"a":1}`))
	forged := bytes.Replace(good, []byte(log.Signer.PublicKey().String()),
		[]byte(other.Signer.PublicKey().String()), 1)
	c := dial(t, log, nil, func(s *firehosetest.Conn) {
		s.Send(wsproto.AppendTextFrame(nil, forged), wsproto.AppendTextFrame(nil, good))
		s.WaitForClose()
	})
	if _, err := c.Next(t.Context()); !errors.Is(err, ErrForged) {
		t.Error(err)
	}
	if _, ok := c.Owner(); ok {
		t.Error("learned the forger's key")
	}
	if _, err := c.Next(t.Context()); err != nil {
		t.Error(err)
	}
}

// With VerifyEvery the key and the form of every message are still checked.
func TestVerifyEvery(t *testing.T) {
	log, other := firehosetest.NewLog(t), firehosetest.NewLog(t)
	const n = 10
	c := dial(t, log, func(o *Options) { o.VerifyEvery = 4; o.ExpectOwner = log.Signer.PublicKey() },
		func(s *firehosetest.Conn) {
			for i := range n {
				s.Send(log.Add("receipt", fmt.Sprint(i)))
			}
			s.Send(other.Add("receipt", "1"), wsproto.AppendTextFrame(nil, []byte("x")))
			s.WaitForClose()
		})
	verified := ""
	for range n {
		m, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.Verified {
			verified += string(m.Record)
		}
	}
	if verified != "048" {
		t.Errorf("verified: %s", verified)
	}
	for range 2 {
		if _, err := c.Next(t.Context()); !errors.Is(err, ErrForged) {
			t.Error(err)
		}
	}
}

func TestPingsAndPositions(t *testing.T) {
	log := firehosetest.NewLog(t)
	pongs := make(chan string, 10)
	before := log.End()
	first, second := bytes.Clone(log.Add("receipt", "1")), bytes.Clone(log.Add("receipt", "2"))
	end := log.End()
	third := bytes.Clone(log.Add("cycle", "3"))
	c := dial(t, log, nil, func(s *firehosetest.Conn) {
		s.Send(first, firehosetest.Ping(wsproto.Position{Log: log.ID, Offset: uint64(len(first))}),
			second)
		s.Send(wsproto.AppendControl(nil, ws.OpPing, []byte("keep-alive")), firehosetest.Ping(end),
			wsproto.AppendControl(nil, ws.OpPong, nil), third)
		for range 3 {
			if op, payload, ok := s.Receive(); ok && op == ws.OpPong {
				pongs <- string(payload)
			}
		}
		s.WaitForClose()
	})
	if p, ok := c.Position(); ok {
		t.Errorf("position %s before anything came", p)
	}
	for i, want := range []wsproto.Position{{}, end, log.End()} {
		if _, err := c.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p, ok := c.Position(); ok != (i > 0) || (ok && p != want) {
			t.Errorf("after message %d: %s, %v", i, p, ok)
		}
	}
	for _, want := range []string{before.String()[:33] + fmt.Sprint(len(first)), "keep-alive",
		end.String()} {
		if got := <-pongs; got != want {
			t.Errorf("pong %q, want %q", got, want)
		}
	}
}

// If Pending returns true, Next must not wait.
func TestPending(t *testing.T) {
	short, medium, long := strings.Repeat("x", 100), strings.Repeat("x", 200),
		strings.Repeat("x", 70_000)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  bool
	}{
		{"nothing", nil, false},
		{"half a header", []byte{0x81}, false},
		{"short", wsproto.AppendTextFrame(nil, []byte(short)), true},
		{"medium", wsproto.AppendTextFrame(nil, []byte(medium)), true},
		{"long", wsproto.AppendTextFrame(nil, []byte(long)), true},
		{"one and more", wsproto.AppendTextFrame(wsproto.AppendTextFrame(nil, []byte(short)),
			[]byte(long))[:150], true},
		{"ping first", wsproto.AppendTextFrame(wsproto.AppendControl(nil, ws.OpPing, nil),
			[]byte(short)), false},
	} {
		in := input{buf: c.bytes, end: len(c.bytes)}
		if got := in.hasText(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if in.end--; c.want && c.name != "one and more" && in.hasText() {
			t.Errorf("%s: promised although a byte is missing", c.name)
		}
	}
}

func TestGaps(t *testing.T) {
	log := firehosetest.NewLog(t)
	first, second := bytes.Clone(log.Add("receipt", "1")), bytes.Clone(log.Add("receipt", "2"))
	at := func(offset int) wsproto.Position {
		return wsproto.Position{Log: log.ID,
			Offset: uint64(offset)}
	}
	earlier := func(offset int) wsproto.Position {
		return wsproto.Position{Log: [16]byte{1}, Offset: uint64(offset)}
	}
	n := len(first)
	for _, c := range []struct {
		name   string
		from   wsproto.From
		frames [][]byte
		gap    bool
	}{
		{"complete", wsproto.From{}, [][]byte{firehosetest.Ping(at(0)), first, second,
			firehosetest.Ping(at(2 * n))}, false},
		{"begins anywhere", wsproto.From{}, [][]byte{second, firehosetest.Ping(at(2 * n))}, false},
		{"from a position", wsproto.From{Start: wsproto.At, Position: at(n)},
			[][]byte{second, firehosetest.Ping(at(2 * n))}, false},
		{"one lost", wsproto.From{}, [][]byte{firehosetest.Ping(at(0)), second,
			firehosetest.Ping(at(2 * n))}, true},
		{"one twice", wsproto.From{}, [][]byte{firehosetest.Ping(at(0)), first, first,
			firehosetest.Ping(at(n))}, true},
		{"backwards", wsproto.From{}, [][]byte{firehosetest.Ping(at(n)), firehosetest.Ping(at(0))}, true},
		{"lost after the position asked for", wsproto.From{Start: wsproto.At, Position: at(0)},
			[][]byte{second, firehosetest.Ping(at(2 * n))}, true},
		{
			"from a position of an earlier log", wsproto.From{Start: wsproto.At, Position: earlier(n)},
			[][]byte{second, firehosetest.Ping(at(2 * n))}, false,
		},
		{
			"lost after a position of an earlier log", wsproto.From{Start: wsproto.At, Position: earlier(0)},
			[][]byte{second, firehosetest.Ping(at(2 * n))}, true,
		},
		{"another log", wsproto.From{}, [][]byte{firehosetest.Ping(at(0)),
			firehosetest.Ping(wsproto.Position{})}, true},
	} {
		collector := dial(t, log, func(o *Options) { o.From = c.from }, func(s *firehosetest.Conn) {
			if s.Parameter("from") != c.from.String() {
				t.Errorf("%s: asked for %q", c.name, s.Parameter("from"))
			}
			s.Send(c.frames...)
			s.Send(wsproto.AppendClose(nil, 1000, ""))
			s.WaitForClose()
		})
		gaps := 0
		for {
			_, err := collector.Next(t.Context())
			var gap *GapError
			var closed *CloseError
			if errors.As(err, &gap) {
				gaps++
			} else if errors.As(err, &closed) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		if (gaps == 1) != c.gap || gaps > 1 {
			t.Errorf("%s: %d gaps", c.name, gaps)
		}
	}
}

func TestServerBreaksTheProtocol(t *testing.T) {
	log := firehosetest.NewLog(t)
	for name, frames := range map[string][]byte{
		"masked":                  ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("x")))),
		"binary":                  ws.MustCompileFrame(ws.NewBinaryFrame([]byte("x"))),
		"compressed":              {0xc1, 0x01, 'x'},
		"reserved operation":      {0x83, 0x00},
		"continuation of nothing": {0x80, 0x00},
		"text inside a message":   {0x01, 0x01, 'x', 0x81, 0x01, 'x'},
		"long ping":               {0x89, 126, 0, 126},
		"fragmented ping":         {0x09, 0},
		"too big":                 {0x81, 127, 0, 0, 0, 0, 0, 0, 0x04, 0x01},
		"far too big":             {0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255},
		"too big in parts": slices.Concat([]byte{0x01, 126, 0x03, 0xff}, make([]byte, 1023),
			[]byte{0x80, 2, 'x', 'y'}),
	} {
		answer := make(chan []byte, 1)
		c := dial(t, log, func(o *Options) { o.MaxMessage = 1024 }, func(s *firehosetest.Conn) {
			s.Send(frames)
			payload, _ := s.WaitForClose()
			answer <- payload
		})
		for range 2 {
			if _, err := c.Next(t.Context()); !errors.Is(err, ErrProtocol) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := <-answer; string(got) != "\x03\xea" {
			t.Errorf("%s: closed with %q", name, got)
		}
	}
}

func TestMessageInSeveralFrames(t *testing.T) {
	log := firehosetest.NewLog(t)
	text := log.Signer.AppendMessage(nil, "receipt", []byte(`{"a":1}`))
	first := append([]byte{0x01, 100}, text[:100]...)
	last := append([]byte{0x80, 126, 0, byte(len(text) - 100)}, text[100:]...)
	c := dial(t, log, nil, func(s *firehosetest.Conn) {
		s.Send(first, wsproto.AppendControl(nil, ws.OpPing, nil), last)
		s.WaitForClose()
	})
	if m, err := c.Next(t.Context()); err != nil || !bytes.Equal(m.Text, text) {
		t.Errorf("%s, %v", m.Text, err)
	}
}

// The end of a context ends the wait, not the connection, also in the middle of a message.
func TestContextEndsTheWaiting(t *testing.T) {
	log := firehosetest.NewLog(t)
	frame := bytes.Clone(log.Add("receipt", `{"a":1}`))
	goOn := make(chan bool)
	c := dial(t, log, nil, func(s *firehosetest.Conn) {
		s.Send(frame, frame[:100])
		<-goOn
		s.Send(frame[100:])
		s.WaitForClose()
	})
	if _, err := c.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for range 2 {
		if _, err := c.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := c.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(goOn)
	if m, err := c.Next(t.Context()); err != nil || string(m.Record) != `{"a":1}` {
		t.Errorf("%s, %v", m.Text, err)
	}
}

func TestConnectionLost(t *testing.T) {
	log := firehosetest.NewLog(t)
	frame := bytes.Clone(log.Add("receipt", `{"a":1}`))
	for _, cut := range []int{0, 1, 3, 100, len(frame)} {
		c := dial(t, log, nil, func(s *firehosetest.Conn) { s.Send(frame[:cut]) })
		if cut == len(frame) {
			if _, err := c.Next(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for range 2 {
			if _, err := c.Next(t.Context()); !errors.Is(err, ErrLost) || !errors.Is(err, io.EOF) {
				t.Errorf("cut after %d: %v", cut, err)
			}
		}
	}
}

func TestCloseHandshake(t *testing.T) {
	log := firehosetest.NewLog(t)
	frame := bytes.Clone(log.Add("receipt", `{"a":1}`))
	got := make(chan string, 1)
	c := dial(t, log, nil, func(s *firehosetest.Conn) {
		s.Send(bytes.Repeat(frame, 100)) // still being sent when the client leaves
		payload, _ := s.WaitForClose()
		got <- string(payload)
		s.Send(wsproto.AppendClose(nil, 1000, ""))
		if _, _, ok := s.Receive(); ok {
			t.Error("something after the close frame")
		}
	})
	if _, err := c.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	if code := <-got; code != "\x03\xe8" {
		t.Errorf("close frame %q", code)
	}
	if _, err := c.Next(t.Context()); !errors.Is(err, ErrLost) || !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestServerCloses(t *testing.T) {
	log := firehosetest.NewLog(t)
	for _, c := range []struct {
		frame  []byte
		want   CloseError
		answer string
	}{
		{wsproto.AppendClose(nil, wsproto.NoStatus, ""), CloseError{Code: wsproto.NoStatus}, ""},
		{wsproto.AppendClose(nil, 1000, ""), CloseError{Code: 1000}, "\x03\xe8"},
		{wsproto.AppendClose(nil, 1013, "too slow"), CloseError{1013, "too slow"}, "\x03\xf5"},
	} {
		answer := make(chan string, 1)
		collector := dial(t, log, nil, func(s *firehosetest.Conn) {
			s.Send(c.frame)
			payload, _ := s.WaitForClose()
			answer <- string(payload)
		})
		_, err := collector.Next(t.Context())
		var closed *CloseError
		if !errors.As(err, &closed) || *closed != c.want {
			t.Errorf("%v, want %v", err, c.want)
		}
		if got := <-answer; got != c.answer {
			t.Errorf("answer to %v: %q", c.want, got)
		}
	}
}

func FuzzInput(f *testing.F) {
	f.Add([]byte("\x81\x02hi\x89\x00\x01\x01a\x80\x01b"), uint8(3))
	f.Add([]byte("\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01x\x88\x02\x03\xe8"), uint8(1))
	f.Add([]byte("\x41\x02hi\xc0\x01b\xc1\x01x"), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		for _, deflate := range []bool{false, true} {
			whole, one := frames(stream, len(stream), deflate), frames(stream, int(piece), deflate)
			if !slices.Equal(whole, one) {
				t.Errorf("whole: %q\nin pieces of %d: %q", whole, piece, one)
			}
		}
	})
}

// frames reads a server's bytes, which arrive in pieces, to their end.
func frames(stream []byte, piece int, deflate bool) (list []string) {
	in := input{conn: &pieces{left: stream, size: max(piece, 1)}, maxPayload: 1000, deflate: deflate}
	for {
		f, err := in.next(context.Background())
		if err != nil {
			return append(list, err.Error())
		}
		list = append(list, fmt.Sprint(f))
	}
}

// pieces is the reading half of a connection.
type pieces struct {
	net.Conn
	left []byte
	size int
}

func (p *pieces) SetReadDeadline(time.Time) error { return nil }
func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.size, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}

// endless repeats its bytes for ever.
type endless struct {
	net.Conn
	bytes []byte
	at    int
}

func (e *endless) SetReadDeadline(time.Time) error { return nil }
func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.bytes[e.at:])
	e.at = (e.at + n) % len(e.bytes)
	return n, nil
}

// BenchmarkNext: messages of 4.3 KB, all verified, and only one in a thousand.
func BenchmarkNext(b *testing.B) {
	log := firehosetest.NewLog(b)
	for range 50 {
		log.Add("receipt", `"`+strings.Repeat("x", 4000)+`"`)
	}
	for _, every := range []int{1, 1000} {
		b.Run(fmt.Sprintf("verify-1-of-%d", every), func(b *testing.B) {
			conn := &endless{bytes: log.Since(wsproto.Position{})}
			c := &Collector{options: Options{VerifyEvery: every, HashKey: log.HashKey,
				MaxMessage: 1 << 20}, conn: conn}
			c.in = input{conn: conn, maxPayload: 1 << 20}
			c.pin(log.Signer.PublicKey())
			b.SetBytes(int64(len(conn.bytes) / 50))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Next(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A server that has broken the protocol, and is still sending, gets the close frame, and no reset.
func TestClosesBehindInput(t *testing.T) {
	log := firehosetest.NewLog(t)
	type end struct {
		sent, told bool
		code       []byte
	}
	ended := make(chan end, 1)
	c := dial(t, log, nil, func(s *firehosetest.Conn) {
		var e end
		e.sent = s.Send([]byte{0xff, 0x00}, make([]byte, 16<<20)) // reserved bits
		e.code, e.told = s.WaitForClose()
		ended <- e
	})
	if _, err := c.Next(t.Context()); !errors.Is(err, ErrProtocol) {
		t.Fatal(err)
	}
	if e := <-ended; !e.sent || !e.told || !bytes.Equal(e.code, []byte{0x03, 0xea}) {
		t.Errorf("the server has sent all: %v, was told: %v %x", e.sent, e.told, e.code)
	}
}
