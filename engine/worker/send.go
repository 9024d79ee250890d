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
	// sliceBytes is the most data given to one client in one turn, and in one
	// system call: measured best between 128 KiB and 512 KiB.
	sliceBytes = 256 << 10
	// turnBudget is how many bytes one turn gives to the clients behind, about
	// a millisecond's work: the delay that they can add to the live ones.
	turnBudget = 2 << 20
	// serveCost is what serving a client costs beside its bytes, in bytes.
	serveCost = 4 << 10
)

// serve gives c what is due, at most one slice of data, and puts c where its new state belongs. It
// returns the number of data bytes sent.
func (l *loop) serve(c *client) int {
	if c.gone {
		return 0
	}
	n, err := l.feed(c)
	switch {
	case err == nil:
	case errors.Is(err, errGone):
		c.gone = true
		l.read(c) // what c confirmed before its end counts; then c is dropped
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

// closeSent goes on after our close frame. If the client has sent its own, the client parts. If the
// client broke the protocol, its close frame cannot be recognized: our side is shut down, and what
// the client still sends is read and thrown away.
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

// lost ends a client whose next bytes cannot be read any more. Inside a frame no close frame can be
// sent.
func (l *loop) lost(c *client, why wsproto.Disconnect, err error) {
	if c.midFrame || c.state == closing {
		l.drop(c, why, err.Error())
		return
	}
	l.disconnect(c, why, err.Error())
}

var (
	// errGone says that the connection is no more.
	errGone = errors.New("worker: connection ended")
	// errBehindFloor and errStalled are the details of two disconnects.
	errBehindFloor = errors.New("worker: the oldest frame kept is beyond the client's cursor")
	errStalled     = errors.New("worker: the peer acknowledged nothing for the ping timeout")
)

// feed sends what next says until c has been given a slice of data, nothing more is due, or the
// socket takes no more. It returns the number of data bytes sent.
func (l *loop) feed(c *client) (sent int, err error) {
	for !c.sendBlocked {
		s, err := l.next(c)
		if err != nil || s.kind == stepNone {
			return sent, err
		}
		n, err := l.send(c, s)
		if err != nil {
			if s.kind == stepCompressed && !errors.Is(err, errGone) { // EFAULT
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

// send offers the bytes of s, and the pings among them, to c's socket by one system call. It returns
// how many bytes the socket took. If the socket takes no more, c.sendBlocked is set, and an EPOLLOUT
// edge follows.
//
// The scheduler does not know of the system call: the socket never blocks, and telling the scheduler
// would cost a quarter of a small send.
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

// sendGathered sends b with the pings of l.gathering among it.
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

// sent notes what a send of size bytes to c has come to.
func (l *loop) sent(c *client, n, size int, errno syscall.Errno) (int, error) {
	switch errno {
	case 0:
		// A send also takes less where the frame log's file was cut under the
		// mapping. The next one begins there, and gets EFAULT.
		c.sendBlocked = n < size && !writable(c.fd)
		c.written += uint64(n)
		c.progress = l.now
		return n, nil
	case syscall.EAGAIN:
		c.sendBlocked = true
		return 0, nil
	case syscall.EPIPE, syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.ECONNABORTED,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN,
		// What the kernel makes of the ICMP messages that it was sent before it gave up.
		syscall.ECONNREFUSED, syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EMSGSIZE,
		syscall.EOPNOTSUPP, syscall.EHOSTDOWN, syscall.ENONET, syscall.EACCES:
		return 0, errGone
	default:
		// EFAULT: the frame log's file was cut under the mapping.
		return 0, errno
	}
}

// writable tells whether a socket takes more now. If it does not, the kernel notes
// that somebody waits, and an EPOLLOUT edge follows.
func writable(fd int) bool {
	ask := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(ask[:], 0)
	return err == nil && n > 0 // EINTR: the kernel had no answer
}
