package worker

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/engine/deflate"
	"distributor/engine/handoff"
	"distributor/mmaplog/bell"
	"distributor/mmaplog/compressedlog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

func init() { compressedPatience = time.Minute }

// announce sends the worker the directory of a compressed log, as the primary does.
func (b *bench) announce(dir string) {
	s := b.settings
	s.CompressedLog = dir
	if err := b.primary.Send(handoff.Message{Settings: &s}, time.Minute); err != nil {
		b.t.Error(err)
	}
}

// zipper is a real compressor for a bench. It makes a compressed log while SetClients says that
// there are clients.
type zipper struct {
	*deflate.Compressor
	t       testing.TB
	grown   *bell.Set // rung when the frame log has grown
	readers *bell.Set
	reader  *bell.Bell // stands for the bench's worker, which is woken separately
}

// SetClients makes the worker a reader of the compressed log while n is not 0.
func (z *zipper) SetClients(n int) { z.readers.Fill(slices.Repeat([]*bell.Bell{z.reader}, n)) }

// Wake wakes the compressor when the frame log has grown.
func (z *zipper) Wake() { z.grown.Ring() }

func (b *bench) compress(o deflate.Options) *zipper {
	b.t.Helper()
	o.Dir, o.Frames, o.Log = filepath.Join(b.t.TempDir(), "compressed"), b.settings.FrameLog,
		slog.New(slog.DiscardHandler)
	o.Announce, o.Blocked = b.announce, func() error { return nil }
	z := &zipper{t: b.t, grown: bell.NewSet(), readers: bell.NewSet()}
	o.Grown, o.Readers = z.grown.Listen(), z.readers
	reader, theirs, err := bell.New()
	if err != nil {
		b.t.Fatal(err)
	}
	_ = theirs.Close()
	z.reader = reader
	if o.Level == 0 {
		o.Level = 1
	}
	if o.Backlog == 0 {
		o.Backlog = 1 << 30
	}
	if z.Compressor, err = deflate.New(o); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { z.Run(ctx) })
	rung := z.readers.Listen()
	running.Go(func() {
		for {
			select {
			case <-rung:
				b.ring()
			case <-ctx.Done():
				return
			}
		}
	})
	b.t.Cleanup(func() { cancel(); running.Wait(); reader.Close() })
	b.grown = z.Wake
	return z
}

// waitAlive waits until a compressed log exists, or until none does.
func (z *zipper) waitAlive(alive bool) {
	z.t.Helper()
	until(z.t, func() bool { return z.Stats().Alive == alive })
}

// begin publishes a frame and waits until it is in the compressed log, because the start of a
// compressed log is known only then.
func (z *zipper) begin(b *bench, payload []byte) {
	z.t.Helper()
	before := z.Stats().Frames
	b.publishText(payload)
	until(z.t, func() bool { return z.Stats().Frames > before })
}

// reaches publishes frames until p gets one compressed: then the worker uses the compressed log. p
// must have read everything. It returns the number of the next frame.
func (z *zipper) reaches(b *bench, p *peer, payload []byte) int {
	z.t.Helper()
	z.waitAlive(true)
	for end := time.Now().Add(time.Minute); ; {
		n := len(b.all)
		z.begin(b, payload)
		if p.count(b, n, n+1) == 1 {
			return n + 1
		}
		if time.Now().After(end) {
			z.t.Fatal("the compressed log is not used")
		}
	}
}

func until(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the condition does not become true")
		}
	}
}

// text returns a payload of about n bytes, of which compressing leaves about half, as of records.
func text(r *rand.Rand, n int) []byte {
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, `{"accountId":"%016x%016x"},`, r.Uint64(), r.Uint64())
	}
	return b
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// inflated returns the text of a compressed message, without any message before it.
func inflated(payload []byte) ([]byte, error) {
	return io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload),
		strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
}

