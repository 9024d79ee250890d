package enginetest

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gobwas/ws"

	"distributor/engine/simulator"
	"distributor/wsproto"
	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

// Witness is a collector of a trial: it comes back as its habit is, whenever it
// was cut, and keeps all that it saw for the verdict.
type Witness struct {
	name  string
	part  Part
	trial *Trial
	key   shardus.SecretKey

	mu       sync.Mutex // guards what follows
	changed  *sync.Cond // any of it
	present  bool       // wants to be connected
	held     bool       // does not read
	hurried  bool       // reads as fast as it can, though it is thin
	mute     bool       // answers no ping
	asked    *visit     // the last attempt
	moved    []move     // what refusals said of where positions are now
	quota    int        // messages of a visit after which it reads no more; 0: no limit
	tardy    bool       // does not answer pings, but keeps the last one's payload:
	owes     []byte
	over     bool     // the trial is
	doubles  int      // how often it has connected beside itself
	doubling bool     // it is about to: the connection that goes for it is not made again
	visits   []*visit // in the order in which they were let in
	vain     []*visit // attempts without an answer: they may have been let in
	now      *visit   // the last of them, while it is open
	next     *visit   // one that double has made, and nobody reads yet
	fault    error    // what it saw that must not be, as far as one can tell at once

	has   [len(simulator.Streams)]int // how many records of each stream there are up to the newest it got
	got   int                         // messages
	fresh int                         // messages of this visit since its last ping
	came  int                         // messages of this visit
	end   *wsproto.Position           // behind the last message; nil: not known
	pings *wsproto.Position           // in the last ping
}

// item is a record that came: number n of its stream.
type item struct {
	stream uint8
	n      int32
}

// move is a refusal that told where to go on.
type move struct {
	asked *visit
	to    wsproto.Position
}

// sighting is a position that a ping has told, after so many messages of its visit.
type sighting struct {
	after int
	at    wsproto.Position
}

// visit is one connection, from the 101 to its end.
type visit struct {
	conn    net.Conn
	in      *bufio.Reader
	writing sync.Mutex
	deflate bool          // permessage-deflate was negotiated
	closed  chan struct{} // when it has ended

	// As of its beginning.
	from       wsproto.From
	life       int                         // of the distributor
	cuts       int64                       // of the trial, before it was dialled
	doubles    int                         // of the witness, likewise
	impatience int64                       // of the trial, likewise
	after      int                         // how many visits there were before
	reached    uint64                      // the chronicle's offset before it was dialled
	begun      [len(simulator.Streams)]int // records in the book when the 101 had come
	unsure     bool                        // the distributor was restarted meanwhile: nobody knows by which life it was let in

	// Of the witness's goroutine, until it has ended.
	expect [len(simulator.Streams)]int // record that must come next; -1: none has come
	items  []item
	sizes  []int // of the frames
	pings  []sighting
	sure   int // pings that the primary surely has the answer to

	told []uint64 // offsets of pongs that were about to be sent; guarded by Witness.mu
	// confirmed is the offset of the last pong that was sent, guarded by Witness.mu. A reset may come
	// between told and the send.
	confirmed uint64

	reset   bool               // by us: nothing more is read; guarded by Witness.mu
	late    []byte             // of the ping that is answered when the next one comes
	short   bool               // cut by us after its quota, with more to come; guarded by Witness.mu
	early   bool               // the ping behind the request was answered; guarded by Witness.mu
	leaving bool               // by us, guarded by Witness.mu
	owed    wsproto.Disconnect // how the server has to end it, if it is set; guarded by Witness.mu
	cause   time.Time          // when we gave the server cause to close it, if we did; guarded by Witness.mu
	close   *collector.CloseError
	echo    bool // we have sent our close frame
}

// eager is the payload of the ping that goes out with an upgrade request.
const eager = "early"

// closeWait is how long a server that closes waits for its peer to take that (engine/worker). On a
// busy machine a witness may not read for so long, and then it sees no close frame.
const closeWait = 2 * time.Second

// gaveUp tells whether the server may have ended the connection before we read its close frame.
// Called with Witness.mu held.
func (v *visit) gaveUp() bool {
	return v.close == nil && !v.cause.IsZero() && time.Since(v.cause) >= closeWait
}

// departure is how a witness leaves: a close code, 0 for none, or reset.
type departure int

const reset departure = -1

// A slow witness reads slowRead bytes at a time, out of a receive buffer of
// slowBuffer, and then pauses.
const (
	slowRead   = 32 << 10
	slowPause  = time.Millisecond
	slowBuffer = 64 << 10
)

