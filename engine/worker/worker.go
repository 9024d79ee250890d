package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	gnet "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
)

const (
	// tickEvery is the interval of tick, which checks pings, timeouts and deadlines. A draining
	// worker ticks at the next drainEvery after it.
	tickEvery = 250 * time.Millisecond
	// statsEvery is the number of ticks between two reports to the primary.
	statsEvery = 4
	// controlBatch is how many messages of the primary are handled before clients get their turn.
	controlBatch = 32
	// readBytes is the size of the one buffer through which all clients' input passes.
	readBytes = 16 << 10
)

// Options are what the process was started with.
type Options struct {
	Control int // descriptor of the worker's end of a handoff channel
	Wake    int // eventfd that the primary writes to when the head has moved
	Log     *slog.Logger
	Level   *slog.LevelVar // follows Settings.LogLevel; may be nil
}

// Run runs the worker. It returns nil after a Drain, and when the primary has ended. Run closes
// both descriptors of o. Call it once per process or test, on a goroutine of its own.
func Run(o Options) error {
	// The loop has a thread of its own: its sends are raw system calls, which would delay other
	// goroutines on the same thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	l, err := newLoop(o)
	defer l.close()
	if err != nil {
		return err
	}
	if err := l.poller.Polling(l.event); !errors.Is(err, gnet.ErrEngineShutdown) {
		return fmt.Errorf("worker: event loop: %w", err)
	}
	return l.failure
}

// newLoop makes a loop that is ready to be polled. The caller closes it, also after an error.
func newLoop(o Options) (l *loop, err error) {
	l = &loop{
		control: o.Control, wake: o.Wake, log: o.Log, level: o.Level,
		byID: make(map[uint64]*client), packet: make([]byte, handoff.MaxMessage),
		input: make([]byte, readBytes),
		now:   time.Now(),
	}
	l.ticked = l.now
	l.receiver.l = l
	if l.poller, err = netpoll.OpenPoller(); err != nil {
		return l, fmt.Errorf("worker: %w", err)
	}
	if l.timer, err = newTimer(tickEvery); err != nil {
		return l, fmt.Errorf("worker: timer: %w", err)
	}
	if l.linger.timer, err = newTimer(0); err != nil {
		return l, fmt.Errorf("worker: timer: %w", err)
	}
	for _, fd := range []int{l.control, l.wake, l.timer, l.linger.timer} {
		if err := l.poller.AddReadWrite(&netpoll.PollAttachment{FD: fd}, true); err != nil {
			return l, fmt.Errorf("worker: %w", err)
		}
	}
	return l, nil
}

// loop is the state of a worker. Only the goroutine of Run touches it.
type loop struct {
	poller               *netpoll.Poller
	control, wake, timer int
	log                  *slog.Logger
	level                *slog.LevelVar

	settings handoff.Settings
	slow     slowRule // of settings
	linger   lingering
	frames   *framelog.Reader // nil until the first Settings
	notices  notices
	head     uint64    // of the frame log, as of the last turn
	moved    time.Time // when head last moved
	now      time.Time // when the current event arrived

	clients    []*client          // all of them, in no order
	byID       map[uint64]*client // the same
	byFD       []*client          // the same, by descriptor; nil where there is none
	live       []*client          // live clients without compression
	waiting    []*client          // live clients that negotiated compression
	compressed compressedLog      // where their compressed frames come from
	behind     ring               // clients with a writable socket to which more is due
	unread     ring               // clients whose last event brought more input than was read at once
	parting    []*client          // sockets that wait for the peer's end, oldest first

	packet         []byte    // scratch for the control channel
	outbox         [][]byte  // packets that the control channel had no room for
	confirmed      []*client // clients whose confirmations are not sent to the primary yet
	controlPending bool      // more of the primary's messages may be waiting
	armed          bool      // a wake-up that the loop wrote for itself is pending

	gathering gathering // scratch for sends with pings in them
	input     []byte    // scratch for clients' input
	receiver  receiver  // its client is the one whose input is being parsed

	ticks  int
	ticked time.Time // when the last tick was
	stats  handoff.Stats
	// sampled caches what measure last read: the time of the frame in which offset lies.
	// slowestSample is the largest latency since the last report, in seconds, and worst holds the
	// largest of each earlier report, newest first.
	sampled struct {
		offset uint64
		time   int64 // Unix ns
	}
	slowestSample float64
	worst         [recentReports]float64

	drain   *draining // nil until a Drain
	failure error     // a broken invariant of our own: the loop stops after the event
}

