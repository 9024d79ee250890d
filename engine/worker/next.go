package worker

import (
	"fmt"
	"math"

	"github.com/gobwas/ws"

	"distributor/mmaplog/compressedlog"
	"distributor/wsproto"
)

// stepKind tells where the bytes of a step come from.
type stepKind uint8

const (
	stepNone       stepKind = iota // nothing can be sent until something changes
	stepPending                    // client.pendingOutput
	stepPlain                      // the frame log, from the cursor on
	stepCompressed                 // the compressed log, from the place of the cursor on
)

// step is what one system call offers to a client's socket. Its bytes belong to the log that they
// come from, and are valid until its Frames is called again.
type step struct {
	bytes []byte
	kind  stepKind
	pings bool // loop.gathering has pings to send among the bytes
	whole bool // the bytes end at a frame boundary
	// barrier is the offset of the frame log that data must not pass before next is called again. At
	// that offset a notice or a control frame is due, or later notices are not known yet.
	barrier uint64
}

const noBarrier = math.MaxUint64

// next returns the next step for c. In this order: the rest of pending output; at a frame boundary
// the notice or the control frames that are due, which next composes into c.pendingOutput; else at
// most a slice of data. While a control frame waits for a boundary, the data is the rest of the
// frame. A closing client gets no other data.
//
// next reads the logs and touches no socket. As long as the socket takes nothing, next returns the
// same step.
func (l *loop) next(c *client) (step, error) {
	if len(c.pendingOutput) > 0 {
		return step{kind: stepPending, bytes: c.pendingOutput}, nil
	}
	barrier, notice := uint64(noBarrier), false
	if c.Notices && c.state != closing {
		barrier, notice = l.noticeBarrier(c)
	}
	if c.due != 0 || notice {
		boundary, err := l.boundary(c)
		if err != nil {
			return step{}, err
		}
		if boundary == c.cursor {
			if notice {
				l.composeNotice(c)
			} else {
				l.composeControl(c)
			}
			return step{kind: stepPending, bytes: c.pendingOutput}, nil
		}
		barrier = boundary
	} else if c.state == closing {
		return step{}, nil
	}
	limit := int(min(sliceBytes, barrier-c.cursor))
	if limit == 0 {
		return step{}, nil
	}
	if c.Deflate {
		boundary, err := l.boundary(c)
		if err != nil {
			return step{}, err
		}
		if boundary > c.cursor { // compressed frames begin at the end of this frame
			limit = int(min(uint64(limit), boundary-c.cursor))
		} else if l.compressed.serves(c.cursor) {
			if s, ok := l.nextCompressed(c, limit, barrier); ok {
				return s, nil
			}
		}
	}
	b, err := l.frames.Frames(c.cursor, limit)
	if err != nil || len(b) == 0 {
		return step{}, err
	}
	// What Frames returns ends at a boundary unless one frame fills it.
	s := step{kind: stepPlain, bytes: b, whole: len(b) < limit, barrier: barrier}
	s.pings, err = l.pingsWithin(c, len(b), c.cursor+uint64(len(b)), nil, 0)
	return s, err
}

// nextCompressed is next for a client whose cursor is a frame boundary within the compressed log.
// ok is false if the compressed log turns out not to serve the cursor.
func (l *loop) nextCompressed(c *client, limit int, barrier uint64) (s step, ok bool) {
	r := l.compressed.reader
	if c.cursor >= r.End() {
		return step{}, true // the compressor is about to add it
	}
	s, ok, err := l.readCompressed(c, limit, min(barrier, r.End()))
	if err != nil {
		l.compressedFailed(err)
		return step{}, false
	}
	s.barrier = barrier
	return s, ok
}

