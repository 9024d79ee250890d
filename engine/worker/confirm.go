package worker

import (
	"unsafe"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"distributor/mmaplog/compressedlog"
	"distributor/wsproto"
)

const (
	// confirmBytes is the largest distance between two pings.
	confirmBytes = 1 << 20
	// confirmShare divides the bytes that a connection has brought; the result is the distance to
	// the next ping.
	confirmShare = 16
	// leastConfirm is the smallest distance between two pings.
	leastConfirm = 8 << 10
	// maxPongBytes is the size of the longest pong to a ping of ours.
	maxPongBytes = 2 + 4 + wsproto.MaxTokenSize
)

// pingDistance returns how many bytes of the frame log a client gets between a ping at offset and
// the next one.
//
// A client that is cut off gets again what it has not confirmed. A socket takes at once what a slow
// client reads for many seconds, so pings are sent among the data, by its bytes. The client's read
// rate is not known. So the distance grows with what the connection has brought: whenever it is
// cut, the client has confirmed all that it has read except about a confirmShare-th.
func (c *client) pingDistance(offset uint64) uint64 {
	return min(confirmBytes, max(leastConfirm, (offset-c.from)/confirmShare))
}

// gathering holds the pings that one system call sends among data. It is scratch space of the loop,
// valid for the current step.
type gathering struct {
	at     []uint64 // position that each ping says
	before []int    // bytes of data before each ping
	ends   []int    // end of each ping in pings
	pings  []byte   // the frames of all pings
	iov    []unix.Iovec
	header unix.Msghdr
}

// pingsWithin composes into l.gathering the pings that are due within the next size bytes of c's
// data, and tells whether there are any. The data comes from the compressed log r, from its offset
// at on, or from the frame log if r is nil. It stands for bytes of the frame log up to end at most.
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

// message returns the header for a sendmsg(2) of b with the pings in their places. It is valid
// until g is used again.
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

// splitTaken splits the n bytes of data and pings that c's socket took. It records the pings that
// were sent, and puts the rest of a ping that was sent in part into c.pendingOutput. It returns how
// many of the n bytes were data, and whether they ended with a ping.
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

// appendPing appends a ping whose payload is the position offset.
func (l *loop) appendPing(dst []byte, offset uint64) []byte {
	var token [wsproto.MaxTokenSize]byte
	p := wsproto.Position{Log: l.frames.ID(), Offset: offset}
	return wsproto.AppendControl(dst, ws.OpPing, p.AppendTo(token[:0]))
}

// notePing records a ping that says offset. end is the value of c.written at the end of the ping.
func (l *loop) notePing(c *client, offset, end uint64) {
	c.pinged, c.pingAt = offset, l.now
	if c.unanswered.IsZero() {
		c.unanswered, c.pingEnd = l.now, end
	}
	c.pongBytes = min(c.pongBytes+maxPongBytes, l.settings.InputBytes)
	l.stats.Pings++
}
