// Package handoff is the channel between the primary and one worker: a socketpair of type
// SOCK_SEQPACKET that carries small JSON messages, one per packet. A Client message carries the
// descriptor of the client's socket (SCM_RIGHTS), a Profile message that of a connection for
// /debug/pprof.
//
// The package owns the form of the messages and the passing of descriptors. What a client is sent,
// which worker is chosen and when a worker is started is decided by engine/supervisor and
// engine/worker.
//
// Messages are delivered in the order in which they are sent, so a Close that follows a Client
// finds it. JSON is chosen over a denser form because a hand-off includes a signature check anyway
// (tens of microseconds, JSON takes two), and because an operator can read the channel with strace.
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
// Either end sees the end of the other process as the end of the channel (io.EOF). Then a worker
// exits at once, and the primary starts another.
//
// Conn is the primary's end. It blocks, and is safe for one reading and many writing goroutines.
// The worker's end is used by an event loop, so Receive and Send work on the bare descriptor, and
// never block.
package handoff