// readCompressed returns the compressed frames for c, at most limit bytes of them, and none that
// stand for bytes of the frame log beyond end.
func (l *loop) readCompressed(c *client, limit int, end uint64) (s step, ok bool, err error) {
	r, at := l.compressed.reader, c.compressed.at
	if c.compressed.cursor != c.cursor || c.compressed.reader != r {
		if at, ok, err = r.At(c.cursor); !ok || err != nil {
			return step{}, false, err
		}
	}
	last, ok, err := r.At(end)
	if !ok || err != nil {
		return step{}, false, err
	}
	s.kind = stepCompressed
	if s.bytes, err = r.Frames(at, int(min(uint64(limit), last-at))); err != nil {
		return step{}, false, err
	}
	if s.pings, err = l.pingsWithin(c, len(s.bytes), end, r, at); err != nil {
		return step{}, false, err
	}
	c.compressed = compressedPlace{at: at, cursor: c.cursor, reader: r}
	return s, true, nil
}

// boundary returns the next frame boundary at or after c's cursor.
func (l *loop) boundary(c *client) (uint64, error) {
	if !c.midFrame {
		return c.cursor, nil
	}
	end, err := l.frames.FrameEnd(c.cursor)
	if err != nil {
		return 0, err
	}
	c.midFrame = end > c.cursor
	return end, nil
}

// composeControl puts the control frames that are due into c.pendingOutput.
func (l *loop) composeControl(c *client) {
	if c.due&duePong != 0 {
		c.pendingOutput = wsproto.AppendControl(c.pendingOutput, ws.OpPong, c.pong)
	}
	if c.due&duePing != 0 {
		c.pendingOutput = l.appendPing(c.pendingOutput, c.cursor)
		l.notePing(c, c.cursor, c.written+uint64(len(c.pendingOutput)))
	}
	if c.due&dueClose != 0 {
		c.pendingOutput = wsproto.AppendClose(c.pendingOutput, c.closeCode, c.why.Reason)
	}
	c.due = 0
}

// reach returns the offset up to which c can be sent to now.
func (l *loop) reach(c *client) uint64 {
	if c.Deflate && !c.midFrame && l.compressed.serves(c.cursor) {
		return l.compressed.reader.End()
	}
	return l.head
}

// advance records that c's socket took the first n bytes of s, pings included. Only advance moves a
// cursor. It returns how many bytes of data c was given. These include the rest of a compressed
// frame, which advance puts into c.pendingOutput.
func (l *loop) advance(c *client, s step, n int) (data int, err error) {
	if s.kind == stepPending {
		if c.pendingOutput = c.pendingOutput[n:]; len(c.pendingOutput) == 0 {
			c.pendingOutput = nil
		}
		return 0, nil
	}
	data, atPing := n, false
	if s.pings {
		data, atPing = l.splitTaken(c, n)
	}
	if s.kind == stepCompressed {
		if data == 0 {
			return 0, nil
		}
		data, err = l.advanceCompressed(c, data)
		l.stats.CompressedBytes += uint64(data)
	} else {
		c.cursor += uint64(data)
		c.midFrame = !atPing && c.cursor != s.barrier && (data < len(s.bytes) || !s.whole)
		if c.Deflate {
			l.stats.PlainBytes += uint64(data)
		}
	}
	l.stats.SentBytes += uint64(data)
	l.stats.Sends++
	return data, err
}

// advanceCompressed is advance for n bytes of the compressed log. It leaves c at a frame boundary,
// so that the compressed log may end at any time. The rest of a frame that the socket took in part
// goes to c.pendingOutput, unless the frame log has the same bytes: then the rest comes from there.
func (l *loop) advanceCompressed(c *client, n int) (data int, err error) {
	r, at := c.compressed.reader, c.compressed.at+uint64(n)
	p, err := r.Given(at)
	rest := int(p.At - at)
	switch {
	case err != nil || rest == 0:
	case p.Kind == compressedlog.Same:
		c.cursor, c.midFrame = p.End-uint64(rest), true
		return n, nil
	default:
		c.pendingOutput, err = r.AppendGiven(c.pendingOutput, at, rest)
	}
	if err != nil {
		// The place of c in the stream is unknown. When c reconnects, it begins at what it confirmed.
		c.midFrame = true
		return n, fmt.Errorf("worker: a place in the compressed log: %v", err)
	}
	c.cursor = p.End
	c.compressed = compressedPlace{at: p.At, cursor: p.End, reader: r}
	return n + rest, nil
}
