package worker

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"

	"distributor/engine/deflate"
	"distributor/engine/handoff"
	"distributor/engine/notice"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// notify adds a notice at the head, as the encoder does.
func (b *bench) notify(book *notice.Book, text string) {
	b.t.Helper()
	if err := book.Add(notice.Notice{Offset: b.frames.Head(), Text: text},
		b.frames.Floor()); err != nil {
		b.t.Error(err)
	}
	b.frames.Mark()
}

func newBook(t *testing.T, dir string) *notice.Book {
	t.Helper()
	book, err := notice.Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	return book
}

func (p *peer) wantNotice(text string) {
	p.t.Helper()
	if got := p.data(); string(got) != text {
		p.t.Fatalf("%.60q, want the notice %q", got, text)
	}
}

// Clients that asked for notices get a notice after everything that was committed before it and
// before everything after it, for any start of their streams. The others get frames only.
func TestNoticesInTheirPlace(t *testing.T) {
	dir := t.TempDir()
	b := start(t, handoff.Settings{Notices: dir, PingIntervalMS: 100, PingTimeoutMS: 60000},
		framelog.Options{})
	book := newBook(t, dir)
	b.publish(10, 200, 70000)
	other := b.connect(0, nil, false)
	b.notices = true
	live := b.connect(b.frames.Head(), nil, false)
	behind := b.connect(0, nil, false)
	behind.want(b, 0, 3)
	first := b.frames.Head()
	b.notify(book, `{"notice":1}`)
	b.ring()
	live.wantNotice(`{"notice":1}`) // though no frame was committed
	behind.wantNotice(`{"notice":1}`)
	b.append(100, 300000)
	b.notify(book, `{"notice":2}`)
	b.notify(book, `{"notice":3}`)
	b.publish(5)
	for _, p := range []*peer{live, behind, b.connect(first, nil, false)} {
		if p.id > behind.id {
			p.wantNotice(`{"notice":1}`) // its stream begins at the notice
		}
		p.want(b, 3, 5)
		p.wantNotice(`{"notice":2}`)
		p.wantNotice(`{"notice":3}`)
		p.want(b, 5, 6)
	}
	past := b.connect(first+uint64(len(b.all[3])), nil, false)
	past.want(b, 4, 5)
	past.wantNotice(`{"notice":2}`)
	past.wantNotice(`{"notice":3}`)
	past.want(b, 5, 6)
	other.want(b, 0, 6)
	b.publish(7)
	for _, p := range []*peer{live, past, other} {
		p.want(b, 6, 7)
		for { // notices do not count in positions
			h, payload := p.frame()
			if at, err := wsproto.ParsePosition(payload); h.OpCode != ws.OpPing || err != nil {
				t.Fatalf("%+v %q", h, payload)
			} else if at.Offset == b.frames.Head() {
				break
			}
		}
	}
}

// A frame that is committed after a notice is never sent before it, for any timing, also to clients
// whose sockets are often full.
func TestNoticesUnderLoad(t *testing.T) {
	dir := t.TempDir()
	b := start(t, handoff.Settings{Notices: dir},
		framelog.Options{SegmentBytes: 1 << 20, RetainBytes: 256 << 20})
	book := newBook(t, dir)
	random := rand.New(rand.NewPCG(6, 6))
	const rounds = 60
	peers := []*peer{b.connect(0, nil, false)}
	b.notices = true
	for i := range 4 {
		peers = append(peers, b.connect(0, nil, i%2 == 0))
	}
	z := b.compress(deflate.Options{})
	z.SetClients(1)
	z.waitAlive(true)
	for i := range 4 {
		peers = append(peers, b.join(handoff.Client{Negotiated: deflatedWithNotices}, i%2 == 0))
	}
	var compressed atomic.Int64
	var wg sync.WaitGroup
	var want []string
	for i := range rounds {
		want = append(want, fmt.Sprintf(`{"notice":%d}`, i), fmt.Sprint(3*i), fmt.Sprint(3*i+1), fmt.Sprint(3*i+2))
	}
	for i, p := range peers {
		wg.Go(func() {
			var got []string
			for len(got) < len(want) && (i > 0 || len(got) < 3*rounds) {
				h, payload, err := p.tryFrame()
				if err != nil {
					t.Errorf("client %d after %d: %v", i, len(got), err)
					return
				}
				if h.Rsv == 4 {
					compressed.Add(1)
					if payload, err = inflated(payload); err != nil {
						t.Errorf("client %d after %d: %v", i, len(got), err)
						return
					}
				}
				if h.OpCode == ws.OpText {
					word, _, _ := strings.Cut(string(payload), " ")
					got = append(got, word)
				}
			}
			for k, w := range want {
				if i == 0 && k%4 == 0 {
					continue // this client did not ask
				}
				if got[0] != w {
					t.Errorf("client %d: %q instead of %q", i, got[0], w)
					return
				}
				got = got[1:]
			}
		})
	}
	for i := range rounds {
		b.notify(book, fmt.Sprintf(`{"notice":%d}`, i))
		for k := range 3 {
			text := append(fmt.Appendf(nil, "%d ", 3*i+k), noise(random, 50_000)...)
			clear(text[25_000:]) // so that compressing halves it
			if err := b.frames.Append(wsproto.AppendTextFrame(nil, text),
				framelog.Meta{Stream: 1, Cycle: -1, Time: 1}); err != nil {
				t.Fatal(err)
			}
			if err := b.frames.Commit(); err != nil {
				t.Fatal(err)
			}
			b.ring()
			z.Wake()
		}
	}
	wg.Wait()
	if compressed.Load() == 0 {
		t.Error("nothing was compressed")
	}
}

