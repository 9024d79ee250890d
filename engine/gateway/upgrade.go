package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"distributor/engine/supervisor"
	"distributor/wsproto"
)

const (
	// handOffTimeout is how long a client waits for a worker, which may have to be started.
	handOffTimeout = 15 * time.Second
	// lookGone is how often a client that waits for a worker is checked, so that a client that has
	// left keeps no place.
	lookGone = time.Second
)

// upgrade answers a request to change the protocol. In the end a worker has the socket, or the
// client got a complete HTTP answer and the socket is closed.
func (g *Gateway) upgrade(w http.ResponseWriter, r *http.Request) {
	deny := func(why *refusal) {
		g.refused.add(why.reason, cmp.Or(why.detail, why.sentence), r.RemoteAddr)
		why.answer(w)
	}
	if why := g.withinUpgradeRate(r); why != nil {
		deny(why)
		return
	}
	now := g.now()
	query := queryOf(r.RequestURI)
	id, why := g.identify(query, now)
	if why != nil {
		deny(why)
		return
	}
	accepted, why := checkWebSocket(r)
	if why != nil {
		deny(why)
		return
	}
	client := supervisor.Client{Key: id.key.String(), Expires: id.expires}
	if client.From, client.Resume, why = g.start(query, client.Key); why != nil {
		deny(why)
		return
	}
	if client.Notices, why = wantsNotices(query); why != nil {
		deny(why)
		return
	}
	if !id.until.IsZero() {
		if reason, ok := g.used.claim(id.key, id.sig, id.until, now); !ok {
			sentence := "this signed request was used before: sign a new one, with the time of now, for each connection"
			if reason == tooManyUpgrades {
				sentence = fmt.Sprintf("the key %s made %d connections within two handshake windows", id.key,
					maxRemembered)
			}
			deny(refuse(reason, sentence))
			return
		}
	}
	if g.policy.Load().deflate {
		accepted.Extensions = wsproto.NegotiateDeflate(r.Header)
		client.Deflate = accepted.Extensions != ""
	}
	client.Response = accepted.AppendResponse(nil)
	g.handOff(w, r, id, client)
}

// identify finds the data parameter and authenticates the request by it.
func (g *Gateway) identify(query string, now time.Time) (identity, *refusal) {
	data, count := parameter(query, "data")
	switch {
	case count > 1:
		return identity{}, refuse(repeatedData, fmt.Sprintf("the URL has %d data parameters", count))
	case data == "":
		return identity{}, refuse(noData,
			"the URL has no data parameter: it must carry collectorInfo, sender and sign")
	}
	return g.policy.Load().authenticate(data, now)
}

// checkWebSocket checks an authenticated request. Other clients learn only why they are not
// authenticated.
func checkWebSocket(r *http.Request) (wsproto.Upgrade, *refusal) {
	accepted, err := wsproto.CheckUpgrade(r)
	if err != nil {
		why := refuse(notWebSocket, err.Error())
		var ws *wsproto.Refusal
		if errors.As(err, &ws) {
			why.status, why.sentence, why.more = ws.Status, ws.Text, ws.Header()
		}
		return wsproto.Upgrade{}, why
	}
	if r.ContentLength != 0 {
		// The bytes of a body would be mistaken for frames.
		return wsproto.Upgrade{}, refuse(hasBody, "an upgrade request has no body")
	}
	return accepted, nil
}

// wantsNotices reads the notices= parameter.
func wantsNotices(query string) (bool, *refusal) {
	text, count := parameter(query, "notices")
	wanted, err := wsproto.ParseNotices(text)
	switch {
	case count > 1:
		return false, refuse(malformedNotices, fmt.Sprintf("the URL has %d notices parameters", count))
	case err != nil:
		return false, refuse(malformedNotices, err.Error())
	}
	return wanted, nil
}

const fellBehind = "the position is %d bytes before the oldest record kept: connect with from=earliest, and fetch what is missing by the HTTP API"

// resumed returns where the stream of a client begins that does not say so itself: at its confirmed
// offset if that is known, otherwise live. If the frame log no longer has that offset, the client
// misses records, which is logged, and gets all that there is.
func (g *Gateway) resumed(key string, live uint64) uint64 {
	at, ok := g.resume(key)
	floor, head := g.frames.Floor(), g.frames.Head()
	switch {
	case !ok:
		return live
	case at >= head:
		return head
	case at < floor:
		g.missed.Add(1)
		g.log.Info("a collector was away for longer than the frame log reaches back: it misses records",
			"key", key, "bytes_missed", floor-at)
		return floor
	}
	g.framesMu.Lock()
	defer g.framesMu.Unlock()
	// A pong may claim an offset inside a frame; only its sender loses by that.
	end, err := g.frames.FrameEnd(at)
	if err != nil { // the floor has moved meanwhile, or worse: the worker will report it
		return g.frames.Floor()
	}
	return end
}

