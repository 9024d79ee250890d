package worker

import (
	"context"
	"log/slog"
	"time"

	"distributor/engine/handoff"
	"distributor/wsproto"
)

// closeWait is how long a client has to take our close frame and answer it. Tests have other times.
var closeWait = 2 * time.Second

// state says where a client stands; see the package's doc.
type state uint8

const (
	live state = iota
	behind
	blocked
	closing
)

// due is a set of control frames that wait for a frame boundary.
type due uint8

const (
	duePing due = 1 << iota
	duePong
	dueClose
)

// client is one connection: all that the worker keeps of it.
type client struct {
	id  uint64
	key string
	fd  int
	at  int // index in loop.clients

	// What decides about the next send is in one cache line, up to pendingOutput.
	from        uint64 // cursor when the connection began
	cursor      uint64 // offset of the first byte of the frame log not yet given to the kernel
	state       state
	sendBlocked bool // the socket takes no more, until EPOLLOUT
	midFrame    bool // cursor may stand inside a frame
	handoff.Negotiated
	due    due  // control frames to send at the next boundary
	queued bool // in loop.behind
	// pendingOutput is the rest of what was begun: of the 101, of control frames, of a notice,
	// of a compressed frame. It goes before all else.
	pendingOutput []byte
	compressed    compressedPlace
	nextNotice    uint64 // number of the first notice that the client may still get
	liveAt        int    // index in loop.live or loop.waiting, when live

	reader     wsproto.Reader
	untilEmpty bool // a short read is not the end of its input: see read
	unread     bool // in loop.unread
	// inputClosed says that the client broke the protocol: what it sends is thrown away.
	inputClosed bool
	pong        []byte // payload of the pong that is due
	messages    uint64 // data frames received, all ignored
	allowance   int    // bytes that the client may still send now
	pongBytes   int    // bytes that it may send besides: the answers to our pings
	refilled    time.Time
	acked       uint64    // offset that the client has confirmed
	confirming  bool      // in loop.confirmed
	pinged      uint64    // cursor when it was last pinged
	pingAt      time.Time // when that was
	written     uint64    // bytes given to the kernel, of whatever kind
	taken       uint64    // of written, what the peer's TCP was last seen to have acknowledged
	progress    time.Time // when the socket took something, taken grew or acked grew
	unanswered  time.Time // start of the ping timeout's clock; zero: no ping since the last input
	pingEnd     uint64    // written behind the ping that the clock is for
	slowness    slowness

	leaving time.Time // when it was asked what it has, to be closed then; zero: it stays
	asked   uint64    // its cursor then

	why       wsproto.Disconnect // set when closing
	detail    string
	deadline  time.Time // of closing; moves while the peer acknowledges what it was sent
	closeBy   time.Time // the deadline's own limit
	closeCode uint16    // of the close frame that is due
	finish    bool      // the client has sent its close frame; input after it is thrown away
	ended     bool      // the client has shut down its side
	gone      bool      // a send has found the connection at its end: only input is left
	parted    bool      // in loop.parting: only the socket is left
}

// add takes over a client that the primary hands to us.
func (l *loop) add(m handoff.Client, fd int) {
	c := &client{
		id: m.ID, key: m.Key, fd: fd, at: len(l.clients), state: blocked,
		Negotiated: m.Negotiated, pendingOutput: m.Response,
		from: m.From, cursor: m.From, pinged: m.From,
		allowance: l.settings.InputBytes, refilled: l.now, pingAt: l.now, progress: l.now,
	}
	c.reader.MaxMessage = int64(l.settings.InputBytes)
	limitUnsent(fd)
	c.reader.Deflate = c.Deflate
	if c.Deflate {
		l.stats.Deflate++
	}
	l.clients = append(l.clients, c)
	l.byID[c.id] = c
	for fd >= len(l.byFD) {
		l.byFD = append(l.byFD, make([]*client, 64+len(l.byFD))...)
	}
	l.byFD[fd] = c
	l.limitParting()
	if err := l.watch(fd); err != nil {
		l.drop(c, wsproto.InternalError, err.Error())
		return
	}
	l.place(c, behind) // even the 101 is for its turn: a hundred that join cannot hold up the live ones
	if len(m.Early) > 0 {
		l.parse(c, m.Early)
	}
	if l.drain != nil && c.fd >= 0 {
		l.disconnect(c, l.drain.why, "")
	}
}

