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

	"distributor/mmaplog/datalog"
	"distributor/wsproto"
	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

// Witness is a collector of a trial. It reconnects whenever it was cut, as its habit says, and
// stores all that it received for the verdict.
type Witness struct {
	name  string
	part  Part
	trial *Trial
	key   shardus.SecretKey

	mu      sync.Mutex // guards what follows
	changed *sync.Cond // signals a change of what follows

	wanted          bool     // the witness wants to be connected
	readPaused      bool     // reads nothing
	fast            bool     // reads as fast as it can, even if its part is Thin
	noPongs         bool     // answers no ping
	lastAttempt     *visit   // the last attempt to connect
	moved           []move   // where refusals have sent it
	quota           int      // reads at most this many messages of a visit; 0: no limit
	deferPong       bool     // answers no ping; pendingPing has the payload of the last one
	pendingPing     []byte   // nil: none
	trialOver       bool     // the witness must end
	duplicates      int      // how often it connected while it was connected
	connectingTwice bool     // connectTwice dials now, so run must not
	visits          []*visit // in the order of their 101
	unanswered      []*visit // attempts without an answer, which may have been accepted
	now             *visit   // the last of visits, while it is open
	unread          *visit   // a visit of connectTwice that run has to read
	fault           error    // the first fault that was found before the verdict

	newest    datalog.PerStream[int] // number of the newest record, plus 1
	messages  int                    // number of all messages
	sincePing int                    // messages of this visit since its last ping
	inVisit   int                    // messages of this visit
	end       *wsproto.Position      // the end of the last message; nil: not known
	lastPing  *wsproto.Position      // the position in the last ping
}

// item is record n of a stream.
type item struct {
	stream datalog.Stream
	n      int32
}

// move is a refusal that named another position.
type move struct {
	asked *visit
	to    wsproto.Position
}

// sighting is the position in a ping that came after a number of messages of its visit.
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
	closed  chan struct{} // closed when the visit has ended

	// Set when the visit begins.
	from          wsproto.From
	life          int                    // Trial.life, before the dial
	cuts          int64                  // Trial.cuts, before the dial
	duplicates    int                    // Witness.duplicates, before the dial
	pingTimeouts  int64                  // Trial.pingTimeouts, before the dial
	after         int                    // number of earlier visits
	leastHead     uint64                 // Trial.leastHead, before the dial
	recordsBefore datalog.PerStream[int] // records in the book when the 101 had come
	unsure        bool                   // the distributor was restarted during the dial

	// Owned by the witness's goroutine until the visit has ended.
	expect    datalog.PerStream[int] // number of the next record; -1: none came yet
	items     []item
	sizes     []int // bytes of the frames
	pings     []sighting
	surePings int // number of pings whose pongs the primary surely has

	// Guarded by Witness.mu.
	ponged        []uint64           // offsets of pongs that were sent or about to be sent
	confirmed     uint64             // offset of the last pong that was sent
	reset         bool               // reset by the witness, which reads nothing more
	deferredPing  []byte             // payload of a ping that is answered when the next one comes
	cutAtQuota    bool               // cut by the witness after its quota, with more to come
	eagerAnswered bool               // the ping that came with the request was answered
	leftByUs      bool               // the witness ended it
	wantClose     wsproto.Disconnect // how the server must end it; zero: not required
	closeCause    time.Time          // when the witness gave the server a cause to close; zero: never
	close         *collector.CloseError
	closeSent     bool // the witness has sent its close frame
}

// eager is the payload of the ping that goes out with an upgrade request.
const eager = "early"

// closeWait is how long a closing server waits until its peer has read the close frame
// (engine/worker). If a witness on a busy machine reads later, it sees no close frame.
const closeWait = 2 * time.Second

// closeMissed reports whether the server may have ended the connection before the witness read the
// close frame. Witness.mu must be held.
func (v *visit) closeMissed() bool {
	return v.close == nil && !v.closeCause.IsZero() && time.Since(v.closeCause) >= closeWait
}

// departure is how a witness disconnects: a close code, 0 for none, or reset.
type departure int

const reset departure = -1