// A client with compressed frames gets a notice in its place, even if the compressed log already
// has the frames after it.
func TestNoticesAmongCompressed(t *testing.T) {
	dir := t.TempDir()
	b := start(t, handoff.Settings{Notices: dir}, framelog.Options{})
	book := newBook(t, dir)
	w, logs := byHand(t, framelog.Options{})
	b.announce(logs)
	add := func(n int) {
		t.Helper()
		for range n {
			b.append(2000)
			b.appendCompressed(w, len(b.all)-1)
		}
	}
	add(4)
	b.notify(book, `{"notice":1}`)
	add(3)
	b.notify(book, `{"notice":2}`)
	b.notify(book, `{"notice":3}`)
	p := b.join(handoff.Client{Negotiated: deflatedWithNotices}, false)
	late := b.join(handoff.Client{From: b.offset(5), Negotiated: deflatedWithNotices}, false)
	other := b.join(handoff.Client{Negotiated: deflated}, false)
	if n := p.count(b, 0, 4); n != 4 {
		t.Errorf("%d of 4 frames are compressed", n)
	}
	p.wantNotice(`{"notice":1}`)
	if n := p.count(b, 4, 7) + late.count(b, 5, 7); n != 5 {
		t.Errorf("%d of 5 frames are compressed", n)
	}
	for _, p := range []*peer{p, late} {
		p.wantNotice(`{"notice":2}`)
		p.wantNotice(`{"notice":3}`)
	}
	b.notify(book, `{"notice":4}`)
	b.ring()
	for _, p := range []*peer{p, late} {
		p.wantNotice(`{"notice":4}`) // though no frame was committed
	}
	add(1)
	b.ring()
	for _, p := range []*peer{p, late} {
		p.count(b, 7, 8)
	}
	if n := other.count(b, 0, 8); n == 0 {
		t.Error("a client without notices gets nothing compressed")
	}
}

// When a socket becomes writable, its client is served without a turn of the loop, from the frame
// log as it is then. Here too no frame is sent before the notice that precedes it.
func TestNoticesToBlockedClients(t *testing.T) {
	dir := t.TempDir()
	b := start(t, handoff.Settings{Notices: dir}, framelog.Options{})
	book := newBook(t, dir)
	b.notices = true
	const frames, clients = 20, 8
	for range frames {
		b.append(50_000)
	}
	var peers []*peer
	from := uint64(0)
	for i := range clients { // each has 50 kB less to get
		peers = append(peers, b.connect(from, nil, true))
		from += uint64(len(b.all[i]))
	}
	b.next(func(m handoff.Message) bool { return m.Stats != nil && m.Stats.Blocked == clients })
	b.notify(book, `{"notice":1}`)
	b.append(1000) // no wake-up
	for i, p := range peers {
		p.want(b, i, frames)
		p.wantNotice(`{"notice":1}`)
		p.want(b, frames, frames+1)
	}
}

// A notices file that cannot be read delays notices, and nothing else.
func TestNoticesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	b := start(t, handoff.Settings{Notices: dir}, framelog.Options{})
	b.notices = true
	if err := os.WriteFile(dir+"/notices.json", []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := b.connect(0, nil, false)
	b.publish(10)
	p.want(b, 0, 1)
	b.notify(newBookOver(t, dir), `{"notice":1}`)
	p.wantNotice(`{"notice":1}`)
	b.publish(10)
	p.want(b, 1, 2)
}

// newBookOver opens a book where the file is damaged.
func newBookOver(t *testing.T, dir string) *notice.Book {
	book, err := notice.Open(dir, 0)
	if err == nil {
		t.Fatal("a damaged file is accepted")
	}
	return book
}