// next reads up to the next message, and tells whether it was compressed. It answers pings, and
// checks their positions.
func (p *peer) next(b *bench, i int) (compressed bool, err error) {
	for {
		h, payload, err := p.tryFrame()
		if err != nil {
			return false, fmt.Errorf("frame %d: %w", i, err)
		}
		switch {
		case h.OpCode == ws.OpPing && h.Rsv == 0:
			pos, err := wsproto.ParsePosition(payload)
			if err != nil || pos.Offset != b.offset(i) {
				return false, fmt.Errorf("a ping before frame %d, which is at %d, says %q", i, b.offset(i),
					payload)
			}
			if _, err := p.Write(masked(ws.OpPong, payload)); err != nil {
				return false, err
			}
			continue
		case h.OpCode == ws.OpPong && h.Rsv == 0:
			continue
		case h.OpCode != ws.OpText || !h.Fin || h.Masked || h.Rsv&^4 != 0:
			return false, fmt.Errorf("frame %d: %+v %.100q", i, h, payload)
		}
		if h.Rsv == 4 {
			if payload, err = inflated(payload); err != nil {
				return false, fmt.Errorf("frame %d: %w", i, err)
			}
		}
		if frame := b.frame(i); !bytes.HasSuffix(frame, payload) ||
			len(wsproto.AppendTextHeader(nil, len(payload)))+len(payload) != len(frame) {
			return false, fmt.Errorf("frame %d of client %d differs", i, p.id)
		}
		return h.Rsv == 4, nil
	}
}

// count reads the frames from…to-1, in either form, and returns how many were compressed.
func (p *peer) count(b *bench, from, to int) (compressed int) {
	p.t.Helper()
	for i := from; i < to; i++ {
		small, err := p.next(b, i)
		if err != nil {
			p.t.Fatal(err)
		}
		if small {
			compressed++
		}
	}
	return compressed
}

// offset returns the offset of frame i; frame returns its bytes.
func (b *bench) offset(i int) (at uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.all[:i] {
		at += uint64(len(f))
	}
	return at
}

func (b *bench) frame(i int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all[i]
}

// When there is a compressed log, clients with compression get every message compressed, and the
// other clients of the same worker none. The texts are the same.
func TestCompressedAndPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	b := start(t, handoff.Settings{}, framelog.Options{})
	z := b.compress(deflate.Options{})
	b.appendText(text(r, 3000), text(r, 1000))
	plain, first := b.connect(0, nil, false), b.join(handoff.Client{Negotiated: deflated}, false)
	z.SetClients(1)
	if n := first.count(b, 0, 2); n != 0 {
		t.Errorf("%d frames from before the compressed log are compressed", n)
	}
	n := z.reaches(b, first, text(r, 500))
	second := b.join(handoff.Client{From: b.frames.Head(), Negotiated: deflated}, false)
	for i := range 40 {
		b.publishText(text(r, 100+200*i), []byte("too short"))
	}
	if small := first.count(b, n, n+80); small != 40 {
		t.Errorf("%d of 40 frames are compressed", small)
	}
	if small := second.count(b, n, n+80); small != 40 {
		t.Errorf("%d of 40 frames are compressed", small)
	}
	if small := plain.count(b, 0, n+80); small != 0 {
		t.Errorf("%d frames are compressed for a client without compression", small)
	}
	s := b.next(func(m handoff.Message) bool {
		return m.Stats != nil && m.Stats.CompressedBytes > 0 && m.Stats.MinCursor == b.frames.Head()
	}).Stats
	if want := b.offset(n - 1); s.Deflate != 2 || s.PlainBytes != want ||
		s.SentBytes < s.CompressedBytes+s.PlainBytes {
		t.Errorf("%+v; %d bytes were plain", s, want)
	}
	b.publishText(text(r, 900_000)) // longer than a slice even when compressed
	if small := first.count(b, n+80, n+81) + second.count(b, n+80, n+81); small != 2 {
		t.Errorf("%d of 2 long frames are compressed", small)
	}
	// A client that reconnects continues in the compressed log.
	back := b.join(handoff.Client{From: b.offset(n + 40), Negotiated: deflated}, false)
	if small := back.count(b, n+40, n+80); small != 20 {
		t.Errorf("%d of 20 frames are compressed", small)
	}
}

