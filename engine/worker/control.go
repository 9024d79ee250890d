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

// receive handles messages of the primary, at most controlBatch of them.
func (l *loop) receive() error {
	l.controlPending = false
	for range controlBatch {
		m, fd, err := handoff.Receive(l.control, l.packet)
		switch {
		case errors.Is(err, handoff.ErrAgain):
			return nil
		case errors.Is(err, io.EOF):
			l.log.Info("the primary has ended")
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

// socketLost handles a Client message whose descriptor did not arrive. Only that client is lost.
// The cause is a descriptor limit that was lowered while the worker ran, because the primary gives
// a worker no more clients than it reported slots.
func (l *loop) socketLost(m handoff.Message) {
	l.log.Error("a socket is lost", "error", handoff.ErrNoDescriptor)
	if m.Client != nil {
		l.sendToPrimary(handoff.Message{Closed: &handoff.Closed{
			ID: m.Client.ID, Disconnect: wsproto.InternalError.Name,
			Detail: handoff.ErrNoDescriptor.Error(),
		}})
	}
}

// spareDescriptors is the number of descriptors that are not for clients: those of the loop and of
// the Go runtime, and some to open segments of the frame log with.
const spareDescriptors = 32

// slots returns how many clients there are descriptors for; 0 if that is unknown.
func slots() int {
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
	l.sendToPrimary(handoff.Message{Ready: &handoff.Ready{PID: os.Getpid(), Slots: slots()}})
	return nil
}

// sendToPrimary sends a message to the primary, or queues it if the channel is full.
func (l *loop) sendToPrimary(m handoff.Message) {
	b, err := handoff.Encode(m)
	if err != nil {
		l.failure = err
		return
	}
	l.outbox = append(l.outbox, b)
	l.flushOutbox()
}

// confirm queues c for the next Confirmed message to the primary. Each turn sends one message for
// all pongs that came since the last turn.
func (l *loop) confirm(c *client) {
	if !c.confirming {
		c.confirming = true
		l.confirmed = append(l.confirmed, c)
		l.again()
	}
}

// sendConfirmed reports to the primary what clients have confirmed since the last turn.
func (l *loop) sendConfirmed() {
	var m handoff.Message
	for i, c := range l.confirmed {
		l.confirmed[i] = nil
		c.confirming = false
		if c.fd >= 0 { // else Closed has reported it
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
		if errors.Is(err, io.EOF) { // receive gets the same error, and stops the loop
			l.outbox = nil
			return
		}
		if err != nil { // full: EPOLLOUT follows; if the kernel lacks memory, the next tick tries again
			return
		}
		l.outbox[0] = nil
		l.outbox = l.outbox[1:]
	}
	l.outbox = nil
}
