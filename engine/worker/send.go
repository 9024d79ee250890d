package worker

import (
	"errors"
	"syscall"
	"unsafe"

	"github.com/gobwas/ws"
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

// serve gives c what is due, at most one slice of data, and puts it where it
// then belongs. It returns the number of data bytes sent.
func (l *loop) serve(c *client) int {
	if c.gone {
		return 0
	}
	n, err := l.feed(c)
	switch {
	case err == nil:
	case errors.Is(err, errGone):
		c.gone = true
		l.read(c) // what it had confirmed before it went counts; then it is dropped
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
	case c.state == closing && c.due == 0 && len(c.out) == 0:
		l.closeSent(c)
	case c.state == closing:
		if !c.full {
			l.queue(c) // more than a slice of its last frame is left
		}
	case c.full:
		l.place(c, blocked)
	case c.cursor < l.reach(c):
		l.place(c, behind)
	default:
		l.place(c, live)
	}
	return n
}

// closeSent goes on after our close frame: the client parts, if it has sent its
// own. Of one whose input we no longer understand that cannot be told, so it is
// shown the end of our side; what it still sends is read and thrown away.
func (l *loop) closeSent(c *client) {
	if c.parted {
		return
	}
	if c.finish {
		l.part(c)
	} else if c.deaf {
		_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	}
}

// lost ends a client whose next bytes are not to be had. Inside a frame no
// close frame can be sent any more.
func (l *loop) lost(c *client, why wsproto.Disconnect, err error) {
	if c.inside || c.state == closing {
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

// feed gives the kernel what is due to c in the order that the protocol asks
// for: what was begun, control frames at a boundary, then one slice of data. When
// the frame that is under way is longer than a slice, that is all.
// It stops early when the socket is full (c.full).
func (l *loop) feed(c *client) (sent int, err error) {
	for !c.full {
		if len(c.out) > 0 {
			n, err := l.send(c, c.out)
			if err != nil {
				return sent, err
			}
			if c.out = c.out[n:]; len(c.out) == 0 {
				c.out = nil
			}
			continue
		}
		room, notice := l.nextNotice(c)
		limit := min(sliceBytes, room)
		if c.due != 0 || notice {
			rest, err := l.restOfFrame(c)
			if err != nil {
				return sent, err
			}
			if rest == 0 && notice {
				l.composeNotice(c)
				continue
			}
			if rest == 0 {
				l.composeControl(c)
				continue
			}
			limit = min(rest, sliceBytes)
		} else if c.state == closing {
			return sent, nil
		}
		if limit == 0 {
			return sent, nil
		}
		from := c.cursor
		n, err := l.sendData(c, int(limit), room)
		sent += n
		if err == nil && room == c.cursor-from && n < sliceBytes { // all up to a notice, or to the head: look again
			c.inside = false
			continue
		}
		if err != nil || len(c.out) == 0 && (c.due == 0 || n >= sliceBytes) {
			return sent, err
		}
	}
	return sent, nil
}

// restOfFrame is how many bytes c still has to get of the frame in which its
// cursor stands; 0 at a boundary.
func (l *loop) restOfFrame(c *client) (uint64, error) {
	if !c.inside {
		return 0, nil
	}
	end, err := l.frames.FrameEnd(c.cursor)
	if err != nil {
		return 0, err
	}
	c.inside = end > c.cursor
	return end - c.cursor, nil
}

// sendData sends up to limit bytes from c's cursor, or what the twin has in
// their place: that may stand for more than limit bytes, for up to room.
func (l *loop) sendData(c *client, limit int, room uint64) (int, error) {
	if c.deflate {
		rest, err := l.restOfFrame(c)
		if err != nil {
			return 0, err
		}
		if rest > 0 {
			limit = int(min(rest, uint64(limit)))
		} else if l.twin.serves(c.cursor) {
			if n, used, err := l.sendTwin(c, limit, room); used {
				if n > 0 {
					l.stats.TwinBytes += uint64(n)
					l.stats.SentBytes += uint64(n)
					l.stats.Sends++
				}
				return n, err
			}
		}
	}
	b, err := l.frames.Frames(c.cursor, limit)
	if err != nil || len(b) == 0 {
		return 0, err
	}
	n, pinged, err := l.sendPinging(c, b, c.cursor+uint64(len(b)), nil, 0)
	if err != nil {
		return 0, err
	}
	c.cursor += uint64(n)
	// What Frames gives ends at a boundary unless one frame fills it.
	c.inside = !pinged && (n < len(b) || len(b) == limit)
	l.stats.SentBytes += uint64(n)
	l.stats.Sends++
	if c.deflate {
		l.stats.PlainBytes += uint64(n)
	}
	return n, nil
}

// composeControl puts the control frames that are due into c.out.
func (l *loop) composeControl(c *client) {
	if c.due&duePong != 0 {
		c.out = wsproto.AppendControl(c.out, ws.OpPong, c.pong)
	}
	if c.due&duePing != 0 {
		c.out = l.appendPing(c.out, c.cursor)
		l.notePing(c, c.cursor, c.written+uint64(len(c.out)))
	}
	if c.due&dueClose != 0 {
		c.out = wsproto.AppendClose(c.out, c.closeCode, c.why.Reason)
	}
	c.due = 0
}

// send is send(2), without the scheduler's knowledge: the socket never blocks,
// and telling the scheduler would cost a quarter of a small send. If the socket
// takes no more, c.full is set: an EPOLLOUT edge follows.
func (l *loop) send(c *client, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(c.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), sendFlags, 0, 0)
		if errno != syscall.EINTR {
			return l.sent(c, int(n), len(b), errno)
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
		c.full = n < size && !writable(c.fd)
		c.written += uint64(n)
		c.progress = l.now
		return n, nil
	case syscall.EAGAIN:
		c.full = true
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
	return err == nil && n > 0 // EINTR: there was nothing to tell
}
