package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/gobwas/ws"
	gnet "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/compressedlog"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// lingeringLoop returns a loop that lingers, with three live clients. later takes a turn after some
// time.
func lingeringLoop(t *testing.T, every time.Duration) (h *manualLoop, later func(time.Duration)) {
	t.Helper()
	h = newManualLoop(t)
	h.lingerFor(every)
	for range 3 {
		h.join(newWire(t).theirs, h.frames.Head())
	}
	later = func(d time.Duration) {
		t.Helper()
		h.now = h.now.Add(d)
		if err := h.turn(); err != nil {
			t.Fatal(err)
		}
	}
	later(0)
	if len(h.live) != 3 {
		t.Fatalf("%d clients are live", len(h.live))
	}
	later(time.Minute)
	return h, later
}

// sends checks how many sends of data there were.
func (h *manualLoop) sends(want uint64, when string) {
	h.t.Helper()
	if h.stats.Sends != want {
		h.t.Fatalf("%s: %d sends, want %d", when, h.stats.Sends, want)
	}
}

var record = []byte("a record")

// A frame after a quiet time is sent at once. Frames that come soon after it wait for each other,
// at most for the interval.
func TestLinger(t *testing.T) {
	const every = 500 * time.Millisecond
	h, later := lingeringLoop(t, every)
	h.append(record)
	later(0)
	h.sends(3, "after a quiet time")
	for range 10 {
		h.append(record)
		later(every / 20)
	}
	h.sends(3, "before the next round")
	if h.head != h.frames.Head() {
		t.Fatalf("the head is at %d, seen at %d", h.frames.Head(), h.head)
	}
	later(every/2 - time.Millisecond)
	h.sends(3, "a moment before the next round")
	later(time.Millisecond)
	h.sends(6, "when it is time: ten frames in one send each")
	for _, c := range h.live {
		if c.cursor != h.frames.Head() {
			t.Errorf("a client has %d of %d bytes", c.cursor, h.frames.Head())
		}
	}
	h.append(record)
	later(every - time.Millisecond)
	h.sends(6, "before the round after that")
	later(time.Hour)
	h.append(record)
	later(0)
	h.sends(9, "late")
	later(every)
	h.append(record)
	later(0)
	h.sends(12, "after a quiet time again")
}

// A full slice does not wait.
func TestLingerSlice(t *testing.T) {
	h, later := lingeringLoop(t, time.Second)
	h.append(record)
	later(0)
	from := h.head
	for h.head-from < sliceBytes-10_000 {
		h.append(make([]byte, 5000))
		later(0)
	}
	h.sends(3, "before a slice is full")
	h.append(make([]byte, 10_000))
	later(0)
	if h.stats.Sends == 3 {
		t.Error("a full slice waits")
	}
}

// Without lingering every frame is sent at once.
func TestLingerOff(t *testing.T) {
	h, later := lingeringLoop(t, 0)
	for i := range 5 {
		h.append(record)
		later(0)
		h.sends(uint64(i+1)*3, "at once")
	}
	if !h.linger.expires.IsZero() {
		t.Error("a timer runs")
	}
}

// Clients that are behind are not delayed. They also get frames for which live clients wait.
func TestLingerReplay(t *testing.T) {
	h, later := lingeringLoop(t, time.Second)
	big := make([]byte, 100_000)
	for range 20 {
		h.append(big)
	}
	later(0)
	for _, c := range h.clients {
		for c.state != live { // a slice at a time, until it has everything
			h.waitWritable(c)
			h.clientEvent(c, unix.EPOLLOUT)
			later(0)
		}
	}
	h.append(record)
	later(0)
	before := h.stats.Sends
	c := h.join(newWire(t).theirs, 0)
	for c.cursor < h.frames.Head() {
		h.waitWritable(c)
		h.clientEvent(c, unix.EPOLLOUT)
		later(0)
	}
	if n := h.stats.Sends - before; n < 8 || c.state != live {
		t.Errorf("%d sends for 2 MB, state %d", n, c.state)
	}
	for _, other := range h.live {
		if other != c && other.cursor == h.head {
			t.Error("a live client got before its time what another replayed")
		}
	}
}