func newWitness(t *Trial, name string, part Part) *Witness {
	w := &Witness{name: name, part: part, trial: t, key: newKey(t.t), present: true}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// run is its life, until the trial is over.
func (w *Witness) run() {
	for {
		w.mu.Lock()
		for w.doubling || !w.present && !w.over && w.next == nil {
			w.changed.Wait()
		}
		v := w.next
		w.next = nil
		over := w.over
		w.mu.Unlock()
		if over && v == nil {
			return
		}
		if v == nil {
			var err error
			if v, err = w.dial(); err != nil {
				if !w.refused(err) {
					return
				}
				time.Sleep(redial / 4) // nothing tells a collector when it would be let in
				continue
			}
		}
		err := w.read(v)
		_ = v.conn.Close()
		w.left(v, err)
	}
}

// where tells from where it asks to go on.
func (w *Witness) where() wsproto.From {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.part.Habit == Live:
		return wsproto.From{Start: wsproto.Live}
	case w.part.Habit == Tracks && w.end != nil:
		return wsproto.From{Start: wsproto.At, Position: *w.end}
	case w.part.Habit == Pinged && w.pings != nil:
		return wsproto.From{Start: wsproto.At, Position: *w.pings}
	case w.part.Earliest && len(w.visits) == 0:
		return wsproto.From{Start: wsproto.Earliest}
	}
	return wsproto.From{}
}

// dial connects. On success there is a new visit.
func (w *Witness) dial() (*visit, error) {
	v := &visit{from: w.where(), closed: make(chan struct{}), expect: [len(simulator.Streams)]int{-1, -1, -1}}
	v.impatience = w.trial.impatience.Load()
	v.life, v.cuts, v.reached = int(w.trial.life.Load()), w.trial.cuts.Load(), w.trial.reached()
	w.mu.Lock()
	v.doubles = w.doubles
	w.mu.Unlock()
	o := PeerOptions{Key: w.key, From: v.from.String(), Compress: w.part.Compress}
	buffer := 0
	if w.part.Slow {
		buffer = slowBuffer
	}
	var behind []byte
	if w.part.Eager {
		behind = ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame([]byte(eager))))
	}
	conn, in, deflate, err := handshake(w.trial.d.URL, o, buffer, behind)
	w.mu.Lock()
	defer w.mu.Unlock()
	v.conn, v.in, v.deflate, v.begun = conn, in, deflate, w.trial.book.Counts()
	v.after, v.unsure = len(w.visits), v.life != int(w.trial.life.Load())
	w.asked = v
	if err != nil {
		var no *collector.RefusedError
		if !errors.As(err, &no) && !errors.Is(err, syscall.ECONNREFUSED) {
			w.vain = append(w.vain, v)
		}
		return nil, err
	}
	if v.unsure || w.over {
		_ = conn.Close()
	}
	if v.from.Start == wsproto.At {
		w.end = &v.from.Position
	} else {
		w.end = nil
	}
	w.visits, w.now, w.fresh, w.came, w.owes = append(w.visits, v), v, 0, 0, nil
	w.changed.Broadcast()
	return v, nil
}

// refused tells whether to try again. What a refusal may be for depends on what
// has happened.
func (w *Witness) refused(err error) bool {
	var no *collector.RefusedError
	if !errors.As(err, &no) || no.Status == http.StatusServiceUnavailable {
		return true // not there, or just going
	}
	var answer struct{ Reason, From string }
	_ = json.Unmarshal([]byte(no.Reason), &answer)
	w.mu.Lock()
	defer w.mu.Unlock()
	if no.Status == http.StatusGone && answer.Reason == "from_below_floor" && w.trial.plan.Retain > 0 && w != w.trial.chronicle {
		w.end, w.pings = nil, nil // and goes on as an unmodified one
		w.trial.tally.gone.Add(1)
		return true
	}
	if no.Status == http.StatusConflict && answer.Reason == "from_other_log" && answer.From != "" && w.trial.plan.Power {
		to, err := wsproto.ParsePosition([]byte(answer.From))
		if err == nil {
			w.moved = append(w.moved, move{w.asked, to})
			w.end, w.pings = &to, &to
			return true
		}
	}
	w.accuse(fmt.Errorf("refused: %w", err))
	return false
}

// accuse notes the first fault. Called with mu held.
func (w *Witness) accuse(err error) {
	if w.fault == nil {
		w.fault = fmt.Errorf("witness %s, connection %d: %w", w.name, len(w.visits), err)
	}
	w.changed.Broadcast()
}

