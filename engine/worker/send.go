package worker

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"distributor/mmaplog/framelog"
	"distributor/wsproto"
)

const (
	// sliceBytes is the most data that one client is given in one turn and in one system call.
	// Measured: the best value is between 128 KiB and 512 KiB.
	sliceBytes = 256 << 10
	// turnBudget is how many bytes one turn gives to the clients that are behind: about a
	// millisecond's work, which is the delay that they can cause for the live ones.
	turnBudget = 2 << 20
	// serveCost is the fixed cost of serving a client, in bytes.
	serveCost = 4 << 10
)

// serve gives c what is due, at most one slice of data, and sets its new state. It returns the
// number of data bytes sent.
func (l *loop) serve(c *client) int {
	if c.gone {
		return 0
	}
	n, err := l.feed(c)
	switch {
	case err == nil:
	case errors.Is(err, errGone):
		c.gone = true
		l.read(c) // counts what c confirmed before the end, then drops c
		return n
	case errors.Is(err, framelog.ErrBelowFloor):
		l.lost(c, wsproto.BehindFloor, err)
		return n
	default:
		l.log.Error("cannot send", "client", c.key, "cursor", c.cursor, "error", err)
		l.lost(c, wsproto.InternalError, err)
		return n
	}
	switch {
	case c.state == closing && c.due == 0 && len(c.pendingOutput) == 0:
		l.closeSent(c)
	case c.state == closing:
		if !c.sendBlocked {
			l.queue(c) // more than a slice of its last frame is left
		}
	case c.sendBlocked:
		l.place(c, blocked)
	case c.cursor < l.reach(c):
		l.place(c, behind)
	default:
		l.place(c, live)
	}
	return n
}

// closeSent continues after our close frame was sent. If the client has sent its own, the worker
// parts from it. If the client broke the protocol, its close frame cannot be recognized. Then our
// side is shut down, and input is read and discarded.
func (l *loop) closeSent(c *client) {
	if c.parted {
		return
	}
	if c.finish {
		l.part(c)
	} else if c.inputClosed {
		_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	}
}

// lost disconnects a client whose next bytes cannot be read any more. Inside a frame no close frame
// can be sent, so the connection is dropped.
func (l *loop) lost(c *client, why wsproto.Disconnect, err error) {
	if c.midFrame || c.state == closing {
		l.drop(c, why, err.Error())
		return
	}
	l.disconnect(c, why, err.Error())
}

var (
	// errGone means that the connection has ended.
	errGone = errors.New("worker: connection ended")
	// errBehindFloor and errStalled are the details of two disconnects.
	errBehindFloor = errors.New("worker: the oldest frame kept is beyond the client's cursor")
	errStalled     = errors.New("worker: the peer acknowledged nothing for the ping timeout")
)

// feed sends the steps of next until c has been given a slice of data, nothing more is due, or the
// socket takes no more. It returns the number of data bytes sent.
func (l *loop) feed(c *client) (sent int, err error) {
	for !c.sendBlocked {
		s, err := l.next(c)
		if err != nil || s.kind == stepNone {
			return sent, err
		}
		n, err := l.send(c, s)
		if err != nil {
			if s.kind == stepCompressed && !errors.Is(err, errGone) { // EFAULT: its file was cut
				l.compressedFailed(err)
				continue
			}
			return sent, err
		}
		data, err := l.advance(c, s, n)
		sent += data
		if err != nil {
			return sent, err
		}
		more := len(c.pendingOutput) > 0 || c.cursor == s.barrier && data < sliceBytes
		if s.kind != stepPending && !more {
			return sent, nil
		}
	}
	return sent, nil
}

// send offers the bytes of s, and the pings among them, to c's socket by one system call. It
// returns how many bytes the socket took. If the socket takes no more, send sets c.sendBlocked, and
// an EPOLLOUT edge follows.
//
// The system call is a raw one, unknown to the Go scheduler: the socket never blocks, and an
// ordinary call would add a quarter to the cost of a small send.
func (l *loop) send(c *client, s step) (int, error) {
	if s.pings {
		return l.sendGathered(c, s.bytes)
	}
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(c.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(s.bytes))), uintptr(len(s.bytes)), sendFlags, 0, 0)
		if errno != syscall.EINTR {
			return l.sent(c, int(n), len(s.bytes), errno)
		}
	}
}

// sendGathered sends b with the pings of l.gathering in their places.
func (l *loop) sendGathered(c *client, b []byte) (int, error) {
	header := l.gathering.message(b)
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(c.fd),
			uintptr(unsafe.Pointer(header)), sendFlags)
		if errno != syscall.EINTR {
			return l.sent(c, int(n), len(b)+len(l.gathering.pings), errno)
		}
	}
}

const sendFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// sent handles the result of a send of size bytes to c: n bytes taken, or errno.
func (l *loop) sent(c *client, n, size int, errno syscall.Errno) (int, error) {
	switch errno {
	case 0:
		// A send also takes less if the frame log's file was cut while it is mapped. The next send
		// begins there, and fails with EFAULT.
		c.sendBlocked = n < size && !writable(c.fd)
		c.written += uint64(n)
		c.progress = l.now
		return n, nil
	case syscall.EAGAIN:
		c.sendBlocked = true
		return 0, nil
	case syscall.EPIPE, syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.ECONNABORTED,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN,
		// Errors that the kernel reports for ICMP messages that it got before it gave up.
		syscall.ECONNREFUSED, syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EMSGSIZE,
		syscall.EOPNOTSUPP, syscall.EHOSTDOWN, syscall.ENONET, syscall.EACCES:
		return 0, errGone
	default:
		// EFAULT: the frame log's file was cut while it is mapped.
		return 0, errno
	}
}

// writable tells whether a socket takes more now. If not, this call makes the kernel report an
// EPOLLOUT edge later.
func writable(fd int) bool {
	ask := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(ask[:], 0)
	return err == nil && n > 0 // EINTR counts as not writable
}