// Clients with compressed frames have rounds of their own, because the compressed log is a little
// behind. A round that sends nothing does not start the interval.
func TestLingerCompressed(t *testing.T) {
	const every = 500 * time.Millisecond
	h, later := lingeringLoop(t, every)
	w, dir := byHand(t, framelog.Options{})
	frame, from := wsproto.AppendTextFrame(nil, record), h.frames.Head()
	compress := func() {
		t.Helper()
		err := compressedlog.Append(w, frame, compressedlog.Same,
			compressedlog.Span{Start: from, End: from + uint64(len(frame))})
		if err := errors.Join(err, w.Commit()); err != nil {
			t.Fatal(err)
		}
		from += uint64(len(frame))
	}
	c := h.join(newWire(t).theirs, h.frames.Head())
	later(0)
	h.place(c, behind) // as after its request
	c.Deflate = true
	later(0)
	h.append(record)
	compress()
	if r, err := compressedlog.Open(dir); err != nil {
		t.Fatal(err)
	} else {
		h.compressed.reader, h.compressed.changed = r, true
	}
	later(0)
	h.sends(4, "all of them after a quiet time")
	later(every)

	h.append(record)
	later(0)
	h.sends(7, "the compressed log does not have it yet")
	compress()
	later(time.Millisecond)
	h.sends(8, "now it has")
	h.compressed.changed = true
	later(time.Millisecond)
	if want := h.linger.waiting.last.Add(every); !h.linger.expires.Equal(want) {
		t.Errorf("the timer is for %v, not %v", h.linger.expires, want)
	}
	h.append(record)
	compress()
	later(every - 3*time.Millisecond)
	h.sends(8, "before the next round")
	if want := h.linger.live.last.Add(every); !h.linger.expires.Equal(want) {
		t.Errorf("the timer is for %v, not %v, which is earlier", h.linger.expires, want)
	}
	later(time.Millisecond)
	h.sends(11, "the round of the others")
	h.append(record)
	compress()
	later(time.Millisecond)
	h.sends(12, "and of this one, with two records")
	if c.cursor != h.frames.Head() {
		t.Errorf("it has %d of %d bytes", c.cursor, h.frames.Head())
	}
}

// A tick neither sends frames that wait, nor pings as if the wait were a quiet time. When
// everything is sent, clients are pinged for their positions soon.
func TestLingerPings(t *testing.T) {
	h, later := lingeringLoop(t, time.Second)
	h.append(record)
	later(0)
	h.append(record)
	later(time.Millisecond)
	for range 3 {
		h.now = h.now.Add(tickEvery)
		h.tick()
	}
	h.sends(3, "after ticks")
	if h.stats.Pings != 0 { // though the last ping was a minute ago
		t.Fatalf("%d pings, which had each a send for themselves", h.stats.Pings)
	}
	h.now = h.now.Add(tickEvery)
	h.tick()
	h.sends(6, "in the tick that was due")
	for _, c := range h.live {
		if c.pinged != h.frames.Head() {
			t.Errorf("a client that has all was asked for %d of %d bytes", c.pinged, h.frames.Head())
		}
	}
	asked := h.stats.Pings
	h.append(record)
	later(0)
	for range 3 {
		h.now = h.now.Add(tickEvery)
		h.tick()
	}
	h.sends(6, "before the next round")
	if h.stats.Pings != asked {
		t.Errorf("%d pings for quiet while something waited", h.stats.Pings-asked)
	}
}

// A new interval makes waiting frames go at once. So does a drain, before clients are disconnected.
func TestLingerEnds(t *testing.T) {
	h, later := lingeringLoop(t, time.Second)
	wait := func() {
		t.Helper()
		h.append(record)
		later(time.Minute)
		h.append(record)
		later(0)
	}
	wait()
	h.sends(3, "before the new setting")
	s := h.settings
	s.LingerMS = 900
	h.loop.armed = false
	if err := h.configure(s); err != nil {
		t.Fatal(err)
	}
	if !h.loop.armed {
		t.Error("nothing is sent before the next tick")
	}
	later(0)
	h.sends(6, "after it")
	wait()
	s.LingerMS = 0
	if err := h.configure(s); err != nil {
		t.Fatal(err)
	}
	later(0)
	h.sends(12, "when it is switched off")

	s.LingerMS = 1000
	if err := h.configure(s); err != nil {
		t.Fatal(err)
	}
	wait()
	h.sends(15, "before the end")
	if err := h.beginDrain(handoff.Drain{Head: h.frames.Head(),
		Disconnect: wsproto.ServerShutdown.Name}); err != nil {
		t.Fatal(err)
	}
	h.sends(18, "at the end, with no time for those behind")
	for _, c := range h.clients {
		if c.cursor != h.frames.Head() || c.state != closing {
			t.Errorf("sent away with %d of %d bytes, state %d", c.cursor, h.frames.Head(), c.state)
		}
	}
}