// left judges the end of a visit, by what has happened since it was dialled.
func (w *Witness) left(v *visit, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer close(v.closed)
	if w.now == v {
		w.now = nil
	}
	w.changed.Broadcast()
	var wrong *faultError
	cut, retain := w.trial.cutSince(v.cuts), w.trial.plan.Retain > 0
	impatient := w.trial.impatience.Load() > v.impatience || v.impatience%2 == 1
	switch {
	case errors.As(err, &wrong):
		w.accuse(err)
	case v.owed != (wsproto.Disconnect{}) && v.close != nil && v.close.Code == v.owed.Code:
	case v.leaving || w.over || v.unsure || cut && v.close == nil:
	case v.close == nil && (retain || impatient) || v.gaveUp(): // there was no room for a close frame
	case v.close == nil:
		w.accuse(fmt.Errorf("the connection was lost, and nothing had happened: %w", err))
	case v.close.Code == wsproto.ServerShutdown.Code && v.close.Reason == wsproto.ServerShutdown.Reason && cut:
	case (v.close.Code == wsproto.PingTimeout.Code && v.close.Reason == wsproto.PingTimeout.Reason ||
		v.close.Code == wsproto.TooSlow.Code && v.close.Reason == wsproto.TooSlow.Reason) && impatient:
	case v.close.Code == wsproto.DuplicateConnection.Code && w.doubles > v.doubles:
	case v.close.Code == wsproto.BehindFloor.Code && v.close.Reason == wsproto.BehindFloor.Reason && retain:
	default:
		w.accuse(fmt.Errorf("closed for no reason: %w", v.close))
	}
}

// faultError is what must not come over a connection.
type faultError struct{ error }

func faultf(format string, args ...any) error { return &faultError{fmt.Errorf(format, args...)} }

// read takes what comes, until the end.
func (w *Witness) read(v *visit) error {
	var buf []byte
	for paused := 0; ; {
		w.mu.Lock()
		for (w.held || w.now == v && w.quota > 0 && w.came >= w.quota) && !w.over {
			w.changed.Wait()
		}
		gone := v.reset
		w.mu.Unlock()
		if gone { // what its buffer has was not heard
			return net.ErrClosed
		}
		for w.full(v) {
			time.Sleep(slowPause)
		}
		h, err := ws.ReadHeader(v.in)
		if err != nil {
			return err
		}
		compressed := v.deflate && h.OpCode == ws.OpText && h.Rsv == ws.Rsv(true, false, false)
		if !h.Fin || h.Rsv != 0 && !compressed || h.Masked || h.Length > 1<<20 {
			return faultf("a frame with the header %+v", h)
		}
		if cap(buf) < int(h.Length) {
			buf = make([]byte, h.Length)
		}
		payload := buf[:h.Length]
		if _, err := io.ReadFull(v.in, payload); err != nil {
			return err
		}
		switch h.OpCode {
		case ws.OpText:
			text := payload
			if compressed {
				w.trial.tally.compressed.Add(1)
				text, err = inflate(payload)
			}
			if err == nil {
				err = w.take(v, text)
			}
		case ws.OpPing:
			err = w.pinged(v, payload)
		case ws.OpPong:
			err = w.answered(v, payload)
		case ws.OpClose:
			return w.closed(v, payload)
		default:
			err = faultf("a frame with operation %d", h.OpCode)
		}
		if err != nil {
			return err
		}
		if paused += len(payload); w.part.Slow && paused >= slowRead {
			paused = 0
			time.Sleep(slowPause) // that is what slow means
		}
	}
}

// full tells whether a thin witness has so much that it takes no more just now.
func (w *Witness) full(v *visit) bool {
	if !w.part.Thin {
		return false
	}
	half := w.trial.chronicled() / 2
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.hurried && !w.over && !v.leaving && w.now == v && w.got > half
}

// inflate reads a compressed message, which needs none before it (RFC 7692 §7.2.2).
func inflate(payload []byte) ([]byte, error) {
	text, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	if err != nil {
		return nil, faultf("a compressed message: %v", err)
	}
	return text, nil
}

// messageStream tells of which stream a message is; -1: of none.
func messageStream(text []byte) int {
	for i, s := range simulator.Streams {
		if strings.HasPrefix(string(text[:min(len(text), 20)]), `{"`+s+`":`) {
			return i
		}
	}
	return -1
}

