package worker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/gobwas/ws"

	"distributor/engine/handoff"
	"distributor/engine/notice"
	"distributor/mmaplog/compressedlog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// logs is a loop without sockets, with the logs that it reads.
type logs struct {
	*loop
	t    testing.TB
	book *notice.Book

	frames     *framelog.Writer
	all        [][]byte // every frame
	ends       []uint64 // ends[i] is the offset of frame i
	small      *framelog.Writer
	smallDir   string
	compressed [][]byte          // the form of frame i in the compressed log; nil: none
	notices    map[uint64]string // by offset
}

func newLogs(t testing.TB) *logs {
	t.Helper()
	dir := t.TempDir()
	w, _, err := framelog.OpenWriter(framelog.Options{
		Dir: dir, SegmentBytes: 1 << 20, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := framelog.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	book, err := notice.Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	// armed is set so that the loop asks for no wake-up.
	l := &loop{frames: reader, log: slog.New(slog.DiscardHandler), armed: true, now: time.Now(),
		settings: handoff.Settings{Notices: dir}}
	t.Cleanup(func() {
		l.close()
		w.Close()
	})
	return &logs{loop: l, t: t, book: book, frames: w, ends: []uint64{0},
		notices: make(map[uint64]string)}
}

// append adds a frame of size bytes. If form is not nil, the frame is added to the compressed log
// too.
func (g *logs) append(size int, form *compressedlog.Kind) {
	g.t.Helper()
	i, from := len(g.all), g.ends[len(g.all)]
	text := fmt.Appendf(nil, "%d:", i)
	for len(text) < size-10 {
		text = append(text, byte('a'+(i+len(text))%26))
	}
	frame := wsproto.AppendTextFrame(nil, text)
	err := g.frames.Append(frame, framelog.Meta{Stream: 1, Cycle: -1, Time: 1})
	err = errors.Join(err, g.frames.Commit())
	g.all, g.ends = append(g.all, frame), append(g.ends, from+uint64(len(frame)))
	var other []byte
	if form != nil {
		other = frame
		if *form == compressedlog.Other {
			other = wsproto.AppendTextFrame(nil, fmt.Appendf(nil, "<%d>%s", i, text[:len(text)/3]))
		}
		if g.small == nil {
			g.small, g.smallDir = byHand(g.t, framelog.Options{})
		}
		span := compressedlog.Span{Start: from, End: g.ends[i+1]}
		err = errors.Join(err, compressedlog.Append(g.small, other, *form, span), g.small.Commit())
	}
	g.compressed = append(g.compressed, other)
	if err != nil {
		g.t.Fatal(err)
	}
}

// notify adds a notice at the head.
func (g *logs) notify(text string) {
	g.t.Helper()
	at := g.ends[len(g.all)]
	if err := g.book.Add(notice.Notice{Offset: at, Text: text}, 0); err != nil {
		g.t.Fatal(err)
	}
	g.frames.Mark()
	g.notices[at] = text
}

// refresh does what a turn does before it sends.
func (g *logs) refresh() {
	g.refreshNotices()
	g.head = g.loop.frames.Head()
	g.refreshCompressed()
}

// follow opens the compressed log, if there is one.
func (g *logs) follow() {
	g.loop.compressed.dir = ""
	if g.small != nil {
		g.followCompressed(g.smallDir)
	}
}

// client returns a client that has got everything before offset.
func (g *logs) client(offset uint64) *client {
	return &client{cursor: offset, from: offset, pinged: offset, acked: offset, state: behind}
}

// offered returns the bytes that s offers to a socket.
func (g *logs) offered(s step) (b []byte) {
	if !s.pings {
		return s.bytes
	}
	g.gathering.message(s.bytes)
	for _, v := range g.gathering.iov {
		b = append(b, unsafe.Slice(v.Base, v.Len)...)
	}
	return b
}

func ping(g *logs, offset uint64) []byte { return g.appendPing(nil, offset) }

var (
	other = kind(compressedlog.Other)
	same  = kind(compressedlog.Same)
)

// is describes a client that differs from a live one with plain frames.
type is []func(*client)

// TestNext checks the next step of a client in each state that matters.
func TestNext(t *testing.T) {
	g := newLogs(t)
	for i, size := range []int{100, 200, 300, 400, 500} {
		g.append(size, [...]*compressedlog.Kind{nil, other, same, other, nil}[i])
	}
	long := len(g.all)
	g.append(3*sliceBytes, nil)
	for range 30 {
		g.append(1000, nil)
	}
	g.follow()
	g.refresh()
	text := bytes.Join(g.all, nil)
	plain := func(from, to uint64) []byte { return text[from:to] }
	compressed := func(from, to int) []byte { return bytes.Join(g.compressed[from:to], nil) }
	notices := func(at ...uint64) func(*client) {
		return func(c *client) {
			g.loop.notices.read, g.loop.notices.marks = true, g.loop.frames.Marks()
			g.loop.notices.list = notice.List{}
			for i, at := range at {
				g.loop.notices.list.Notices = append(g.loop.notices.list.Notices,
					notice.Notice{Offset: at, Text: fmt.Sprint("notice ", i)})
			}
			c.Notices = true
		}
	}
	control := func(d due) func(*client) {
		return func(c *client) {
			c.due, c.pong, c.closeCode, c.why = d, []byte("yes"), 1001, wsproto.Disconnect{Reason: "bye"}
		}
	}
	mid := func(c *client) { c.midFrame = true }
	pinged := func(c *client) { c.pinged = 1 << 40 }
	negotiated := func(c *client) { c.Deflate, g.loop.compressed.stalled = true, false }
	stalled := func(*client) { g.loop.compressed.stalled = true }
	closing := func(c *client) { c.state = closing }
	e, head := g.ends, uint64(len(text))
	for name, c := range map[string]struct {
		cursor  uint64
		is      is
		kind    stepKind
		bytes   []byte
		barrier uint64
	}{
		"all there is":         {head, nil, stepNone, nil, 0},
		"plain, to a boundary": {e[0], nil, stepPlain, plain(0, e[long]), noBarrier},
		"plain, a long frame":  {e[long], nil, stepPlain, plain(e[long], e[long]+sliceBytes), noBarrier},
		"plain, inside a frame": {e[1] + 7, is{mid}, stepPlain,
			plain(e[1]+7, e[long]), noBarrier},
		"what was begun goes first": {e[1], is{negotiated, control(duePing | dueClose),
			func(c *client) { c.pendingOutput = []byte("rest") }}, stepPending, []byte("rest"), 0},

		"ping at a boundary": {e[2], is{control(duePing)}, stepPending, ping(g, e[2]), 0},
		"ping at a boundary that is not known as one": {e[2], is{mid, control(duePing)},
			stepPending, ping(g, e[2]), 0},
		"pong, ping and close in this order": {e[2], is{control(duePong | duePing | dueClose)},
			stepPending, wsproto.AppendClose(append(wsproto.AppendControl(nil, ws.OpPong, []byte("yes")),
				ping(g, e[2])...), 1001, "bye"), 0},
		"ping inside a frame": {e[1] + 7, is{mid, control(duePing)}, stepPlain,
			plain(e[1]+7, e[2]), e[2]},
		"ping far inside a long frame": {e[long] + 9, is{mid, control(duePing)}, stepPlain,
			plain(e[long]+9, e[long]+9+sliceBytes), e[long+1]},
		"closing inside a frame": {e[1] + 7, is{mid, closing, control(dueClose)}, stepPlain,
			plain(e[1]+7, e[2]), e[2]},
		"closing, close frame sent": {e[1], is{closing}, stepNone, nil, 0},

		"notice at the cursor": {e[2], is{notices(e[2])}, stepPending,
			wsproto.AppendTextFrame(nil, []byte("notice 0")), 0},
		"notice before a ping": {e[2], is{notices(e[2]), control(duePing)}, stepPending,
			wsproto.AppendTextFrame(nil, []byte("notice 0")), 0},
		"notice ahead": {e[0], is{notices(e[2])}, stepPlain, plain(0, e[2]), e[2]},
		"notice before it began": {e[2], is{notices(e[1])}, stepPlain,
			plain(e[2], e[long]), head},
		"notice behind a cursor inside a frame": {e[2] + 1, is{mid, notices(e[2]),
			func(c *client) { c.from = e[2] }}, stepPlain, plain(e[2]+1, e[3]), e[3]},
		"notice not for one that did not ask": {e[2], is{notices(e[2]),
			func(c *client) { c.Notices = false }}, stepPlain, plain(e[2], e[long]), noBarrier},
		"notice not for one that closes": {e[2], is{closing, notices(e[2])}, stepNone, nil, 0},

		"before the compressed log": {e[0], is{negotiated}, stepPlain, plain(0, e[long]), noBarrier},
		"compressed":                {e[1], is{negotiated}, stepCompressed, compressed(1, 4), noBarrier},
		"compressed, up to a notice": {e[1], is{negotiated, notices(e[3])},
			stepCompressed, compressed(1, 3), e[3]},
		"inside a frame of the compressed log": {e[1] + 7, is{negotiated, mid}, stepPlain,
			plain(e[1]+7, e[2]), noBarrier},
		"compressed, ping": {e[2], is{negotiated, control(duePing)}, stepPending,
			ping(g, e[2]), 0},
		"waits for the compressed log": {e[4], is{negotiated}, stepNone, nil, 0},
		"ahead of the compressed log":  {e[5], is{negotiated}, stepNone, nil, 0},
		"compressed log stalled": {e[1], is{negotiated, stalled}, stepPlain,
			plain(e[1], e[long]), noBarrier},

		"pings among the data": {e[long+1], is{func(c *client) { c.pinged = c.cursor }},
			stepPlain, pingedEvery(g, long+1), noBarrier},
		"no pings where they were sent": {e[long+1], is{pinged}, stepPlain,
			plain(e[long+1], head), noBarrier},
	} {
		t.Run(name, func(t *testing.T) {
			client := g.client(c.cursor)
			for _, is := range c.is {
				is(client)
			}
			for range 2 { // the answer does not change until advance
				s, err := g.next(client)
				if err != nil {
					t.Fatal(err)
				}
				b := g.offered(s)
				if s.kind != c.kind || !bytes.Equal(b, c.bytes) {
					t.Fatalf("kind %d, %d bytes %.60q; want kind %d, %d bytes %.60q",
						s.kind, len(b), b, c.kind, len(c.bytes), c.bytes)
				}
				if s.kind != stepPending && s.barrier != c.barrier {
					t.Errorf("barrier %d, want %d", s.barrier, c.barrier)
				}
				if client.cursor != c.cursor {
					t.Fatalf("next moves the cursor from %d to %d", c.cursor, client.cursor)
				}
			}
		})
	}
}

// pingedEvery returns the frames from frame i on, with a ping at each boundary that is leastConfirm
// or more after the last one.
func pingedEvery(g *logs, i int) (b []byte) {
	last := g.ends[i]
	for ; i < len(g.all); i++ {
		b = append(b, g.all[i]...)
		if at := g.ends[i+1]; at >= last+leastConfirm && i+1 < len(g.all) {
			b, last = append(b, ping(g, at)...), at
		}
	}
	return b
}

// stream records what a client was sent, in order.
type stream struct {
	t testing.TB
	*logs
	*client
	got   []byte
	pongs [][]byte // that the client must get, in order
	takes func(offered int) int
}

// feed is loop.feed with a socket that takes of each step as many bytes as takes returns. It
// returns when there is no step, or the socket took nothing.
func (s *stream) feed() {
	s.t.Helper()
	for {
		next, err := s.next(s.client)
		if err != nil {
			s.t.Fatal(err)
		}
		if next.kind == stepNone {
			return
		}
		b := s.offered(next)
		n := s.takes(len(b))
		s.got = append(s.got, b[:n]...)
		s.written += uint64(n)
		if _, err := s.advance(s.client, next, n); err != nil {
			s.t.Fatal(err)
		}
		s.checkBoundary()
		if n < len(b) {
			return
		}
	}
}

// checkBoundary checks that midFrame is set if the cursor is inside a frame.
func (s *stream) checkBoundary() {
	s.t.Helper()
	end, err := s.logs.loop.frames.FrameEnd(s.cursor)
	if err != nil {
		s.t.Fatal(err)
	}
	if end != s.cursor && !s.midFrame {
		s.t.Fatalf("the cursor is at %d inside a frame, and midFrame is not set", s.cursor)
	}
}

// check checks the stream from frame first on: frames in order, plain or compressed, with the right
// control frames and notices between them. It returns the number of the frame before which the
// stream ends. before.
func (s *stream) check(first int) (i int) {
	s.t.Helper()
	i = first
	rest, notices, pongs := s.got, 0, 0
	cut := func(frame []byte) bool {
		if len(frame) == 0 || !bytes.HasPrefix(rest, frame) {
			return false
		}
		rest = rest[len(frame):]
		return true
	}
	noticed := make(map[uint64]bool)
	for len(rest) > 0 {
		at := s.ends[i]
		text, due := s.logs.notices[at]
		due = due && s.client.Notices && !noticed[at]
		switch {
		case cut(ping(s.logs, at)):
		case pongs < len(s.pongs) && cut(wsproto.AppendControl(nil, ws.OpPong, s.pongs[pongs])):
			pongs++
		case due && cut(wsproto.AppendTextFrame(nil, []byte(text))):
			noticed[at] = true
			notices++
		case !due && i < len(s.all) && (cut(s.all[i]) || s.Deflate && cut(s.logs.compressed[i])):
			i++
		case s.state == closing && bytes.Equal(rest,
			wsproto.AppendClose(nil, s.closeCode, s.why.Reason)):
			rest = nil
		default:
			s.t.Fatalf("before frame %d, %d bytes before the end: %.60q", i, len(rest), rest)
		}
	}
	wanted := 0
	if s.client.Notices && s.state != closing {
		wanted = len(s.logs.notices)
	}
	if pongs != len(s.pongs) || notices < wanted {
		s.t.Fatalf("%d of %d pongs, %d of %d notices", pongs, len(s.pongs), notices, wanted)
	}
	return i
}

// TestPartialStepsAtEveryByte cuts the stream of a small log at every byte: the socket takes
// everything before it, then nothing, then the rest. to there, then nothing, then the rest.
func TestPartialStepsAtEveryByte(t *testing.T) {
	g := newLogs(t)
	for i, kind := range []*compressedlog.Kind{nil, other, same, other, nil} {
		if i == 2 || i == 4 {
			g.notify(fmt.Sprint("notice ", i))
		}
		g.append(40+10*i, kind)
	}
	g.follow()
	g.refresh()
	for name, is := range map[string]func(*client){
		"plain":      func(*client) {},
		"notices":    func(c *client) { c.Notices = true },
		"compressed": func(c *client) { c.Deflate = true },
		"both":       func(c *client) { c.Deflate, c.Notices = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			for at := 0; ; at++ {
				left, c := at, g.client(0)
				is(c)
				s := &stream{t: t, logs: g, client: c, takes: func(offered int) int {
					n := min(left, offered)
					left -= n
					return n
				}}
				g.loop.compressed.stalled = false
				s.feed()
				whole := left > 0
				if !whole {
					c.due |= duePing | duePong
					c.pong = fmt.Append(nil, "pong ", at)
					s.pongs = append(s.pongs, c.pong)
				}
				s.takes = func(offered int) int { return offered }
				g.loop.compressed.stalled = true // the rest must come from pendingOutput or the frame log
				g.loop.compressed.stalled = true // the rest is not in the compressed log
				s.feed()
				if i := s.check(0); i != len(g.all) {
					t.Fatalf("cut at byte %d: the stream ends before frame %d", at, i)
				}
				if whole {
					return
				}
			}
		})
	}
}

// TestPartialStepsAtRandom lets sockets take random amounts while both logs grow, the compressed
// log appears and disappears, and control frames and notices become due. Each client must get one
// correct stream, with control frames at frame boundaries only. control frames at frame boundaries
// only.
func TestPartialStepsAtRandom(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 12))
		g := newLogs(t)
		size := func() int { return []int{20, 200, 3000, 12_000}[r.IntN(4)] }
		for range r.IntN(5) {
			g.append(size(), nil)
		}
		c := g.client(0)
		c.Deflate = r.IntN(3) > 0
		if r.IntN(2) == 0 {
			c.Notices = true
		}
		s := &stream{t: t, logs: g, client: c, takes: func(offered int) int {
			return []int{offered, r.IntN(offered + 1), min(offered, r.IntN(30))}[r.IntN(3)]
		}}
		kinds := []*compressedlog.Kind{other, other, same}
		for range 60 {
			switch r.IntN(8) {
			case 0:
				g.leaveCompressed()
			case 1:
				if g.loop.compressed.reader == nil {
					g.follow()
				}
			case 2:
				g.notify(fmt.Sprint("notice ", len(g.notices)))
				fallthrough
			case 3, 4, 5:
				g.append(size(), kinds[r.IntN(3)])
			case 6:
				c.due |= duePing
			case 7:
				if c.due&duePong == 0 {
					c.due |= duePong
					c.pong = fmt.Append(nil, "pong ", len(s.pongs))
					s.pongs = append(s.pongs, bytes.Clone(c.pong))
				}
			}
			g.refresh()
			s.feed()
		}
		end := func() {
			s.takes = func(offered int) int { return offered }
			s.feed()
		}
		if r.IntN(3) == 0 {
			c.state, c.closeCode, c.why = closing, 1001, wsproto.Disconnect{Reason: "bye"}
			c.due |= dueClose
			end()
			if s.check(0); len(c.pendingOutput) > 0 || c.due != 0 {
				t.Fatalf("seed %d: no close frame", seed)
			}
			continue
		}
		end()
		g.leaveCompressed()
		end()
		if i := s.check(0); i != len(g.all) || c.cursor != g.loop.frames.Head() {
			t.Fatalf("seed %d: the stream ends before frame %d of %d", seed, i, len(g.all))
		}
	}
}

func kind(k compressedlog.Kind) *compressedlog.Kind { return &k }