// The compressed log may appear and disappear at any time.
func TestCompressedLogComesAndGoes(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	b := start(t, handoff.Settings{}, framelog.Options{})
	z := b.compress(deflate.Options{})
	p := b.join(handoff.Client{Negotiated: deflated}, false)
	z.SetClients(1)
	for round := range 3 {
		n := z.reaches(b, p, text(r, 500))
		for range 10 {
			b.publishText(text(r, 2000))
		}
		if small := p.count(b, n, n+10); small != 10 {
			t.Errorf("round %d: %d of 10 frames are compressed with a compressed log", round, small)
		}
		z.SetLevel(0)
		z.waitAlive(false)
		for range 10 {
			b.publishText(text(r, 2000))
		}
		if small := p.count(b, n+10, n+20); small != 0 {
			t.Errorf("round %d: %d of 10 frames are compressed without a compressed log", round, small)
		}
		z.SetLevel(1 + round)
	}
}

// If the floor of the compressed log passes a client that does not read, the client continues with
// plain frames, from any place in a frame, and later with compressed frames again.
func TestSlowerThanTheCompressedLog(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	b := start(t, handoff.Settings{}, framelog.Options{SegmentBytes: 8 << 20, RetainBytes: 256 << 20})
	z := b.compress(deflate.Options{SegmentBytes: 256 << 10, RetainBytes: 512 << 10})
	z.SetClients(1)
	z.waitAlive(true)
	z.begin(b, text(r, 100))
	var slow []*peer
	for range 4 {
		slow = append(slow, b.join(handoff.Client{Negotiated: deflated}, true))
	}
	sizes := []int{40_000, 400_000, 3000, 300_000}
	for i := range 32 {
		b.publishText(text(r, sizes[i%4]), noise(r, sizes[i/2%4]))
		if i == 12 { // each has stopped at another place
			b.next(func(m handoff.Message) bool { return m.Stats != nil && m.Stats.Blocked == len(slow) })
		}
	}
	until(t, func() bool { return z.Stats().Frames == 65 })
	for _, p := range slow {
		if n := p.count(b, 0, 65); n == 0 || n > 31 {
			t.Errorf("%d frames are compressed: the floor has not passed this client", n)
		}
	}
	b.publishText(text(r, 2000))
	for _, p := range slow {
		if n := p.count(b, 65, 66); n != 1 {
			t.Error("a client that has caught up does not go back to the compressed log")
		}
	}
}

// Clients of both kinds read, send and leave at random, while the compressed log appears and
// disappears and its floor moves. Each gets every message, with only valid control frames between
// them.
func TestRandomClientsAndCompressedLogs(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 4))
	b := start(t, handoff.Settings{PingIntervalMS: 50, PingTimeoutMS: 60000},
		framelog.Options{SegmentBytes: 1 << 20, RetainBytes: 512 << 20})
	z := b.compress(deflate.Options{SegmentBytes: 128 << 10, RetainBytes: 512 << 10})
	z.SetClients(1)
	z.waitAlive(true)
	z.begin(b, text(r, 100)) // frame 0
	const records, clients = 250, 16
	join := make(map[int]int)
	for range clients {
		join[r.IntN(records)]++
	}
	failures := make(chan error, clients)
	for i := 1; i <= records; i++ {
		for range join[i-1] {
			options := handoff.Negotiated{Deflate: r.IntN(4) > 0}
			p := b.join(handoff.Client{From: b.frames.Head(), Negotiated: options}, r.IntN(2) == 0)
			mine := rand.New(rand.NewPCG(r.Uint64(), 5))
			go func() { failures <- p.wander(b, mine, i, records+1) }()
		}
		switch size := r.IntN(10_000); r.IntN(12) {
		case 0:
			b.appendText(text(r, 60*size))
		case 1:
			b.appendText(noise(r, 40*size))
		default:
			b.appendText(text(r, size))
		}
		if r.IntN(3) > 0 {
			b.ring()
			z.Wake()
		}
		if r.IntN(40) == 0 {
			z.SetLevel(r.IntN(3) * 3)
		}
	}
	z.SetLevel(1)
	b.ring()
	for range clients {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}