// take judges what can be judged at once: it must be a message of the book, and
// the next of its stream in this visit.
func (w *Witness) take(v *visit, text []byte) error {
	stream := messageStream(text)
	if stream < 0 {
		return faultf("no message: %.60q", text)
	}
	n := w.trial.book.Find(stream, text, v.expect[stream])
	switch {
	case n < 0:
		return faultf("%s: a message that is not due: %.120q", simulator.Streams[stream], text)
	case v.expect[stream] >= 0 && n != v.expect[stream]:
		return faultf("%s: record %d, where %d was due", simulator.Streams[stream], n, v.expect[stream])
	}
	v.expect[stream] = n + 1
	v.items = append(v.items, item{uint8(stream), int32(n)})
	v.sizes = append(v.sizes, len(wsproto.AppendTextHeader(nil, len(text)))+len(text))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.has[stream] = max(w.has[stream], n+1)
	w.got++
	if w.now != v { // it has connected beside itself, and counts from where that began
		w.changed.Broadcast()
		return nil
	}
	w.fresh++
	w.came++
	if w.end != nil {
		w.end = &wsproto.Position{Log: w.end.Log, Offset: w.end.Offset + uint64(v.sizes[len(v.sizes)-1])}
	}
	w.changed.Broadcast()
	return nil
}

// Our own pings are "1" or "2", and the number of the server's ping that they
// follow. The answer to the second says that the primary has been told of our
// pong: the worker has come round to its own wake-up since the first.
func (w *Witness) pinged(v *visit, payload []byte) error {
	p, err := wsproto.ParsePosition(payload)
	if err != nil {
		return faultf("a ping that says %q", payload)
	}
	v.pings = append(v.pings, sighting{len(v.items), p})
	w.mu.Lock()
	if w.now == v {
		w.end, w.pings, w.fresh = &p, &p, 0
	}
	silent := w.tardy || w.mute || w.part.Answers == "never"
	if w.tardy {
		w.owes = bytes.Clone(payload)
	}
	answer := payload
	if w.part.Answers == "late" {
		v.late, answer = bytes.Clone(payload), v.late
		silent = silent || answer == nil
	}
	if !silent {
		told, _ := wsproto.ParsePosition(answer)
		v.told = append(v.told, told.Offset)
	}
	w.changed.Broadcast()
	w.mu.Unlock()
	if silent {
		return nil
	}
	if v.send(ws.OpPong, answer) == nil {
		w.set(func() { v.confirmed = v.told[len(v.told)-1] })
	}
	if w.part.Asks {
		v.send(ws.OpPing, fmt.Appendf(nil, "1 %d", len(v.pings)))
	}
	return nil
}

func (w *Witness) answered(v *visit, payload []byte) error {
	var round, n int
	switch string(payload) {
	case "":
		return nil // we have talked
	case eager:
		w.set(func() { v.early = true })
		return nil
	}
	if _, err := fmt.Sscanf(string(payload), "%d %d", &round, &n); err != nil || n > len(v.pings) {
		return faultf("a pong that says %q", payload)
	}
	if round == 1 {
		v.send(ws.OpPing, fmt.Appendf(nil, "2 %d", n))
	} else if !w.trial.handing.Load() { // else the old process knows, and the new one will
		v.sure = n
	}
	return nil
}

func (w *Witness) closed(v *visit, payload []byte) error {
	end := &collector.CloseError{Code: wsproto.NoStatus}
	if len(payload) >= 2 {
		end.Code, end.Reason = binary.BigEndian.Uint16(payload), string(payload[2:])
		payload = payload[:2]
	}
	w.mu.Lock()
	v.close = end
	echoed := v.echo
	w.mu.Unlock()
	if !echoed {
		v.send(ws.OpClose, payload)
	}
	return end
}

// send sends a frame. That the server has gone shows when reading.
func (v *visit) send(op ws.OpCode, payload []byte) error {
	return v.raw(ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, true, payload))))
}

func (v *visit) raw(b []byte) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	_ = v.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := v.conn.Write(b)
	return err
}

// What follows is for the trial's goroutine.

// send sends a frame, if it is connected.
func (w *Witness) send(op ws.OpCode, payload []byte) {
	w.mu.Lock()
	v := w.now
	w.mu.Unlock()
	if v != nil {
		v.send(op, payload)
	}
}

// here tells whether it is, or wants to be, connected.
func (w *Witness) here() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.present
}

// owing tells whether it owes the answer to a ping.
func (w *Witness) owing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owes != nil
}

// answer gives the answer that it owes.
func (w *Witness) answer() {
	w.mu.Lock()
	owed := w.owes
	if p, err := wsproto.ParsePosition(owed); err == nil && w.now != nil {
		w.now.told = append(w.now.told, p.Offset)
	}
	w.mu.Unlock()
	if owed != nil {
		w.send(ws.OpPong, owed)
	}
}