// start returns the offset at which a client's stream begins, as its from= parameter asks. An
// offset that is not available is refused and never replaced by a nearby one, because the client
// would not notice the gap. A position under an earlier ID of the frame log is valid as far as it
// means the same frames. For a client that continues where it was, resume returns the offset when
// it is called.
func (g *Gateway) start(query, key string) (at uint64, resume func() uint64, why *refusal) {
	text, count := parameter(query, "from")
	from, err := wsproto.ParseFrom(text)
	life, floor, head := g.frames.ID(), g.frames.Floor(), g.frames.Head()
	refuse := func(why reason, format string, args ...any) (uint64, func() uint64, *refusal) {
		return 0, nil, &refusal{
			reason: why, sentence: fmt.Sprintf(format, args...),
			floor: &wsproto.Position{Log: life, Offset: floor},
			head:  &wsproto.Position{Log: life, Offset: head},
		}
	}
	at = from.Position.Offset
	switch {
	case count > 1:
		return refuse(malformedFrom, "the URL has %d from parameters", count)
	case err != nil:
		return refuse(malformedFrom, "%v", err)
	case from.Start == wsproto.Earliest:
		return floor, nil, nil
	case from.Start == wsproto.Resume:
		return head, func() uint64 { return g.resumed(key, head) }, nil
	case from.Start == wsproto.Live:
		return head, nil, nil
	}
	if from.Position.Log != life {
		end, known := g.frames.Ancestor(from.Position.Log)
		if !known {
			return refuse(otherLog, "the position is one of another frame log: connect with from=earliest to get all there is")
		}
		if at > end {
			_, _, why := refuse(otherLog, "the frame log lost the last %d bytes before the position, and their records come again: go on at the position in from", at-end)
			why.from = &wsproto.Position{Log: life, Offset: max(end, floor)}
			return 0, nil, why
		}
	}
	switch {
	case at < floor:
		return refuse(belowFloor, fellBehind, floor-at)
	case at > head:
		return refuse(beyondHead, "the position is %d bytes beyond the newest record", at-head)
	case at == head:
		return at, nil, nil
	}
	g.framesMu.Lock()
	end, err := g.frames.FrameEnd(at)
	g.framesMu.Unlock()
	switch {
	case err != nil && at < g.frames.Floor(): // the floor moved meanwhile
		floor = g.frames.Floor()
		return refuse(belowFloor, fellBehind, floor-at)
	case err != nil:
		_, _, why := refuse(frameLogFailed, "the position cannot be looked up, try again")
		// contains paths, so it is only logged
		why.detail = "the position cannot be looked up: " + err.Error()
		return 0, nil, why
	case end != at:
		return refuse(insideFrame, "the position is not at the beginning of a record")
	}
	return at, nil, nil
}

// handOff takes the socket out of the HTTP server and gives it to a worker. Our descriptor is
// closed on return. A worker's socket is closed without shutdown(2), which would reach through to
// the worker's duplicate.
func (g *Gateway) handOff(w http.ResponseWriter, r *http.Request, id identity,
	client supervisor.Client) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic("gateway: hijack: " + err.Error()) // only HTTP/1 is served, and nobody has hijacked before
	}
	defer conn.Close()
	client.Early, _ = buffered.Reader.Peek(buffered.Reader.Buffered())
	if w, ok := conn.(*watched); ok {
		client.Early = w.input.behind(client.Early)
	}

	ctx, cancel := context.WithTimeout(r.Context(), handOffTimeout)
	defer cancel()
	defer cancelWhenGone(ctx, cancel, conn, g.lookGone).Stop()
	if err = g.connect(ctx, conn, client); err == nil {
		endInput(conn) // a worker has the socket now
		g.handed.Add(1)
		return
	}
	g.used.release(id.key, id.sig) // before the client gets the answer and tries again
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause // Shutdown says ErrStopping
	}
	why := refuse(handOffFailed, "no worker could take the connection, try again")
	switch {
	case errors.Is(err, supervisor.ErrFull):
		why = refuse(noRoom, "all workers are full, try again later")
	case errors.Is(err, supervisor.ErrStopping):
		why = refuse(stopping, "the distributor is being stopped, try again later")
	case errors.Is(err, supervisor.ErrClosed):
		why = refuse(displaced, "a newer connection of this key came while this one waited for a worker")
	case errors.Is(err, context.Canceled): // the client left before the hijack, or while it waited
		why = refuse(clientGone, "the client has left")
	}
	g.refused.add(why.reason, err.Error(), r.RemoteAddr)
	answerBare(conn, why)
}

// cancelWhenGone cancels ctx when the client of conn has left. It checks until ctx ends. It returns
// the timer of the first check.
func cancelWhenGone(ctx context.Context, cancel context.CancelFunc, conn net.Conn,
	every time.Duration) *time.Timer {
	return time.AfterFunc(every, func() {
		switch {
		case ctx.Err() != nil:
		case peerClosed(conn):
			cancel()
		default:
			cancelWhenGone(ctx, cancel, conn, every)
		}
	})
}

// connect lends the descriptor to Connect and keeps it open meanwhile. File() would switch the
// socket to blocking mode, for the worker as well.
func (g *Gateway) connect(ctx context.Context, conn net.Conn, client supervisor.Client) error {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return fmt.Errorf("gateway: a %T has no descriptor", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return fmt.Errorf("gateway: descriptor of a connection: %w", err)
	}
	var connected error
	if err := raw.Control(func(fd uintptr) {
		connected = g.workers.Connect(ctx, client, int(fd))
	}); err != nil {
		return fmt.Errorf("gateway: descriptor of a connection: %w", err)
	}
	return connected
}

// answerBare writes a refusal to a socket that the HTTP server does not have. Close gives the
// client time to read it. The deadline is only for a socket without room, so that a busy machine
// cannot let it pass before the write.
func answerBare(conn net.Conn, why *refusal) {
	_ = conn.SetWriteDeadline(time.Now().Add(headerTimeout))
	_, _ = conn.Write(why.appendTo(nil)) // the client may have gone
}
