package worker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	gnet "github.com/panjf2000/gnet/v2/pkg/errors"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

// receive handles what the primary has sent, a batch at a time.
func (l *loop) receive() error {
	l.controlPending = false
	for range controlBatch {
		m, fd, err := handoff.Receive(l.control, l.packet)
		switch {
		case errors.Is(err, handoff.ErrAgain):
			return nil
		case errors.Is(err, io.EOF):
			l.log.Info("the primary has gone")
			return gnet.ErrEngineShutdown
		case errors.Is(err, handoff.ErrNoDescriptor):
			l.socketLost(m)
			continue
		case err != nil:
			l.failure = fmt.Errorf("worker: control channel: %w", err)
			return gnet.ErrEngineShutdown
		}
		if err := l.handle(m, fd); err != nil {
			l.failure = err
			return gnet.ErrEngineShutdown
		}
	}
	l.controlPending = true
	l.again()
	return nil
}

func (l *loop) handle(m handoff.Message, fd int) error {
	switch {
	case m.Settings != nil:
		return l.configure(*m.Settings)
	case m.Client != nil && l.frames == nil:
		_ = unix.Close(fd)
		return errors.New("worker: a client came before the settings")
	case m.Client != nil:
		l.add(*m.Client, fd)
	case m.Profile != nil:
		serveProfile(fd, l.log)
	case m.Close != nil:
		if c := l.byID[m.Close.ID]; c != nil {
			l.disconnect(c, named(m.Close.Disconnect), "")
		}
	case m.Drain != nil:
		return l.beginDrain(*m.Drain)
	}
	return nil
}

// socketLost is for a client whose socket could not be taken: it is cut off, and
// the others go on. That takes a limit that was lowered while we run: the
// primary gives us no more clients than there is room for.
func (l *loop) socketLost(m handoff.Message) {
	l.log.Error("a socket is lost", "error", handoff.ErrNoDescriptor)
	if m.Client != nil {
		l.sendToPrimary(handoff.Message{Closed: &handoff.Closed{
			ID: m.Client.ID, Disconnect: wsproto.InternalError.Name, Detail: handoff.ErrNoDescriptor.Error(),
		}})
	}
}

// spareDescriptors are not for clients: the loop's own, the runtime's, and those
// with which segments of the frame log are opened.
const spareDescriptors = 32

// room is how many clients there are descriptors for.
func room() int {
	var limit unix.Rlimit // it may be changed while we run
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return max(1, int(min(limit.Cur, 1<<30))-spareDescriptors)
}

func named(disconnect string) wsproto.Disconnect {
	d, ok := wsproto.DisconnectNamed(disconnect)
	if !ok {
		return wsproto.InternalError
	}
	return d
}

func (l *loop) configure(s handoff.Settings) error {
	if l.level != nil {
		if err := l.level.UnmarshalText([]byte(s.LogLevel)); err != nil {
			l.log.Warn("log level not changed", "error", err)
		}
	}
	first := l.frames == nil
	if !first {
		s.FrameLog, s.Notices = l.settings.FrameLog, l.settings.Notices
	}
	l.settings = s
	l.slow = slowRule{s.SlowLag, s.SlowRate, time.Duration(s.SlowWindowMS) * time.Millisecond}
	l.followCompressed(s.CompressedLog)
	l.lingerFor(time.Duration(s.LingerMS) * time.Millisecond)
	if !first {
		for _, c := range l.clients {
			c.reader.MaxMessage = int64(s.InputBytes)
		}
		return nil
	}
	frames, err := framelog.OpenReader(s.FrameLog)
	if err != nil {
		return fmt.Errorf("worker: open the frame log: %w", err)
	}
	l.frames, l.head, l.moved = frames, frames.Head(), l.now
	l.sendToPrimary(handoff.Message{Ready: &handoff.Ready{PID: os.Getpid(), Room: room()}})
	return nil
}

// sendToPrimary sends a message to the primary, later if the channel is full now.
func (l *loop) sendToPrimary(m handoff.Message) {
	b, err := handoff.Encode(m)
	if err != nil {
		l.failure = err
		return
	}
	l.outbox = append(l.outbox, b)
	l.flushOutbox()
}

// confirm notes that the primary must learn what c has confirmed. The turn sends one message for all
// pongs that came together.
func (l *loop) confirm(c *client) {
	if !c.confirming {
		c.confirming = true
		l.confirmed = append(l.confirmed, c)
		l.again()
	}
}

// sendConfirmed sends the primary what clients have confirmed since the last turn.
func (l *loop) sendConfirmed() {
	var m handoff.Message
	for i, c := range l.confirmed {
		l.confirmed[i] = nil
		c.confirming = false
		if c.fd >= 0 { // else Closed said it
			m.Confirmed = append(m.Confirmed, handoff.Confirmed{ID: c.id, Offset: c.acked})
		}
		if len(m.Confirmed) == handoff.MaxConfirmed {
			l.sendToPrimary(m)
			m.Confirmed = nil
		}
	}
	l.confirmed = l.confirmed[:0]
	if len(m.Confirmed) > 0 {
		l.sendToPrimary(m)
	}
}

func (l *loop) flushOutbox() {
	for len(l.outbox) > 0 {
		err := handoff.Send(l.control, l.outbox[0])
		if errors.Is(err, io.EOF) { // receive meets it too, and tells
			l.outbox = nil
			return
		}
		if err != nil { // full: EPOLLOUT tells of room; if the kernel lacks something, the next tick tries
			return
		}
		l.outbox[0] = nil
		l.outbox = l.outbox[1:]
	}
	l.outbox = nil
}