// A draining worker does not linger.
func TestLingerNotWhileDraining(t *testing.T) {
	h, later := lingeringLoop(t, time.Second)
	h.append(record)
	later(0)
	if err := h.beginDrain(handoff.Drain{Head: h.frames.Head() + 1, WithinMS: 60_000,
		SpreadMS: 60_000, Disconnect: wsproto.ServerShutdown.Name}); err != nil {
		t.Fatal(err)
	}
	h.append(record)
	later(0)
	h.sends(6, "while draining")
}

// The latency is that of the frame that waited longest. Clients that wait for a round are not
// reported as slow.
func TestLingerStats(t *testing.T) {
	h, later := lingeringLoop(t, time.Second)
	h.append(record)
	later(0)
	h.slowestSample = 0
	for _, age := range []time.Duration{30 * time.Second, 0} {
		m := framelog.Meta{Stream: 1, Cycle: -1, Time: time.Now().Add(-age).UnixNano()}
		if err := h.frames.Append(wsproto.AppendTextFrame(nil, record), m); err != nil {
			t.Fatal(err)
		}
	}
	h.append()
	later(0)
	h.report()
	if n := len(h.stats.Slowest); n != 0 || h.stats.MinCursor >= h.head {
		t.Errorf("%d waiting clients are reported as slow, want 0; smallest cursor %d of %d",
			n, h.stats.MinCursor, h.head)
	}
	later(time.Second)
	if h.slowestSample < 30 || h.slowestSample > 3600 {
		t.Errorf("a frame of 30 s was sent, the sample is of %f s", h.slowestSample)
	}
}

// The next round has a timer of its own.
func TestLingerTimer(t *testing.T) {
	h, _ := lingeringLoop(t, 50*time.Millisecond)
	h.now, h.linger.live.last = time.Now(), time.Time{}
	for range 2 {
		h.append(record)
		if err := h.turn(); err != nil {
			t.Fatal(err)
		}
	}
	h.sends(3, "before the timer")
	giveUp := time.Now().Add(2 * time.Minute)
	err := h.poller.Polling(func(fd int, ev netpoll.IOEvent, flags netpoll.IOFlags) error {
		switch {
		case fd == h.linger.timer:
			if err := h.event(fd, ev, flags); err != nil {
				t.Error(err)
			}
			return gnet.ErrEngineShutdown
		case fd != h.timer: // the tick must not be needed
		case time.Now().After(giveUp):
			t.Error("the timer has not come")
			return gnet.ErrEngineShutdown
		default:
			var expired [8]byte
			_, _ = unix.Read(h.timer, expired[:])
		}
		return nil
	})
	if !errors.Is(err, gnet.ErrEngineShutdown) {
		t.Fatal(err)
	}
	h.sends(6, "by the timer")
	if !h.linger.expires.IsZero() || h.linger.live.due {
		t.Errorf("%+v", h.linger)
	}
}

// In a running worker, records that come one by one are sent in rounds.
func TestLingerSharesSends(t *testing.T) {
	const every = 200 * time.Millisecond
	b := start(t, handoff.Settings{LingerMS: every.Milliseconds(), PingIntervalMS: 3_600_000,
		PingTimeoutMS: 7_200_000}, framelog.Options{})
	p := b.connect(0, nil, false)
	b.stats(func(s *handoff.Stats) bool { return s.Clients == 1 })
	began := time.Now()
	const records = 200
	for i := range records {
		b.publish(100)
		if i == 0 {
			p.want(b, 0, 1)
		}
	}
	p.want(b, 1, records)
	took := time.Since(began)
	most := uint64(took/every) + 1 + uint64(took/tickEvery) + 1 // a ping may take along a frame
	s := b.stats(func(s *handoff.Stats) bool { return s.SentBytes == b.frames.Head() })
	if s.Sends > most {
		t.Errorf("%d sends in %v, %d at most were to be", s.Sends, took, most)
	}
	// The last message is a ping with the position.
	for {
		if h, payload := p.frame(); h.OpCode == ws.OpPing {
			if at, err := wsproto.ParsePosition(payload); err != nil || at.Offset != b.frames.Head() {
				t.Errorf("pinged with %+v %v at the head %d", at, err, b.frames.Head())
			}
			return
		}
	}
}