func (p *peer) wander(b *bench, r *rand.Rand, from, to int) error {
	for i := from; i < to; i++ {
		if r.IntN(30) == 0 {
			time.Sleep(time.Duration(r.IntN(8)) * time.Millisecond)
		}
		if r.IntN(10) == 0 {
			if _, err := p.Write(masked(ws.OpPing, []byte("x"))); err != nil {
				return err
			}
		}
		b.await(i)
		if _, err := p.next(b, i); err != nil {
			return err
		}
	}
	_, err := p.Write(masked(ws.OpClose, nil))
	return err
}

// await waits until frame i exists.
func (b *bench) await(i int) {
	for {
		b.mu.Lock()
		known := i < len(b.all)
		b.mu.Unlock()
		if known {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A client may mark its frames as compressed if compression was negotiated. They are discarded
// without inflating.
func TestCompressedInput(t *testing.T) {
	b := start(t, handoff.Settings{}, framelog.Options{})
	data := masked(ws.OpText, []byte("\xff no DEFLATE data"))
	data[0] |= 0x40
	more := masked(ws.OpContinuation, []byte("x"))
	more[0] |= 0x40
	ping := masked(ws.OpPing, nil)
	ping[0] |= 0x40
	for _, c := range []struct {
		name    string
		deflate bool
		bytes   []byte
		good    bool
	}{
		{"data", true, data, true},
		{"data, not negotiated", false, data, false},
		{"a continuation", true, append(append([]byte{0x01}, masked(ws.OpText, []byte("y"))[1:]...), more...), false},
		{"a ping", true, ping, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := handoff.Negotiated{Deflate: c.deflate}
			p := b.join(handoff.Client{From: b.frames.Head(), Negotiated: options}, false)
			if _, err := p.Write(c.bytes); err != nil {
				t.Fatal(err)
			}
			p.send(ws.OpClose, ws.NewCloseFrameBody(4000, ""))
			if !c.good {
				p.wantClose(wsproto.ProtocolError.Code)
				p.Close()
				b.closed(p.id, wsproto.ProtocolError)
				return
			}
			p.wantClose(4000)
			if closed := b.closed(p.id, wsproto.ClientClosed); closed.Messages != 1 {
				t.Fatalf("%+v", closed)
			}
		})
	}
}

// byHand returns a compressed log that grows only when the test appends to it.
func byHand(t testing.TB, o framelog.Options) (*framelog.Writer, string) {
	t.Helper()
	o.Dir, o.Transient, o.Log = filepath.Join(t.TempDir(), "compressed"), true,
		slog.New(slog.DiscardHandler)
	w, _, err := framelog.OpenWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, o.Dir
}

func (b *bench) appendCompressed(w *framelog.Writer, i int) {
	b.t.Helper()
	d, err := wsproto.NewDeflater(1)
	if err != nil {
		b.t.Fatal(err)
	}
	frame, err := d.Frame(b.all[i])
	if err == nil {
		err = compressedlog.Append(w, frame, compressedlog.Other,
			compressedlog.Span{Start: b.offset(i), End: b.offset(i + 1)})
	}
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// Clients wait for a compressed log that does not grow, for compressedPatience.
func TestCompressedLogThatDoesNotGrow(t *testing.T) {
	h := newManualLoop(t)
	w, dir := byHand(t, framelog.Options{})
	deflater, err := wsproto.NewDeflater(1)
	if err != nil {
		t.Fatal(err)
	}
	var missing []compressedlog.Span // of the compressed log
	publish := func() {
		start := h.frames.Head()
		h.append(make([]byte, 1000))
		missing = append(missing, compressedlog.Span{Start: start, End: h.frames.Head()})
	}
	grow := func() {
		frame, err := deflater.Frame(wsproto.AppendTextFrame(nil, make([]byte, 1000)))
		for _, span := range missing {
			err = errors.Join(err, compressedlog.Append(w, frame, compressedlog.Other, span))
		}
		if err := errors.Join(err, w.Commit()); err != nil {
			t.Fatal(err)
		}
		missing = nil
	}
	c := h.join(newWire(t).theirs, 0)
	c.Deflate = true
	after := func(pause time.Duration, compressed, plain bool) {
		t.Helper()
		before := h.stats
		h.now = h.now.Add(pause)
		if err := h.turn(); err != nil {
			t.Fatal(err)
		}
		if h.stats.CompressedBytes > before.CompressedBytes != compressed {
			t.Errorf("compressed: %t", !compressed)
		}
		if h.stats.PlainBytes > before.PlainBytes != plain {
			t.Errorf("plain: %t", !plain)
		}
	}
	publish()
	grow()
	h.followCompressed(dir)
	after(0, true, false)
	publish()
	after(compressedPatience-1, false, false) // clients wait
	after(1, false, true)                     // and no longer
	publish()
	after(0, false, true) // the stall is known
	publish()
	grow()
	after(0, true, false) // the compressed log has everything again
}

// The rest of a compressed frame that is longer than a slice is sent in the same turn, if the
// socket takes it, because no later event would send it.
func TestLongCompressedFrame(t *testing.T) {
	h := newManualLoop(t)
	w, dir := byHand(t, framelog.Options{})
	c := h.join(newWire(t).theirs, h.frames.Head())
	atOnce := 0
	for i := range 50 {
		from := h.frames.Head()
		h.append(make([]byte, 3*sliceBytes))
		frame := wsproto.AppendTextFrame(nil, make([]byte, sliceBytes+sliceBytes/4))
		err := compressedlog.Append(w, frame, compressedlog.Other,
			compressedlog.Span{Start: from, End: h.frames.Head()})
		if err := errors.Join(err, w.Commit()); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if h.compressed.reader, err = compressedlog.Open(dir); err != nil {
				t.Fatal(err)
			}
			c.Deflate = true
		}
		h.now = h.now.Add(time.Millisecond)
		before := h.stats.SentBytes
		if err := h.turn(); err != nil {
			t.Fatal(err)
		}
		if len(c.pendingOutput) > 0 && !c.sendBlocked {
			t.Fatalf("frame %d: %d bytes are left, though the socket was not full", i, len(c.pendingOutput))
		}
		if sent := h.stats.SentBytes - before; !c.sendBlocked && sent == uint64(len(frame)) {
			atOnce++
		}
		for c.sendBlocked {
			h.waitWritable(c)
			h.clientEvent(c, unix.EPOLLOUT)
		}
	}
	if atOnce == 0 {
		t.Error("no frame went in one turn: the socket was always full")
	}
}

// If files of a compressed log are cut or overwritten, clients still get every message.
func TestDamagedCompressedLog(t *testing.T) {
	for _, ext := range []string{".frames", ".index"} {
		t.Run(ext, func(t *testing.T) {
			b := start(t, handoff.Settings{}, framelog.Options{})
			w, dir := byHand(t, framelog.Options{})
			b.append(1000)
			b.appendCompressed(w, 0)
			b.announce(dir)
			p := b.join(handoff.Client{Negotiated: deflated}, false)
			if n := p.count(b, 0, 1); n != 1 {
				t.Fatal("not compressed")
			}
			p.Close()
			b.closed(p.id, wsproto.ClientGone)
			b.append(2000, 3000)
			b.appendCompressed(w, 1)
			b.appendCompressed(w, 2)
			if err := os.Truncate(filepath.Join(dir, fmt.Sprintf("%016x%s", 0, ext)), 0); err != nil {
				t.Fatal(err)
			}
			q := b.join(handoff.Client{From: b.offset(1), Negotiated: deflated}, false)
			if n := q.count(b, 1, 3); n != 0 {
				t.Fatalf("%d frames come from an empty file", n)
			}
			b.publish(100)
			q.count(b, 3, 4)
		})
	}
}

// Only damage to the compressed log is logged as an error. If its floor has passed a client since
// the last turn, that client continues with plain frames. If its directory is gone it has ended,
// and the primary's message about that is on its way.
func TestCompressedLogIsGivenUp(t *testing.T) {
	const size = 9000
	for name, c := range map[string]struct {
		happen func(t *testing.T, grow func(frames int), dir string)
		log    string // level of the line; "": none
		stays  bool   // the compressed log stays in use
	}{
		"overtaken": {func(_ *testing.T, grow func(int), _ string) { grow(34) }, "", true},
		"ended": {func(t *testing.T, _ func(int), dir string) {
			if err := os.Rename(dir, dir+"-ended"); err != nil {
				t.Fatal(err)
			}
		}, "INFO", false},
		"damaged": {func(t *testing.T, _ func(int), dir string) {
			segments, err := filepath.Glob(filepath.Join(dir, "*.frames"))
			if err == nil {
				err = os.Remove(segments[1])
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "ERROR", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newManualLoop(t)
			var lines bytes.Buffer
			h.log = slog.New(slog.NewTextHandler(&lines, nil))
			w, dir := byHand(t, framelog.Options{SegmentBytes: 64 << 10, RetainBytes: 400_000})
			grow := func(frames int) {
				t.Helper()
				for range frames {
					from := h.frames.Head()
					h.append(make([]byte, 2*size))
					frame := wsproto.AppendTextFrame(nil, make([]byte, size))
					span := compressedlog.Span{Start: from, End: h.frames.Head()}
					err := compressedlog.Append(w, frame, compressedlog.Other, span)
					if err := errors.Join(err, w.Commit()); err != nil {
						t.Fatal(err)
					}
				}
			}
			turn := func() {
				t.Helper()
				if err := h.turn(); err != nil {
					t.Fatal(err)
				}
			}
			join := func(from uint64) *client {
				c := h.join(newWire(t).theirs, from)
				c.Deflate = true
				return c
			}
			grow(10)
			early := h.frames.Head() // in a segment that is not mapped yet
			grow(20)
			late := h.frames.Head()
			grow(2)
			h.followCompressed(dir)
			client := join(late)
			turn()
			if client.cursor != h.frames.Head() || h.stats.PlainBytes > 0 {
				t.Fatalf("at %d of %d, %d plain", client.cursor, h.frames.Head(), h.stats.PlainBytes)
			}
			grow(9)
			h.refreshCompressed()
			end := h.frames.Head()
			c.happen(t, grow, dir)
			if !c.stays {
				client = join(early)
			}
			for client.cursor < end && !client.sendBlocked {
				h.serve(client)
			}
			if client.state == closing || h.stats.PlainBytes == 0 {
				t.Errorf("state %d, %d plain bytes", client.state, h.stats.PlainBytes)
			}
			if stays := h.compressed.reader != nil; stays != c.stays {
				t.Errorf("the compressed log stays in use: %v", stays)
			}
			if log := lines.String(); c.log == "" && log != "" || !strings.Contains(log, c.log) {
				t.Errorf("the log says %q, want %q", log, c.log)
			}
		})
	}
}