// event is the poller's callback.
func (l *loop) event(fd int, ev netpoll.IOEvent, _ netpoll.IOFlags) error {
	l.now = time.Now()
	var err error
	switch fd {
	case l.wake:
		l.armed = false
		err = l.turn()
	case l.linger.timer:
		l.linger.expires = time.Time{} // not read from: setting the timer again clears it
		err = l.turn()
	case l.timer:
		var expired [8]byte
		_, _ = unix.Read(l.timer, expired[:]) // starts the next period
		if l.drain == nil || l.now.Sub(l.ticked) >= tickEvery {
			l.tick()
		}
		if l.drain != nil {
			l.endDrained()
		}
	case l.control:
		if ev&unix.EPOLLOUT != 0 {
			l.flushOutbox()
		}
		err = l.receive()
	default:
		if fd < len(l.byFD) && l.byFD[fd] != nil {
			l.clientEvent(l.byFD[fd], ev)
		}
	}
	drained := l.drain != nil && len(l.clients) == 0 && len(l.parting) == 0 && len(l.outbox) == 0
	if err == nil && (drained || l.failure != nil) {
		err = gnet.ErrEngineShutdown
	}
	return err
}

// turn sends what is due: first to the live clients if the head has moved, unless their round is
// still to come, then to the clients that are behind, within the budget.
func (l *loop) turn() error {
	if l.frames == nil {
		return nil
	}
	head := l.frames.Head()
	news := l.refreshNotices() || head != l.head
	if head != l.head {
		l.head, l.moved = head, l.now
	}
	if news {
		l.linger.live.due = true
	}
	// If only the frame log has grown, clients with compression may get plain frames.
	if l.refreshCompressed() || news {
		l.linger.waiting.due = true
	}
	l.round(&l.linger.live, &l.live)
	l.round(&l.linger.waiting, &l.waiting)
	for budget := turnBudget; budget > 0; {
		c := l.nextBehind()
		if c == nil {
			break
		}
		budget -= l.serve(c) + serveCost
	}
	l.readRest()
	if l.controlPending {
		if err := l.receive(); err != nil {
			return err
		}
	}
	l.sendConfirmed()
	if !l.behind.empty() || !l.unread.empty() {
		l.again()
	}
	return nil
}

// again asks for another turn, after the events that are already waiting.
func (l *loop) again() {
	if l.armed {
		return
	}
	l.armed = true
	var one = [8]byte{1}
	if _, err := unix.Write(l.wake, one[:]); err != nil && err != unix.EAGAIN {
		l.failure = fmt.Errorf("worker: own wake-up: %w", err)
	}
}

func (l *loop) close() {
	for _, c := range slices.Concat(l.clients, l.parting) {
		_ = unix.Close(c.fd)
	}
	if l.frames != nil {
		_ = l.frames.Close()
	}
	if l.compressed.reader != nil {
		_ = l.compressed.reader.Close()
	}
	if l.poller != nil {
		_ = l.poller.Close()
	}
	for _, fd := range []int{l.control, l.wake, l.timer, l.linger.timer} {
		if fd > 0 {
			_ = unix.Close(fd)
		}
	}
}

// newTimer makes a timer that expires every period. With period 0 it is not set yet.
func newTimer(period time.Duration) (int, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	if err := setTimer(fd, period); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setTimer(fd int, period time.Duration) error {
	every := unix.NsecToTimespec(period.Nanoseconds())
	return unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil)
}
