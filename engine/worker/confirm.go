package worker

import (
	"unsafe"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/mmaplog/compressedlog"
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

// gathering is the pings that one system call sends among data. It is scratch of the loop, for the
// step at hand.
type gathering struct {
	at     []uint64 // position of each ping
	before []int    // bytes of the data before it
	ends   []int    // of each ping in pings
	pings  []byte   // all of them
	iov    []unix.Iovec
	header unix.Msghdr
}

// pingsWithin composes into l.gathering the pings that are due within the next size bytes of c's
// data, and tells whether there are any. The data stands for the frame log up to end at the most. It
// is of the frame log, or of the compressed log r from at on.
func (l *loop) pingsWithin(
	c *client, size int, end uint64, r *compressedlog.Reader, at uint64,
) (bool, error) {
	next := max(c.cursor, c.pinged+c.pingDistance(c.pinged))
	if next >= end || c.state == closing {
		return false, nil
	}
	g := &l.gathering
	g.at, g.before, g.ends, g.pings = g.at[:0], g.before[:0], g.ends[:0], g.pings[:0]
	for next < end {
		boundary, err := l.frames.FrameEnd(next)
		if err != nil {
			return false, err
		}
		before, ok := boundary-c.cursor, true
		if r != nil && boundary < end {
			var in uint64
			if in, ok, err = r.At(boundary); err != nil {
				return false, err
			}
			before = in - at
		}
		if !ok || boundary >= end || before >= uint64(size) {
			break
		}
		g.at, g.before = append(g.at, boundary), append(g.before, int(before))
		g.pings = l.appendPing(g.pings, boundary)
		g.ends = append(g.ends, len(g.pings))
		next = boundary + c.pingDistance(boundary)
	}
	return len(g.at) > 0, nil
}

// message returns the header for sendmsg(2) of b with the pings among it. It is valid until g is
// used again.
func (g *gathering) message(b []byte) *unix.Msghdr {
	g.iov = g.iov[:0]
	from, begin := 0, 0
	for i, before := range g.before {
		g.add(b[from:before])
		g.add(g.pings[begin:g.ends[i]])
		from, begin = before, g.ends[i]
	}
	g.add(b[from:])
	g.header = unix.Msghdr{Iov: &g.iov[0]}
	g.header.SetIovlen(len(g.iov))
	return &g.header
}

func (g *gathering) add(b []byte) {
	if len(b) > 0 {
		v := unix.Iovec{Base: unsafe.SliceData(b)}
		v.SetLen(len(b))
		g.iov = append(g.iov, v)
	}
}

// splitTaken splits the n bytes that c's socket took of data and pings. It notes the pings that went
// out, puts the rest of one that went out in part into c.pendingOutput, and returns how many bytes
// were data, and whether a ping was the last of the n.
func (l *loop) splitTaken(c *client, n int) (data int, atPing bool) {
	g := &l.gathering
	start, begin := c.written-uint64(n), 0
	for i, before := range g.before {
		if n <= before+begin {
			break
		}
		end := before + g.ends[i]
		l.notePing(c, g.at[i], start+uint64(end))
		if n <= end {
			c.pendingOutput = append(c.pendingOutput, g.pings[g.ends[i]-(end-n):g.ends[i]]...)
			return before, true
		}
		begin = g.ends[i]
	}
	return n - begin, false
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