func (w *Witness) come()    { w.set(func() { w.present = true }) }
func (w *Witness) hold()    { w.set(func() { w.held = true }) }
func (w *Witness) release() { w.set(func() { w.held = false }) }
func (w *Witness) hurry()   { w.set(func() { w.held, w.hurried = false, true }) }

// closedNow is closed when the connection that it has now has ended.
func (w *Witness) closedNow() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now != nil {
		return w.now.closed
	}
	none := make(chan struct{})
	close(none)
	return none
}

// forget has it wait for the newest records, whatever it has: they come again.
func (w *Witness) forget() {
	w.set(func() { w.has = [len(simulator.Streams)]int{} })
}

func (w *Witness) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	w.changed.Broadcast()
}

// leave ends its connection and waits for the end.
func (w *Witness) leave(t *Trial, how departure) {
	w.mu.Lock()
	v := w.now
	if v != nil {
		v.leaving, v.echo = true, how != reset
	}
	if v != nil && how == reset { // one that is held reads nothing more
		v.reset = true
		_ = v.conn.(*net.TCPConn).SetLinger(0)
		_ = v.conn.Close()
	}
	w.present, w.held, w.quota = false, false, 0
	w.changed.Broadcast()
	w.mu.Unlock()
	if v == nil {
		return
	}
	if how != reset {
		var code []byte
		if how > 0 {
			code = binary.BigEndian.AppendUint16(nil, uint16(how))
		}
		v.send(ws.OpClose, code)
	}
	within(t.t, v.closed, func() {})
	if how == reset || v.close == nil || t.cutSince(v.cuts) {
		return
	}
	if want := uint16(how); v.close.Code != want && (how != 0 || v.close.Code != wsproto.NoStatus) && w.doubles == v.doubles {
		t.t.Errorf("witness %s closed with %d and got %v", w.name, how, v.close)
	}
}

// double connects beside the connection that is there, which must end by that.
func (w *Witness) double(t *Trial) {
	w.mu.Lock()
	old := w.now
	if old == nil || w.held {
		w.mu.Unlock()
		return
	}
	if w.part.Thin && !w.hurried {
		w.mu.Unlock()
		return
	}
	w.doubles++
	w.doubling = true
	old.cause = time.Now()
	w.mu.Unlock()
	v, err := w.dial()
	w.set(func() { w.next, w.doubling = v, false })
	if err != nil {
		return // in the middle of a restart
	}
	within(t.t, old.closed, func() {})
	if old.close != nil && old.close.Code != wsproto.DuplicateConnection.Code && !t.cutSince(old.cuts) {
		t.t.Errorf("witness %s connected twice, and the older connection got %v", w.name, old.close)
	}
}

// misbehave sends bytes that the server must answer by that disconnect.
func (w *Witness) misbehave(t *Trial, b []byte, owed wsproto.Disconnect) {
	w.mu.Lock()
	v := w.now
	if v == nil || w.held || w.part.Thin && !w.hurried {
		w.mu.Unlock()
		return
	}
	v.owed, v.leaving, v.cause = owed, true, time.Now()
	w.mu.Unlock()
	v.raw(b)
	within(t.t, v.closed, func() {})
	if t.cutSince(v.cuts) || v.gaveUp() {
		return
	}
	if v.close == nil || v.close.Code != owed.Code {
		t.t.Errorf("witness %s broke the protocol and got %v, not %d", w.name, v.close, owed.Code)
	}
}

// finish ends it with the trial.
func (w *Witness) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over, w.present, w.held = true, false, false
	for _, v := range w.visits { // two of them are open if an older one was not closed
		_ = v.conn.Close()
	}
	w.changed.Broadcast()
}

// complete tells whether it has the newest record of each stream, of so many;
// if not strictly: or has come when they were written already.
func (w *Witness) complete(counts [len(simulator.Streams)]int, strictly bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.present || w.has == counts {
		return true
	}
	if strictly || w.now == nil {
		return false
	}
	for i, n := range counts {
		if w.has[i] < n && w.now.begun[i] < n {
			return false
		}
	}
	return true
}

// settled tells whether a ping has come behind all that it has.
func (w *Witness) settled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.present || w.part.Answers != "" || w.now != nil && w.fresh == 0
}

// String tells where it stands.
func (w *Witness) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%s (%s): present %v, connected %v, held %v, %d messages over %d connections, up to %v", w.name, w.part.Habit, w.present, w.now != nil, w.held, w.got, len(w.visits), w.has)
}