// A slow witness has a receive buffer of slowBuffer bytes, and pauses for slowPause after each
// slowRead bytes.
const (
	slowRead   = 32 << 10
	slowPause  = time.Millisecond
	slowBuffer = 64 << 10
)

func newWitness(t *Trial, name string, part Part) *Witness {
	w := &Witness{name: name, part: part, trial: t, key: newKey(t.t), wanted: true}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// run connects and reads until the trial is over.
func (w *Witness) run() {
	for {
		w.mu.Lock()
		for w.connectingTwice || !w.wanted && !w.trialOver && w.unread == nil {
			w.changed.Wait()
		}
		v := w.unread
		w.unread = nil
		over := w.trialOver
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
				time.Sleep(redial / 4) // a collector cannot know when it will be accepted
				continue
			}
		}
		err := w.read(v)
		_ = v.conn.Close()
		w.connectionEnded(v, err)
	}
}

// from returns the start that the witness asks for.
func (w *Witness) from() wsproto.From {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.part.Habit == Live:
		return wsproto.From{Start: wsproto.Live}
	case w.part.Habit == Tracks && w.end != nil:
		return wsproto.From{Start: wsproto.At, Position: *w.end}
	case w.part.Habit == Pinged && w.lastPing != nil:
		return wsproto.From{Start: wsproto.At, Position: *w.lastPing}
	case w.part.Earliest && len(w.visits) == 0:
		return wsproto.From{Start: wsproto.Earliest}
	}
	return wsproto.From{}
}

// dial connects. If it succeeds, the new visit is in visits and now.
func (w *Witness) dial() (*visit, error) {
	v := &visit{
		from: w.from(), closed: make(chan struct{}),
		expect: datalog.PerStream[int]{-1, -1, -1, -1},
	}
	v.pingTimeouts = w.trial.pingTimeouts.Load()
	v.life, v.cuts, v.leastHead = int(w.trial.life.Load()), w.trial.cuts.Load(), w.trial.leastHead()
	w.mu.Lock()
	v.duplicates = w.duplicates
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
	v.conn, v.in, v.deflate, v.recordsBefore = conn, in, deflate, w.trial.book.Counts()
	v.after, v.unsure = len(w.visits), v.life != int(w.trial.life.Load())
	w.lastAttempt = v
	if err != nil {
		var no *collector.RefusedError
		if !errors.As(err, &no) && !errors.Is(err, syscall.ECONNREFUSED) {
			w.unanswered = append(w.unanswered, v)
		}
		return nil, err
	}
	if v.unsure || w.trialOver {
		_ = conn.Close()
	}
	if v.from.Start == wsproto.At {
		w.end = &v.from.Position
	} else {
		w.end = nil
	}
	w.visits, w.now, w.sincePing, w.inVisit, w.pendingPing = append(w.visits, v), v, 0, 0, nil
	w.changed.Broadcast()
	return v, nil
}

// refused reports whether to try again. Other refusals than a trial's events explain are a fault.
func (w *Witness) refused(err error) bool {
	var no *collector.RefusedError
	if !errors.As(err, &no) || no.Status == http.StatusServiceUnavailable {
		return true // the distributor is down or stopping
	}
	var answer struct{ Reason, From string }
	_ = json.Unmarshal([]byte(no.Reason), &answer)
	w.mu.Lock()
	defer w.mu.Unlock()
	if no.Status == http.StatusGone && answer.Reason == "from_below_floor" &&
		w.trial.plan.Retain > 0 && w != w.trial.chronicle {
		w.end, w.lastPing = nil, nil // connect without a position
		w.trial.tally.gone.Add(1)
		return true
	}
	if no.Status == http.StatusConflict && answer.Reason == "from_other_log" &&
		answer.From != "" && w.trial.plan.Power {
		to, err := wsproto.ParsePosition([]byte(answer.From))
		if err == nil {
			w.moved = append(w.moved, move{w.lastAttempt, to})
			w.end, w.lastPing = &to, &to
			return true
		}
	}
	w.setFault(fmt.Errorf("refused: %w", err))
	return false
}

// setFault stores the first fault. mu must be held.
func (w *Witness) setFault(err error) {
	if w.fault == nil {
		w.fault = fmt.Errorf("witness %s, connection %d: %w", w.name, len(w.visits), err)
	}
	w.changed.Broadcast()
}

