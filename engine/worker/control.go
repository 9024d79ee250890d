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

// draining is the end of a worker on request.
type draining struct {
	head     uint64 // clients that have reached it are closed
	deadline time.Time
	why      wsproto.Disconnect
}

// receive handles what the primary has sent, a batch at a time.
func (l *loop) receive() error {
	l.controlPending = false
	for range controlBatch {
		m, fd, err := handoff.Receive(l.control, l.packet)
		switch {
		case errors.Is(err, handoff.ErrAgain):
			return nil
		case err == io.EOF:
			l.log.Info("the primary has gone")
			return gnet.ErrEngineShutdown
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
		l.drain = &draining{m.Drain.Head, l.now.Add(time.Duration(m.Drain.WithinMS) * time.Millisecond), named(m.Drain.Disconnect)}
		l.endDrained()
	}
	return nil
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
		s.FrameLog = l.settings.FrameLog
	}
	l.settings = s
	l.followTwin(s.Twin)
	if !first {
		return nil
	}
	frames, err := framelog.OpenReader(s.FrameLog)
	if err != nil {
		return fmt.Errorf("worker: open the frame log: %w", err)
	}
	l.frames, l.head, l.moved = frames, frames.Head(), l.now
	l.tell(handoff.Message{Ready: &handoff.Ready{PID: os.Getpid()}})
	return nil
}

// endDrained closes the clients of a draining worker that have all they are to
// get, or whose time is up.
func (l *loop) endDrained() {
	for i := len(l.clients) - 1; i >= 0; i-- {
		if c := l.clients[i]; c.state != closing && (c.cursor >= l.drain.head || !l.now.Before(l.drain.deadline)) {
			l.disconnect(c, l.drain.why, "")
		}
	}
}

// tell sends a message to the primary, later if the channel is full now.
func (l *loop) tell(m handoff.Message) {
	b, err := handoff.Encode(m)
	if err != nil {
		l.failure = err
		return
	}
	l.outbox = append(l.outbox, b)
	l.flushOutbox()
}

// confirm has the primary told what c has confirmed: at once, as far as that
// can be one message for all pongs that came together.
func (l *loop) confirm(c *client) {
	if !c.confirming {
		c.confirming = true
		l.confirmed = append(l.confirmed, c)
		l.again()
	}
}

func (l *loop) tellConfirmed() {
	var m handoff.Message
	for i, c := range l.confirmed {
		l.confirmed[i] = nil
		c.confirming = false
		if c.fd >= 0 { // else Closed has told
			m.Confirmed = append(m.Confirmed, handoff.Confirmed{ID: c.id, Offset: c.acked})
		}
		if len(m.Confirmed) == handoff.MaxConfirmed {
			l.tell(m)
			m.Confirmed = nil
		}
	}
	l.confirmed = l.confirmed[:0]
	if len(m.Confirmed) > 0 {
		l.tell(m)
	}
}

func (l *loop) flushOutbox() {
	for len(l.outbox) > 0 {
		err := handoff.Send(l.control, l.outbox[0])
		if errors.Is(err, handoff.ErrAgain) {
			return
		}
		if err != nil { // the end of the channel is met, and told, by receive
			l.outbox = nil
			return
		}
		l.outbox[0] = nil
		l.outbox = l.outbox[1:]
	}
	l.outbox = nil
}
