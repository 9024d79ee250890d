// Package succession is the way of a distributor's service from one primary to
// the next, which may be of another binary: the start of the new one, the
// channel between the two, and what is said on it.
//
// It owns the start of the process, the descriptors that it inherits, the
// messages. It does not know what a primary has to stop or to open, nor when:
// package engine does both sides of it.
//
// # The order
//
//	elder                                    heir
//	  │ starts the binary: channel, listeners ─▶ │  inherits
//	  │ Estate ────────────────────────────────▶ │  does all that can fail: configuration,
//	  │                                          │  keys, listeners, databases, a worker
//	  │ ◀───────────────────────────────── Ready │
//	  │  accepts no more (the backlog waits),    │
//	  │  encodes what was read, saves, lets go   │
//	  │  of the frame log                        │
//	  │ Yours ─────────────────────────────────▶ │  opens frame log, checkpoint, data logs
//	  │ ◀─────────────────────────────── Serving │  encodes, accepts
//	  │  is retired: sends its collectors away,  │
//	  │  a few at a time                         │
//	  │ Positions ─────────────────────────────▶ │  remembers how far they are
//	  │ ◀─────────────────────────────── Release │  a key has come: close its older connection
//	  │ Release ───────────────────────────────▶ │  it has none any more: the newer one may begin
//	  │ ◀───────────────────────────── Positions │  it has begun
//	  │ ◀────────────────────────────────── Stop │  when it is to stop itself
//	  │ end of the channel ────────────────────▶ │
//
// Before it lets go, the elder saves its progress: if the file system takes no writes, it stops
// there. Up to Serving the elder can go back: whatever happens to the heir, it kills it, opens the
// frame log again, as often as the disk makes it try, and goes on. From Serving on it cannot, and
// does not depend on the heir any more: when that dies, it sends its collectors away all the same.
//
// The heir gives up when the channel ends before Yours. After that it goes on alone, as the state
// that a dead elder leaves is a good one.
//
// # Positions
//
// A key is connected once, the newest connection counts, and for a while it may be at either
// primary. So the heir has the elder release a key that comes to it: the elder closes its
// connection, sends the last position, then Release, and the newer connection begins there; or
// after a second, if no answer comes. A connection that begins is told to the other one as well,
// which closes its own of that key, and from then on the one where it began says how far the key
// is. The heir remembers it: what the elder says of a key that has come to the heir since is old
// and not used. Messages may cross. Then a key is remembered further back than it could be: it gets
// something twice, and misses nothing.
//
// # The channel
//
// A socketpair of type SOCK_SEQPACKET, small JSON messages, one a packet. The heir finds its end as
// descriptor 3, the public listener as 4, the admin listener, if there is one, as 5; the
// environment variable DISTRIBUTOR_HEIR says that they are there, and is taken out of the
// environment when it is read.
package succession