// connectionEnded checks the end of a visit against the trial's events since it was dialled.
func (w *Witness) connectionEnded(v *visit, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer close(v.closed)
	if w.now == v {
		w.now = nil
	}
	w.changed.Broadcast()
	var wrong *faultError
	cut, retain := w.trial.cutSince(v.cuts), w.trial.plan.Retain > 0
	timeouts := w.trial.pingTimeouts.Load() > v.pingTimeouts || v.pingTimeouts%2 == 1
	switch {
	case errors.As(err, &wrong):
		w.setFault(err)
	case v.wantClose != (wsproto.Disconnect{}) && v.close != nil && v.close.Code == v.wantClose.Code:
	case v.leftByUs || w.trialOver || v.unsure || cut && v.close == nil:
	case v.close == nil && (retain || timeouts) || v.closeMissed(): // no room for a close frame
	case v.close == nil:
		w.setFault(fmt.Errorf("the connection was lost without an event of the trial: %w", err))
	case v.closedAs(wsproto.ServerShutdown) && cut:
	case (v.closedAs(wsproto.PingTimeout) || v.closedAs(wsproto.TooSlow)) && timeouts:
	case v.close.Code == wsproto.DuplicateConnection.Code && w.duplicates > v.duplicates:
	case v.closedAs(wsproto.BehindFloor) && retain:
	default:
		w.setFault(fmt.Errorf("closed for no reason: %w", v.close))
	}
}

// closedAs reports whether the close frame has the code and reason of d.
func (v *visit) closedAs(d wsproto.Disconnect) bool {
	return v.close.Code == d.Code && v.close.Reason == d.Reason
}

// faultError is an invalid frame or message on a connection.
type faultError struct{ error }

func faultf(format string, args ...any) error { return &faultError{fmt.Errorf(format, args...)} }

// read reads and checks frames until the connection ends.
func (w *Witness) read(v *visit) error {
	var buf []byte
	for paused := 0; ; {
		w.mu.Lock()
		for (w.readPaused || w.now == v && w.quota > 0 && w.inVisit >= w.quota) && !w.trialOver {
			w.changed.Wait()
		}
		gone := v.reset
		w.mu.Unlock()
		if gone { // frames in the buffer count as not received
			return net.ErrClosed
		}
		for w.atThinLimit(v) {
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
				err = w.checkMessage(v, text)
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
			time.Sleep(slowPause) // so that the witness is slow
		}
	}
}

// atThinLimit reports whether a thin witness has more than half of the chronicle's messages, so
// that it must not read now.
func (w *Witness) atThinLimit(v *visit) bool {
	if !w.part.Thin {
		return false
	}
	half := w.trial.chronicleCount() / 2
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.fast && !w.trialOver && !v.leftByUs && w.now == v && w.messages > half
}

// inflate decompresses a message, which does not depend on earlier ones (RFC 7692 §7.2.2).
func inflate(payload []byte) ([]byte, error) {
	const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
	in := io.MultiReader(bytes.NewReader(payload), strings.NewReader(tail))
	text, err := io.ReadAll(flate.NewReader(in))
	if err != nil {
		return nil, faultf("a compressed message: %v", err)
	}
	return text, nil
}

// messageStream returns the stream of a message; ok is false if it has none.
func messageStream(text []byte) (s datalog.Stream, ok bool) {
	for _, s := range datalog.Streams {
		if strings.HasPrefix(string(text[:min(len(text), 20)]), `{"`+s.String()+`":`) {
			return s, true
		}
	}
	return 0, false
}

// checkMessage checks that a message is in the book and is the next of its stream in this visit,
// and stores it.
func (w *Witness) checkMessage(v *visit, text []byte) error {
	stream, ok := messageStream(text)
	if !ok {
		return faultf("a text of no stream: %.60q", text)
	}
	n := w.trial.book.Find(stream, text, v.expect[stream])
	switch {
	case n < 0:
		return faultf("%s: a message that is not in the book: %.120q", stream, text)
	case v.expect[stream] >= 0 && n != v.expect[stream]:
		return faultf("%s: got record %d, want %d", stream, n, v.expect[stream])
	}
	v.expect[stream] = n + 1
	v.items = append(v.items, item{stream, int32(n)})
	v.sizes = append(v.sizes, len(wsproto.AppendTextHeader(nil, len(text)))+len(text))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newest[stream] = max(w.newest[stream], n+1)
	w.messages++
	if w.now != v { // an older connection: the counts belong to the newer one
		w.changed.Broadcast()
		return nil
	}
	w.sincePing++
	w.inVisit++
	if w.end != nil {
		size := uint64(v.sizes[len(v.sizes)-1])
		w.end = &wsproto.Position{Log: w.end.Log, Offset: w.end.Offset + size}
	}
	w.changed.Broadcast()
	return nil
}

