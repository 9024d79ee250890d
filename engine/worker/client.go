package worker

import (
	"context"
	"log/slog"
	"time"

	"distributor/engine/handoff"
	"distributor/wsproto"
)

// closeWait is how long a client may take to read our close frame and answer it. Tests shorten it.
var closeWait = 2 * time.Second

// state is the state of a client; see the package doc.
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

// client is one connection: everything that the worker keeps about it.
type client struct {
	id  uint64
	key string
	fd  int
	at  int // index in loop.clients

	// The fields that decide about the next send, up to pendingOutput, share one cache line.
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
	untilEmpty bool // a short read does not mean that there is no more input: see read
	unread     bool // in loop.unread
	// inputClosed says that the client broke the protocol: its input is discarded.
	inputClosed bool
	pong        []byte // payload of the pong that is due
	messages    uint64 // data frames received, all ignored
	allowance   int    // bytes that the client may still send now
	pongBytes   int    // bytes that it may send besides, as answers to our pings
	refilled    time.Time
	acked       uint64    // offset that the client has confirmed
	confirming  bool      // in loop.confirmed
	pinged      uint64    // offset that the last ping said
	pingAt      time.Time // when the last ping was sent
	written     uint64    // bytes given to the kernel, control frames included
	taken       uint64    // of written, the bytes that the peer's TCP has acknowledged
	progress    time.Time // when the socket took something, or taken or acked grew
	unanswered  time.Time // start of the ping timeout; zero: no ping since the last input
	pingEnd     uint64    // value of written at the end of the ping that unanswered is for
	slowness    slowness

	askedAt time.Time // when it was pinged for its position before a drain; zero: not yet
	asked   uint64    // its cursor then

	why       wsproto.Disconnect // set when closing
	detail    string
	deadline  time.Time // when it is dropped; moves while the peer acknowledges data
	closeBy   time.Time // latest value of deadline
	closeCode uint16    // of the close frame that is due
	finish    bool      // the client has sent its close frame; later input is discarded
	ended     bool      // the client has shut down its side
	gone      bool      // a send failed because the connection has ended: only input is left
	parted    bool      // in loop.parting: only the socket is left
}

// add takes over a client from the primary. fd is the client's socket.
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
	// The 101 also waits for its turn, so that a hundred new clients do not delay the live ones.
	l.place(c, behind)
	if len(m.Early) > 0 {
		l.parse(c, m.Early)
	}
	if l.drain != nil && c.fd >= 0 {
		l.disconnect(c, l.drain.why, "")
	}
}

// place sets the state of c, and moves it to the list for that state.
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

// queue adds c to the ring of clients that are served in turn.
func (l *loop) queue(c *client) {
	if !c.queued {
		c.queued = true
		l.behind.push(c)
		l.again()
	}
}

// disconnect begins to end a connection: it sends a close frame at the next frame boundary, and
// waits up to closeWait for the client's own.
func (l *loop) disconnect(c *client, why wsproto.Disconnect, detail string) {
	if c.state == closing {
		return
	}
	l.beginClose(c, why, detail, why.Code)
	if (why == wsproto.ServerShutdown || why == wsproto.DuplicateConnection) && c.acked < c.cursor {
		// The client answers this ping before the close frame. The answer tells where its next
		// connection continues.
		c.due |= duePing
	}
	l.serve(c)
}

// ordinary tells whether a disconnect needs no attention, because neither side did anything wrong.
func ordinary(why wsproto.Disconnect) bool {
	switch why {
	case wsproto.DuplicateConnection, wsproto.SubscriptionExpired, wsproto.ServerShutdown,
		wsproto.ClientClosed, wsproto.ClientGone:
		return true
	}
	return false
}

// beginClose makes a close frame due, and sets the deadlines for the rest of the connection.
func (l *loop) beginClose(c *client, why wsproto.Disconnect, detail string, code uint16) {
	l.place(c, closing)
	c.why, c.detail, c.closeCode, c.due = why, detail, code, dueClose
	c.deadline = l.now.Add(closeWait)
	c.closeBy = l.now.Add(max(closeWait, l.pingTimeout()))
}

// drop ends a connection now, and reports it to the primary.
func (l *loop) drop(c *client, why wsproto.Disconnect, detail string) {
	if !c.parted {
		l.forget(c, why, detail)
	}
	l.release(c)
}

// forget removes c from the clients, and reports its end to the primary. Its socket stays open.
func (l *loop) forget(c *client, why wsproto.Disconnect, detail string) {
	if c.state == closing && c.why.Name != "" {
		why, detail = c.why, c.detail // the first reason counts
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
	l.log.Log(context.Background(), level, "collector disconnected",
		"key", c.key, "reason", why.Name, "detail", detail,
		"behind", l.lag(c), "unconfirmed", c.cursor-c.acked)
	l.sendToPrimary(handoff.Message{Closed: &handoff.Closed{
		ID: c.id, Disconnect: why.Name, Detail: detail,
		Sent: c.cursor, Acked: c.acked, Messages: c.messages,
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

// pop takes out the first client. The ring must not be empty.
func (r *ring) pop() *client {
	c := r.items[r.first]
	r.items[r.first] = nil
	r.first++
	return c
}

// nextBehind takes out the next client to be served, or returns nil. It skips clients that were
// dropped, or whose socket became full, since they were queued.
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
