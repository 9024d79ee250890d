package worker

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"distributor/wsproto"
)

const (
	// readsAtOnce bounds how many reads one event causes. The rest is read in later turns, so that a
	// client that floods does not delay the others.
	readsAtOnce = 8
	// readBudget is how many bytes one turn reads from the clients in loop.unread.
	readBudget = 1 << 20
)

// watch has the poller report input and, after the socket was full, EPOLLOUT.
func (l *loop) watch(fd int) error {
	return l.poller.AddReadWrite(&netpoll.PollAttachment{FD: fd}, true)
}

// clientEvent handles an event of a client's socket. The event may belong to an earlier connection
// with the same descriptor, so an error counts only when reading finds it.
func (l *loop) clientEvent(c *client, ev netpoll.IOEvent) {
	if ev&unix.EPOLLOUT != 0 && c.sendBlocked {
		c.sendBlocked = false
		if c.state == closing {
			l.serve(c)
		} else {
			l.place(c, behind)
		}
	}
	if c.fd >= 0 && ev&^unix.EPOLLOUT != 0 {
		c.untilEmpty = ev&^(unix.EPOLLIN|unix.EPOLLOUT) != 0
		l.read(c)
	}
}

// readRest continues to read from the clients in l.unread.
func (l *loop) readRest() {
	for budget := readBudget; budget > 0 && !l.unread.empty(); {
		c := l.unread.pop()
		c.unread = false
		if c.fd >= 0 {
			budget -= l.read(c) + serveCost
		}
	}
}

// read reads and handles a client's input, and returns its size in bytes. The poller reports input
// once, so read ends only when there is no more, or with c in l.unread. A short read means that
// there is no more, with two exceptions. If the poller reported more than data, the peer's end may
// follow the data, or urgent data may divide it. After a send that found the connection ended, the
// end follows the data. In both cases read goes on until the kernel returns EAGAIN or the end.
func (l *loop) read(c *client) (total int) {
	for range readsAtOnce {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(c.fd),
			uintptr(unsafe.Pointer(&l.input[0])), uintptr(len(l.input)), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN && !c.gone:
			return total
		case errno == 0 && n == 0 && c.finish && !c.parted && !c.gone:
			c.ended = true // it may still read, and our close frame is on its way
			return total
		case errno != 0 || n == 0:
			l.drop(c, wsproto.ClientGone, "")
			return total
		}
		total += int(n)
		l.parse(c, l.input[:n])
		if c.fd < 0 || int(n) < len(l.input) && !c.untilEmpty && !c.gone {
			return total
		}
	}
	if !c.unread {
		c.unread = true
		l.unread.push(c)
		l.again()
	}
	return total
}

// parse handles input, and sends the answers. A client that is behind gets them in its turn,
// because otherwise each of its pings would bring it a slice of data.
func (l *loop) parse(c *client, p []byte) {
	c.unanswered = time.Time{}
	if c.inputClosed || c.finish {
		return
	}
	// p is parsed before the limit applies: a broken rule is the more useful reason of the two.
	allowed := c.allow(len(p), l.settings.InputBytes, l.settings.InputRate, l.now)
	l.receiver.c = c
	if err := c.reader.Feed(p, &l.receiver); err != nil {
		c.inputClosed = true
		why := wsproto.ProtocolError
		_ = errors.As(err, &why)
		l.disconnect(c, why, err.Error())
		return
	}
	if !allowed && !c.finish {
		c.inputClosed = true
		l.disconnect(c, wsproto.TooMuchData, "")
		return
	}
	if c.finish || c.due != 0 && c.state != behind {
		l.serve(c)
	}
}

// allow takes n bytes off what c may send, and tells whether they were allowed. A collector has
// nothing to send, so burst bytes at once and rate bytes a second are accepted and ignored. The
// answers to our own pings are accepted besides.
func (c *client) allow(n, burst, rate int, now time.Time) bool {
	if more := int(now.Sub(c.refilled).Seconds() * float64(rate)); more > 0 {
		c.allowance, c.refilled = min(burst, c.allowance+more), now
	}
	answers := min(n, c.pongBytes)
	c.pongBytes -= answers
	c.allowance -= n - answers
	return c.allowance >= 0
}

// receiver is the wsproto.Handler for the client whose input is being parsed.
type receiver struct {
	l *loop
	c *client
}

func (r *receiver) Ping(payload []byte) error {
	if r.c.state != closing {
		r.c.pong = append(r.c.pong[:0], payload...)
		r.c.due |= duePong
	}
	return nil
}

// Pong takes an echoed position as confirmation that the client has read everything before it. Any
// other payload is ignored: it is no error (RFC 6455 §5.5.3).
func (r *receiver) Pong(payload []byte) error {
	p, err := wsproto.ParsePosition(payload)
	if err == nil && p.Log == r.l.frames.ID() && p.Offset <= r.c.cursor && p.Offset >= r.c.acked {
		if p.Offset > r.c.acked {
			r.c.progress = r.l.now
		}
		r.c.acked = p.Offset
		r.l.confirm(r.c)
	}
	return nil
}

// Close answers the client's close frame, or takes it as the answer to ours.
func (r *receiver) Close(code uint16, reason []byte) error {
	c := r.c
	c.finish = true
	if c.state == closing {
		if c.answersClose(code) {
			c.acked = c.cursor
			r.l.confirm(c)
		}
		return nil
	}
	r.l.beginClose(c, wsproto.ClientClosed, fmt.Sprintf("%d %s", code, reason), code)
	return nil
}

// answersClose tells whether a client's close frame, with code, confirms everything that was sent
// before ours. It answers ours if ours was sent and the codes are equal. They can be equal by
// chance when both sides close at once. So for a client that answers pings only its pongs count.
func (c *client) answersClose(code uint16) bool {
	return c.due&dueClose == 0 && len(c.pendingOutput) == 0 && code == c.closeCode &&
		c.why.Code != 0 && c.acked == 0
}

func (r *receiver) Data(_ int, end bool) error {
	if end {
		r.c.messages++
	}
	return nil
}