// pinged stores and answers a ping.
//
// If the witness Asks, it then sends a ping "1 n", where n is the number of the server's ping, and
// after the pong to that a ping "2 n". The pong to the second one proves that the worker has passed
// a wake-up of its own since the first, so the primary knows of the witness's pong n.
func (w *Witness) pinged(v *visit, payload []byte) error {
	p, err := wsproto.ParsePosition(payload)
	if err != nil {
		return faultf("a ping with the payload %q", payload)
	}
	v.pings = append(v.pings, sighting{len(v.items), p})
	w.mu.Lock()
	if w.now == v {
		w.end, w.lastPing, w.sincePing = &p, &p, 0
	}
	silent := w.deferPong || w.noPongs || w.part.Answers == "never"
	if w.deferPong {
		w.pendingPing = bytes.Clone(payload)
	}
	answer := payload
	if w.part.Answers == "late" {
		v.deferredPing, answer = bytes.Clone(payload), v.deferredPing
		silent = silent || answer == nil
	}
	if !silent {
		position, _ := wsproto.ParsePosition(answer)
		v.ponged = append(v.ponged, position.Offset)
	}
	w.changed.Broadcast()
	w.mu.Unlock()
	if silent {
		return nil
	}
	if v.send(ws.OpPong, answer) == nil {
		w.update(func() { v.confirmed = v.ponged[len(v.ponged)-1] })
	}
	if w.part.Asks {
		v.send(ws.OpPing, fmt.Appendf(nil, "1 %d", len(v.pings)))
	}
	return nil
}

// answered checks a pong, which must answer a ping of the witness.
func (w *Witness) answered(v *visit, payload []byte) error {
	var round, n int
	switch string(payload) {
	case "":
		return nil // the answer to a ping of sendUnexpected
	case eager:
		w.update(func() { v.eagerAnswered = true })
		return nil
	}
	if _, err := fmt.Sscanf(string(payload), "%d %d", &round, &n); err != nil || n > len(v.pings) {
		return faultf("a pong with the payload %q", payload)
	}
	if round == 1 {
		v.send(ws.OpPing, fmt.Appendf(nil, "2 %d", n))
	} else if !w.trial.inHandover.Load() { // else only the old process may know it yet
		v.surePings = n
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
	echoed := v.closeSent
	w.mu.Unlock()
	if !echoed {
		v.send(ws.OpClose, payload)
	}
	return end
}

// send sends a frame. If the server has gone, the next read fails.
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

// The methods below are called by the trial's goroutine.

// send sends a frame if the witness is connected.
func (w *Witness) send(op ws.OpCode, payload []byte) {
	w.mu.Lock()
	v := w.now
	w.mu.Unlock()
	if v != nil {
		v.send(op, payload)
	}
}

// wantsConnection reports whether the witness is or wants to be connected.
func (w *Witness) wantsConnection() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wanted
}

// owesPong reports whether a ping waits for its answer.
func (w *Witness) owesPong() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pendingPing != nil
}

// sendPendingPong answers the ping that waits.
func (w *Witness) sendPendingPong() {
	w.mu.Lock()
	owed := w.pendingPing
	if p, err := wsproto.ParsePosition(owed); err == nil && w.now != nil {
		w.now.ponged = append(w.now.ponged, p.Offset)
	}
	w.mu.Unlock()
	if owed != nil {
		w.send(ws.OpPong, owed)
	}
}

