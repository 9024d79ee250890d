// Package handoff is the channel between the primary and one worker: a
// socketpair of type SOCK_SEQPACKET that carries small JSON messages, one a
// packet, and with a Client message the descriptor of the client's socket, with
// a Profile message that of a connection for /debug/pprof (SCM_RIGHTS).
//
// It owns the shape of the messages and the passing of descriptors. It does
// not know what a client is sent, which worker is chosen, or when a worker is
// started: engine/supervisor and engine/worker decide that, and meet here.
//
// The order of messages is the order of delivery, so a Close that follows a
// Client finds it. JSON is chosen over a denser form because a hand-off costs
// a signature check anyway (tens of microseconds beside two), and because an
// operator can read the channel with strace.
//
// # The life of a channel
//
//	primary                              worker
//	  │ Settings ─────────────────────────▶ │  opens the frame log
//	  │ ◀──────────────────────────── Ready │
//	  │ Client + descriptor ──────────────▶ │  writes the 101, owns the socket
//	  │ Close, Settings ──────────────────▶ │
//	  │ ◀───────── Closed, Confirmed, Stats │
//	  │ Drain ────────────────────────────▶ │  closes its clients, exits 0
//
// Either end sees the other's death as the end of the channel (io.EOF): a
// worker then exits at once, the primary starts another.
//
// Conn is the primary's end (it blocks, safe for one reading and many writing
// goroutines). The worker's end lives in an event loop, so it works on the
// bare descriptor with Receive and Send, which never block.
package handoff
