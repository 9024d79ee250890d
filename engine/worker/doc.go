// Package worker is a worker process: one gnet event loop (gnet/v2/pkg/netpoll,
// edge-triggered) that runs the WebSocket protocol for its clients and sends
// them frames straight out of the mapped frame log.
//
// A client is a cursor. What it still has to get is [cursor, head) of the
// frame log; one send(2) gives the kernel up to sliceBytes of it, many frames
// at once, from memory that all workers share. Nothing is queued, copied or
// encoded per client (but see Compression), so a client that does not read costs a cursor that
// stands still.
//
// # What a client is sent next
//
// One function answers that, next, from the logs alone. Its answer is a step: bytes, where they
// come from, and the offset that data must not pass yet. In this order:
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
// # Who is sent to when
//
// A client is in one of these states, and only the first two are ever looked
// at to send:
//
//	live      has all there is, socket writable: sent to when the head moves
//	          (or in the next round, see below)
//	behind    socket writable, more due than one turn gives, or just come: a
//	          ring, served in turn within turnBudget bytes, after the live ones
//	blocked   the socket is full: nothing happens until the kernel says
//	          EPOLLOUT, then it is behind
//	closing   a close frame is due or sent: no more data; gone at the latest
//	          after closeWait
//
// So the cost of a wake-up is that of the clients that have something to get, and
// a stalled client costs nothing.
//
// The bound for replays: between two looks at the head, all clients that are not
// live are given turnBudget and one slice, 2.25 MiB, of data at most, about a
// millisecond's work, however many they are and whatever they do. Nothing goes
// around the ring: newcomers, and the pings and pongs of those behind, wait for
// their turn as well (TestReplayIsBounded).
//
// With Settings.LingerMS the live clients are sent to at most once in so long, in
// rounds, or when a slice is full, so that small frames share a send. Their pings
// wait for the round with the frames; an answer to what they say takes along what
// waits. Clients behind, and newcomers, do not wait, and nobody does when the
// worker is to end. Those with compressed frames have rounds of their own.
//
// # Slow and dead clients
//
// Four things end a client that does not keep up, each by itself:
//
//	behind the floor  what it needs next is no longer in the frame log. The one
//	                  hard limit: BehindFloor
//	socket full       and the peer's TCP acknowledged nothing for the ping
//	                  timeout: nobody reads there. TooSlow
//	ping unanswered   for the ping timeout: PingTimeout. The clock starts anew
//	                  while the peer acknowledges data that stands before the
//	                  ping, or more while the socket is full
//	slowRule          alive, far behind, and going nowhere: TooSlow
//
// Progress is what the peer's TCP acknowledged (SIOCOUTQ), or what the peer
// confirmed. What a send took says less: a full socket has room again only when
// a third of its buffer is free. The kernel is asked at ticks, and only for clients
// whose socket is full, that owe a pong, or that are closing. TCP acknowledges in
// steps: Linux opens a closed window again when about a sixteenth of the receive
// buffer is free. So a reader that takes longer than the ping timeout for that looks like one that
// has stopped.
//
// By default the last is for those alone that read 4 KiB/s or less for five
// minutes while 64 MiB behind: at that rate they would need hours for what they
// lack, if nothing were added. Everybody else may be as far behind as the frame
// log reaches.
//
// What a client that reads nothing costs: its cursor, and about unsentBytes of
// the kernel's memory, given back by a reset when it is dropped. A peer that
// has vanished is found by the first three. TCP_USER_TIMEOUT is set when a socket
// is closed, and ends what the kernel keeps of the connection after us. A live
// connection does not have it: the kernel also resets by it a peer that takes
// little and acknowledges that.
//
// # What clients may say
//
// Everything that RFC 6455 forbids them ends the connection with the code that
// it asks for, between two data frames (TestAttacks has the table). Data frames
// are thrown away; their text is checked for UTF-8 first, unless it is
// compressed. More of anything than
// Settings.InputBytes and InputRate allow is TooMuchData, floods of pings and
// pongs included.
//
// # Frame boundaries
//
// Control frames (pings, pongs, close, RFC 6455 §5.4 and §5.5) go between data
// frames only. A slice of the frame log ends at a boundary unless the kernel
// took less or a single frame is larger than a slice. Then midFrame is set: the cursor may stand
// inside a frame. If a control frame is due, the index of the frame log says where the frame ends.
// Of several pings only the last is answered (RFC
// 6455 §5.5.3), so a client cannot make us remember more than one payload.
//
// # The end of a connection
//
// A closing client gets the rest of its frame and our close frame. While its TCP
// acknowledges something it has more time for that, up to the ping timeout, unless
// it broke the protocol or the worker is to end. When both close frames are out, the
// primary is told and the client parts: our side is shut down, and its input is
// read and thrown away until its side ends, or for closeWait. Closing a socket
// while input may come would reset the connection, and the reset destroys what the
// peer has not read yet. At most maxParting sockets wait so.
//
// When a send finds the connection reset, input that came before the reset is read
// first: it may confirm something.
//
// # Edges
//
// The poller tells of a change once. So input is read until the kernel says that there
// is no more: a client with more than readsAtOnce buffers is read on in the turns, in
// its turn and within readBudget. A short read is taken for the kernel's word only where
// the poller told of data alone. Likewise a socket counts as full only when the kernel
// has said so, and will tell of room: a send that took less may have met the cut end of
// a file.
//
// # Notices
//
// A client that asked for notices (package notice) gets each as a text frame
// between two frames of the frame log. The offset of the next notice is a barrier for its data. The
// head is a barrier too, and is read before the mark that says whether there are new notices. Other
// clients have no barrier, and cost none of these reads. Notices count in no position.
//
// # Compression
//
// A client that negotiated permessage-deflate is the same cursor. At a frame boundary between start
// and end of the compressed log (mmaplog/compressedlog) it is sent compressed frames, and its cursor moves by
// what they stand for. Anywhere else it is sent plain frames. At the end of the compressed log it
// waits: it is live, in a list of its own, until the primary rings again, or until the compressed
// log has not grown for compressedPatience.
//
// A compressed step always leaves the client at a boundary. If the socket took a compressed frame
// in part, its rest is copied to pendingOutput: at most one frame of a mebibyte, by which a turn may
// then pass the bound for replays. If the compressed log holds the frame uncompressed, the rest
// comes from the frame log. So the compressed log can end, or its floor pass a client, at any time.
// Errors of the compressed log are logged, and its clients go on with plain frames.
//
// Nothing is sent from beyond where the compressed log was last refreshed, and so nothing from
// beyond a notice that is not known yet. Notices are never compressed.
//
// Such a client may compress what it sends. Nothing of that is ever inflated:
// it counts as it comes, and is thrown away.
//
// # Positions
//
// Our pings carry the position (wsproto.Position) that the client has reached;
// a standard client echoes it in the pong by itself, after it has read all that
// came before. A client is pinged
//
//	by bytes        among the data: 8 KiB apart when a connection begins, then a
//	                sixteenth of what the connection has brought, at most a MiB
//	by time         every confirmEvery, if there is something to confirm
//	when quiet      when it has caught up and no frame came for quietAfter
//	for keep-alive
//	before a drain  when it is to be sent away with the worker: it is closed when it
//	                has answered, with another ping right before the close frame
//
// whether its socket is full or not: a ping that is due goes out at the next frame
// boundary for which there is room. A client that is cut off begins again at what it
// has confirmed. A socket takes at once what a slow client reads for many seconds,
// so only pings among these data let it get on (pingDistance says how far). Data
// and the pings among them share one system call. The pongs that we ask for are not
// counted against Settings.InputBytes.
//
// # What it tells
//
// Once a second the primary gets handoff.Stats. The latency in it is a sample,
// taken after the first and the last live client of a wake-up (measure says
// what exactly), so its cost does not grow with clients; the slowest clients and
// the lags are looked for when the report is made. On a socket that the primary
// sends, one request for a profile is answered, on goroutines beside the loop.
//
// # What it does not do
//
// It does not authenticate, choose clients, or restart: the primary does. It
// never sees the secret key. It has no state that survives it.
//
// # Concurrency and failure
//
// Everything but profiles runs on the goroutine of Run. When the primary goes (end of the
// control channel) Run returns at once and the connections end with the
// process. Damage to the frame log ends the clients it concerns with
// InternalError; a client's own failure ends that client only.
package worker