// place puts c where its state says.
func (l *loop) place(c *client, s state) {
	list := &l.live
	if c.Deflate {
		list = &l.waiting
	}
	if c.state == live && s != live {
		last := (*list)[len(*list)-1]
		(*list)[c.liveAt], last.liveAt = last, c.liveAt
		*list = (*list)[:len(*list)-1]
	}
	switch {
	case s == live && c.state != live:
		c.liveAt = len(*list)
		*list = append(*list, c)
	case s == behind:
		l.queue(c)
	}
	c.state = s
}

// queue has c served in its turn.
func (l *loop) queue(c *client) {
	if !c.queued {
		c.queued = true
		l.behind.push(c)
		l.again()
	}
}

// disconnect begins to end a connection: a close frame at the next frame
// boundary, then closeWait for the client's own.
func (l *loop) disconnect(c *client, why wsproto.Disconnect, detail string) {
	if c.state == closing {
		return
	}
	l.beginClose(c, why, detail, why.Code)
	if (why == wsproto.ServerShutdown || why == wsproto.DuplicateConnection) && c.acked < c.cursor {
		c.due |= duePing // the client answers that before the close frame, and comes back, or is back already
	}
	l.serve(c)
}

// ordinary tells whether a connection that ends so needs nobody's attention: neither side did
// anything wrong.
func ordinary(why wsproto.Disconnect) bool {
	switch why {
	case wsproto.DuplicateConnection, wsproto.SubscriptionExpired, wsproto.ServerShutdown, wsproto.ClientClosed,
		wsproto.ClientGone:
		return true
	}
	return false
}

// beginClose makes a close frame due, and sets the limits of the rest.
func (l *loop) beginClose(c *client, why wsproto.Disconnect, detail string, code uint16) {
	l.place(c, closing)
	c.why, c.detail, c.closeCode, c.due = why, detail, code, dueClose
	c.deadline = l.now.Add(closeWait)
	c.closeBy = l.now.Add(max(closeWait, l.pingTimeout()))
}

// drop ends a connection now and tells the primary.
func (l *loop) drop(c *client, why wsproto.Disconnect, detail string) {
	if !c.parted {
		l.forget(c, why, detail)
	}
	l.release(c)
}

// forget takes c out of the clients and tells the primary. What is left is its
// socket.
func (l *loop) forget(c *client, why wsproto.Disconnect, detail string) {
	if c.state == closing && c.why.Name != "" {
		why, detail = c.why, c.detail // the first reason is the true one
	}
	l.place(c, closing)
	delete(l.byID, c.id)
	last := l.clients[len(l.clients)-1]
	l.clients[c.at], last.at = last, c.at
	l.clients = l.clients[:len(l.clients)-1]
	if c.Deflate {
		l.stats.Deflate--
	}
	level := slog.LevelInfo
	if ordinary(why) {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "collector disconnected", "key", c.key, "reason", why.Name, "detail", detail,
		"behind", l.lag(c), "unconfirmed", c.cursor-c.acked)
	l.sendToPrimary(handoff.Message{Closed: &handoff.Closed{
		ID: c.id, Disconnect: why.Name, Detail: detail, Sent: c.cursor, Acked: c.acked, Messages: c.messages,
	}})
}

// ring is a first-in, first-out queue.
type ring struct {
	items []*client
	first int
}

func (r *ring) empty() bool { return r.first == len(r.items) }

func (r *ring) push(c *client) {
	if r.first > 32 && r.first*2 > len(r.items) {
		n := copy(r.items, r.items[r.first:])
		clear(r.items[n:])
		r.items, r.first = r.items[:n], 0
	}
	r.items = append(r.items, c)
}

// pop takes out the first client. There must be one.
func (r *ring) pop() *client {
	c := r.items[r.first]
	r.items[r.first] = nil
	r.first++
	return c
}

// nextBehind takes out the next client that is still to be served; nil when there is
// none. Clients that left or filled up meanwhile are passed over.
func (l *loop) nextBehind() *client {
	for !l.behind.empty() {
		c := l.behind.pop()
		c.queued = false
		if c.fd >= 0 && (c.state == behind || c.state == closing && !c.sendBlocked) {
			return c
		}
	}
	return nil
}