func (w *Witness) connect()       { w.update(func() { w.wanted = true }) }
func (w *Witness) pauseReading()  { w.update(func() { w.readPaused = true }) }
func (w *Witness) resumeReading() { w.update(func() { w.readPaused = false }) }
func (w *Witness) readFast()      { w.update(func() { w.readPaused, w.fast = false, true }) }

// closedNow returns a channel that is closed when the present connection has ended.
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

// expectRepeats makes complete wait until the newest records have come again.
func (w *Witness) expectRepeats() {
	w.update(func() { w.newest = datalog.PerStream[int]{} })
}

func (w *Witness) update(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	w.changed.Broadcast()
}

// disconnect ends the connection and waits for its end. The witness does not reconnect.
func (w *Witness) disconnect(t *Trial, how departure) {
	w.mu.Lock()
	v := w.now
	if v != nil {
		v.leftByUs, v.closeSent = true, how != reset
	}
	if v != nil && how == reset { // a paused witness reads nothing more
		v.reset = true
		_ = v.conn.(*net.TCPConn).SetLinger(0)
		_ = v.conn.Close()
	}
	w.wanted, w.readPaused, w.quota = false, false, 0
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
	same := v.close.Code == uint16(how) || how == 0 && v.close.Code == wsproto.NoStatus
	if !same && w.duplicates == v.duplicates {
		t.t.Errorf("witness %s closed with %d: got %v, want the same code", w.name, how, v.close)
	}
}

// connectTwice makes a second connection, which must end the first one.
func (w *Witness) connectTwice(t *Trial) {
	w.mu.Lock()
	old := w.now
	if old == nil || w.readPaused {
		w.mu.Unlock()
		return
	}
	if w.part.Thin && !w.fast {
		w.mu.Unlock()
		return
	}
	w.duplicates++
	w.connectingTwice = true
	old.closeCause = time.Now()
	w.mu.Unlock()
	v, err := w.dial()
	w.update(func() { w.unread, w.connectingTwice = v, false })
	if err != nil {
		return // in the middle of a restart
	}
	within(t.t, old.closed, func() {})
	if old.close != nil && old.close.Code != wsproto.DuplicateConnection.Code &&
		!t.cutSince(old.cuts) {
		t.t.Errorf("witness %s connected twice: the older connection got %v, want code %d",
			w.name, old.close, wsproto.DuplicateConnection.Code)
	}
}

// sendInvalid sends bytes for which the server must close the connection as owed says.
func (w *Witness) sendInvalid(t *Trial, b []byte, owed wsproto.Disconnect) {
	w.mu.Lock()
	v := w.now
	if v == nil || w.readPaused || w.part.Thin && !w.fast {
		w.mu.Unlock()
		return
	}
	v.wantClose, v.leftByUs, v.closeCause = owed, true, time.Now()
	w.mu.Unlock()
	v.raw(b)
	within(t.t, v.closed, func() {})
	if t.cutSince(v.cuts) || v.closeMissed() {
		return
	}
	if v.close == nil || v.close.Code != owed.Code {
		t.t.Errorf("witness %s broke the protocol: got %v, want code %d",
			w.name, v.close, owed.Code)
	}
}

// stop ends the witness with the trial.
func (w *Witness) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trialOver, w.wanted, w.readPaused = true, false, false
	for _, v := range w.visits { // an older one may still be open
		_ = v.conn.Close()
	}
	w.changed.Broadcast()
}

// complete reports whether the witness has the newest record of each stream. counts are the numbers
// of records. If not strictly, records that were written before its connection do not count.
func (w *Witness) complete(counts datalog.PerStream[int], strictly bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.wanted || w.newest == counts {
		return true
	}
	if strictly || w.now == nil {
		return false
	}
	for s, n := range counts {
		if w.newest[s] < n && w.now.recordsBefore[s] < n {
			return false
		}
	}
	return true
}

// pingedAtEnd reports whether a ping has come after the last message.
func (w *Witness) pingedAtEnd() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.wanted || w.part.Answers != "" || w.now != nil && w.sincePing == 0
}

// String describes the state for a failure.
func (w *Witness) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%s (%s): wants a connection %v, connected %v, reading paused %v, "+
		"%d messages over %d connections, up to %v",
		w.name, w.part.Habit, w.wanted, w.now != nil, w.readPaused,
		w.messages, len(w.visits), w.newest)
}
