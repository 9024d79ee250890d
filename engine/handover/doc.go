// Package handover replaces the running process by another one, perhaps of another binary, without
// refusing a connection or losing a record. Two primaries take part: the old process, which runs,
// and the new process, which the old one starts.
//
// The package owns the start of the new process, the descriptors that the new process inherits, the
// messages between the two, their order and time limits, and the relay of collectors' positions
// between them. It does not know encoders, workers or the frame log: it acts on them through State,
// Service and Collectors, which package engine implements.
//
// The old process calls Run, then Successor.Retire. The new process calls Inherit, which returns
// its Predecessor, then AwaitState and TakeOver.
//
// # The order
//
//	old process                              new process
//	  │ starts the binary: channel, listeners ─▶ │  Inherit
//	  │ Offer ─────────────────────────────────▶ │  does all that can fail: configuration,
//	  │                                          │  keys, listeners, databases, a worker
//	  │ ◀───────────────────────────────── Ready │
//	  │  saves its progress                      │
//	  │  accepts no more (the backlog waits),    │
//	  │  encodes what was read, saves, leaves    │
//	  │  the frame log                           │
//	  │ Released ──────────────────────────────▶ │  opens frame log, checkpoint, data logs
//	  │ ◀─────────────────────────────── Serving │  encodes, accepts
//	  │  retires: sends its collectors away,     │
//	  │  a few at a time                         │
//	  │ Positions ─────────────────────────────▶ │  remembers how far they are
//	  │ ◀─────────────────────────────── Release │  a key has come: close its older connection
//	  │ Release ───────────────────────────────▶ │  it has none any more: the newer one may begin
//	  │ ◀───────────────────────────── Positions │  it has begun
//	  │ ◀────────────────────────────────── Stop │  when it is to stop itself
//	  │ end of the channel ────────────────────▶ │
//
// The old process saves its progress before it releases anything, so that a file system that takes
// no writes stops the handover there. Until Serving the old process can go back: it kills the new
// process, takes the state back, and continues. After Serving it cannot go back, and does not
// depend on the new process any more: if the new process dies, the old one still sends its
// collectors away.
//
// The new process gives up when the channel ends before Released. After that it continues alone,
// because a dead old process leaves a good state.
//
// While there is an old process, the new process refuses a handover of its own.
//
// # Positions
//
// A key is connected once, the newest connection counts, and during a handover it may be at either
// process. When a key connects to the new process, the new process has the old one release the key:
// the old process closes its connection, sends the last position, then Release, and the newer
// connection begins there, or after a second if no answer comes. Each process also tells the other
// when a connection begins. The other one then closes its own connection of that key, and from then
// on only the process where the connection began says how far the key is. The new process ignores
// later positions from the old process for a key that has come to the new one. Messages may cross.
// Then a key is remembered further back than it could be: the collector gets something twice, and
// misses nothing.
//
// # The wire
//
// The two processes may be of different versions, so the following is a wire format that must not
// change: the environment variable DISTRIBUTOR_HEIR, the descriptors, and the JSON member names of
// Message. New members may be added; an unknown member is ignored.
//
// The channel is a socketpair of type SOCK_SEQPACKET with one small JSON message in a packet. The
// new process finds its end as descriptor 3, the public listener as 4 and the admin listener, if
// there is one, as 5. DISTRIBUTOR_HEIR says that they are there; Inherit removes it from the
// environment.
package handover
