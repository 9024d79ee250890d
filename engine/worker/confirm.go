package worker

import (
	"syscall"
	"unsafe"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/mmaplog/twin"
	"distributor/wsproto"
)

const (
	// confirmBytes is the most that a client gets between two pings.
	confirmBytes = 1 << 20
	// confirmShare divides what a connection has brought into the distance of the
	// next ping.
	confirmShare = 16
	// leastConfirm is the least distance between two pings.
	leastConfirm = 8 << 10
	// maxPongBytes is the size of the longest pong to a ping of ours.
	maxPongBytes = 2 + 4 + wsproto.MaxTokenSize
)

// pingDistance is how many bytes of the frame log a client gets between a ping
// at offset and the next one.
//
// A client that is cut off gets again what it has not confirmed. A socket takes
// at once what a slow client reads for many seconds, so pings stand among the data,
// by its bytes. How fast the client reads is not known. So the distance grows with
// what the connection has brought: whenever it is cut, the client has confirmed all
// that it has read but for about a confirmShare-th.
func (c *client) pingDistance(offset uint64) uint64 {
	return min(confirmBytes, max(leastConfirm, (offset-c.from)/confirmShare))
}

// gathering is what one system call sends: data with pings in it.
type gathering struct {
	at     []uint64 // position of each ping
	behind []int    // bytes of the data before it
	pings  []byte   // all of them
	ends   []int    // of each ping in pings
	iov    []unix.Iovec
	header unix.Msghdr
}

// sendPinging sends b, which is c's data up to end at the most, and the pings that
// are due within, by one system call. The data is of the frame log, or of the twin
// r from at on. It returns how much of b was sent, and whether a ping was sent,
// in part at least, behind that.
func (l *loop) sendPinging(
	c *client, b []byte, end uint64, r *twin.Reader, at uint64,
) (int, bool, error) {
	next := max(c.cursor, c.pinged+c.pingDistance(c.pinged))
	if next >= end || c.state == closing {
		n, err := l.send(c, b)
		return n, false, err
	}
	g := &l.gathering
	g.at, g.behind = g.at[:0], g.behind[:0]
	for next < end {
		boundary, err := l.frames.FrameEnd(next)
		if err != nil {
			return 0, false, err
		}
		before, ok := boundary-c.cursor, true
		if r != nil && boundary < end {
			var in uint64
			if in, ok, err = r.At(boundary); err != nil {
				return 0, false, err
			}
			before = in - at
		}
		if !ok || boundary >= end || before >= uint64(len(b)) {
			break
		}
		g.at, g.behind = append(g.at, boundary), append(g.behind, int(before))
		next = boundary + c.pingDistance(boundary)
	}
	if len(g.at) == 0 {
		n, err := l.send(c, b)
		return n, false, err
	}
	return l.sendGathered(c, b)
}

// sendGathered sends b with the pings that l.gathering says.
func (l *loop) sendGathered(c *client, b []byte) (n int, pinged bool, err error) {
	g := &l.gathering
	g.pings, g.ends = g.pings[:0], g.ends[:0]
	for _, at := range g.at {
		g.pings = l.appendPing(g.pings, at)
		g.ends = append(g.ends, len(g.pings))
	}
	g.iov = g.iov[:0]
	from, begin := 0, 0
	for i, before := range g.behind {
		g.add(b[from:before])
		g.add(g.pings[begin:g.ends[i]])
		from, begin = before, g.ends[i]
	}
	g.add(b[from:])
	start := c.written
	sent, err := l.sendVector(c, len(b)+len(g.pings))
	if err != nil {
		return 0, false, err
	}
	from, begin = 0, 0
	for i, before := range g.behind {
		if sent <= before+begin {
			return sent - begin, false, nil
		}
		pingEnd := before + g.ends[i]
		l.notePing(c, g.at[i], start+uint64(pingEnd))
		if sent < pingEnd {
			c.out = append(c.out, g.pings[g.ends[i]-(pingEnd-sent):g.ends[i]]...)
			return before, true, nil
		}
		begin = g.ends[i]
		if sent == pingEnd {
			return before, true, nil
		}
	}
	return sent - begin, false, nil
}

// sendVector is send for l.gathering, of size bytes.
func (l *loop) sendVector(c *client, size int) (int, error) {
	g := &l.gathering
	g.header = unix.Msghdr{Iov: &g.iov[0]}
	g.header.SetIovlen(len(g.iov))
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(c.fd),
			uintptr(unsafe.Pointer(&g.header)), sendFlags)
		if errno != syscall.EINTR {
			return l.sent(c, int(n), size, errno)
		}
	}
}

func (g *gathering) add(b []byte) {
	if len(b) > 0 {
		v := unix.Iovec{Base: unsafe.SliceData(b)}
		v.SetLen(len(b))
		g.iov = append(g.iov, v)
	}
}

// appendPing appends a ping that says offset.
func (l *loop) appendPing(dst []byte, offset uint64) []byte {
	var token [wsproto.MaxTokenSize]byte
	p := wsproto.Position{Log: l.frames.ID(), Offset: offset}
	return wsproto.AppendControl(dst, ws.OpPing, p.AppendTo(token[:0]))
}

// notePing is for a ping that says offset and ends where c.written will be end.
func (l *loop) notePing(c *client, offset, end uint64) {
	c.pinged, c.pingAt = offset, l.now
	if c.unanswered.IsZero() {
		c.unanswered, c.pingEnd = l.now, end
	}
	c.pongBytes = min(c.pongBytes+maxPongBytes, l.settings.InputBytes)
	l.stats.Pings++
}
