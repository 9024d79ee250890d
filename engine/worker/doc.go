// Package worker is a worker process. One event loop (gnet/v2/pkg/netpoll, edge-triggered) runs the
// WebSocket protocol for its clients, and sends them frames from the memory-mapped frame log.
//
// A client is a cursor. It still has to get [cursor, head) of the frame log. One send(2) gives the
// kernel up to sliceBytes of that, many frames at once, from memory that all workers share. Nothing
// is queued, copied or encoded per client (but see Compression). So a client that does not read
// costs a cursor that does not move.
//
// # What a client is sent next
//
// The function next decides that, from the logs alone. It returns a step: the bytes, their origin,
// and the offset that data must not pass yet. In this order:
//
//	pendingOutput  the rest of what the socket took in part: of the 101, of a control frame, of a
//	               notice, of a compressed frame
//	at a boundary  the notice that is due, then the control frames that are due
//	inside a frame while one of these is due: the rest of the frame
//	data           compressed frames where the compressed log serves the cursor, else plain ones;
//	               with the pings that are due among them
//
// feed gives a step to the socket, and advance notes how many of its bytes the socket took. Only
// advance moves a cursor.
//
// # Which client is sent to when
//
// A client is in one of these states. The loop sends only to clients that are live or behind, and
// the rest of a connection to those that are closing:
//
//	live      has all frames, socket writable: sent to when the head moves
//	          (or in the next round, see below)
//	behind    socket writable, and more is due than one turn gives, or the client is new: in a
//	          ring, served in turn within turnBudget bytes, after the live clients
//	blocked   the socket is full: nothing happens until EPOLLOUT, then the client is behind
//	closing   a close frame is due or sent: no more data; see "The end of a connection"
//
// So a wake-up costs as much as the clients that have something to get, and a stalled client costs
// nothing.
//
// The bound for replays: between two reads of the head, all clients that are not live get at most
// turnBudget and one slice of data, 2.25 MiB, about a millisecond's work. This holds for any number
// of clients and whatever they do, because everything goes through the ring: new clients, and the
// pings and pongs of clients that are behind (TestReplayIsBounded).
//
// With Settings.LingerMS the live clients are sent to in rounds, at most once per interval, or when
// a slice is full, so that small frames share a send. Their pings wait for the round too. An answer
// to a client's input takes along the frames that wait. Clients that are behind or new do not wait.
// No client waits when the worker is to end. Clients with compressed frames have rounds of their
// own.
//
// # Slow and dead clients
//
// Each of these ends a client that does not keep up:
//
//	behind the floor  the next frame of the client is no longer in the frame log. The one
//	                  hard limit: BehindFloor
//	socket full       and the peer's TCP acknowledged nothing for the ping timeout: TooSlow
//	ping unanswered   for the ping timeout: PingTimeout. The timeout starts anew when the peer
//	                  acknowledges data that was sent before the ping, or any data while the
//	                  socket is full
//	slowRule          alive, far behind, and too slow for a whole window: TooSlow
//
// Progress is what the peer's TCP acknowledged (SIOCOUTQ), or what the peer confirmed. What a send
// took says less: a full socket becomes writable only when a third of its buffer is free. The
// kernel is asked at ticks, and only for clients whose socket is full, that owe a pong, or that are
// closing. TCP acknowledges in steps: Linux opens a closed window again when about a sixteenth of
// the receive buffer is free. If a reader takes longer than the ping timeout for that, it cannot be
// told from a reader that has stopped.
//
// The defaults of slowRule end only clients that read 4 KiB/s or less for five minutes while they
// are 64 MiB behind. At that rate such a client would need hours for what it lacks, even without
// new records. All other clients may be as far behind as the frame log reaches.
//
// A client that reads nothing costs its cursor, and about unsentBytes of the kernel's memory, which
// a reset frees when the client is dropped. A peer that has vanished is found by the first three
// rules. TCP_USER_TIMEOUT is set when a socket is closed, and limits how long the kernel keeps the
// connection after us. A live connection does not have it, because with it the kernel also resets
// peers that read slowly.
//
// # Input from clients
//
// Whatever RFC 6455 forbids a client ends the connection with the code that the RFC asks for,
// between two data frames (TestAttacks has the table). Data frames are discarded. Their text is
// checked for UTF-8 first, unless it is compressed. More input than Settings.InputBytes and
// InputRate allow is TooMuchData, floods of pings and pongs included.
//
// # Frame boundaries
//
// Control frames (pings, pongs, close, RFC 6455 §5.4 and §5.5) go between data frames only. A slice
// of the frame log ends at a boundary, unless the kernel took less, or one frame is larger than a
// slice. Then midFrame is set: the cursor may stand inside a frame. If a control frame is due, the
// index of the frame log says where the frame ends. Of several pings only the last is answered
// (RFC 6455 §5.5.3), so a client cannot make the worker keep more than one payload.
//
// # The end of a connection
//
// A closing client gets the rest of its frame and our close frame. While its TCP acknowledges data
// it has more time for that, up to the ping timeout, unless it broke the protocol or the worker is
// to end. When both close frames are sent, the worker reports the end to the primary and parts from
// the client: it shuts down our side, and reads and discards input until the peer shuts down its
// side, or for closeWait. Closing a socket while input may arrive would reset the connection, and
// the reset destroys what the peer has not read yet. At most maxParting sockets wait so.
//
// When a send finds the connection reset, input that arrived before the reset is read first,
// because it may confirm something.
//
// # Edge-triggered events
//
// The poller reports a change once. So input is read until the kernel says that there is no more. A
// client with more than readsAtOnce buffers of input is read further in later turns, within
// readBudget. A short read means "no more" only if the poller reported data alone. Likewise a
// socket counts as full only when the kernel has said so, and will report EPOLLOUT: a send that
// took less may have met the end of a file that was cut.
//
// # Notices
//
// A client that asked for notices (package notice) gets each as a text frame between two frames of
// the frame log. The offset of the next notice is a barrier for its data. The head is a barrier
// too, and is read before the mark that says whether there are new notices. Other clients have no
// barrier, and cost none of these reads. Notices count in no position.
//
// # Compression
//
// A client that negotiated permessage-deflate has the same cursor. At a frame boundary between
// start and end of the compressed log (mmaplog/compressedlog) the client is sent compressed frames,
// and its cursor moves by the frames that they stand for. Anywhere else it is sent plain frames. At
// the end of the compressed log it waits: it is live, in a list of its own, until the primary wakes
// the worker again, or until the compressed log has not grown for compressedPatience.
//
// A compressed step always leaves the client at a boundary. If the socket took a compressed frame
// in part, its rest is copied to pendingOutput: at most one frame of a mebibyte, by which a turn
// may then pass the bound for replays. If the compressed log holds the frame uncompressed, the rest
// comes from the frame log. So the compressed log can end, or its floor pass a client, at any time.
// Errors of the compressed log are logged, and its clients go on with plain frames.
//
// Nothing is sent from beyond the end that the last refresh of the compressed log found, and so
// nothing from beyond a notice that is not known yet. Notices are never compressed.
//
// Such a client may send compressed messages. The worker never inflates them: they count by their
// size on the wire, and are discarded.
//
// # Positions
//
// Our pings carry the position (wsproto.Position) that the client has reached. A standard client
// echoes it in the pong by itself, after it has read everything before the ping. A client is pinged
//
//	by bytes        among the data: every 8 KiB when a connection begins, then every
//	                sixteenth of what the connection has brought, at most a MiB apart
//	by time         every confirmEvery, if there is something to confirm
//	when quiet      when it has caught up and no frame came for quietAfter
//	for keep-alive  every Settings.PingIntervalMS, when there is nothing to confirm
//	before a drain  when the worker is to end: the client is closed when it has answered, with
//	                another ping right before the close frame
//
// This holds whether its socket is full or not: a ping that is due goes out at the next frame
// boundary that the socket takes. A client that is cut off begins again at what it has confirmed. A
// socket takes at once what a slow client reads for many seconds, so only pings among this data let
// the client make progress (pingDistance says how far apart they are). Data and the pings among it
// share one system call. The pongs to these pings are not counted against Settings.InputBytes.
//
// # Reports
//
// Once a second the primary gets handoff.Stats. The latency in it is a sample, taken after the
// first and the last live client of a wake-up (see measure), so its cost does not grow with the
// number of clients. The slowest clients and the lags are computed when the report is made. On a
// socket that the primary sends, the worker answers one request for a profile, on goroutines beside
// the loop.
//
// # What the primary does instead
//
// The worker does not authenticate, choose clients, or restart: the primary does. The worker never
// sees the secret key. It has no state that survives it.
//
// # Concurrency and failure
//
// Everything but profiles runs on the goroutine of Run. When the primary ends (end of the control
// channel) Run returns at once, and the connections end with the process. Damage to the frame log
// ends the affected clients with InternalError. A client's own failure ends that client only.
package worker
