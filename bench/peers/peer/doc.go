// Package peer is what the WebSocket servers that the distributor is compared
// with have in common: they are told what to do in JSON lines on standard input
// (as the benchmark's own children, bench/loop), take their messages from a
// mapped file of frames, and hand them to their library's broadcast.
//
//	{"serve":{"file":"…"}}  → {"address":"127.0.0.1:4711"}   "compress":true for clients that ask for it
//	{"await":1000}          → {…} when so many clients have joined
//	{"burst":500}             the next 500 messages, as fast as the clients take them
//	{"send":1}                the next message, now
//	{"sent":true}           → {"bytes":…,"writes":…,"joined":…,"lost":…}
//
// A process ends when its input does.
//
// # Back-pressure
//
// No message is dropped. The libraries queue what a socket does not take, most
// of them without a limit of bytes; whoever broadcasts without end has to mind
// that himself. Here the broadcaster of a burst pauses when a client has more
// than window bytes waiting in user space, until all have less than half of
// that. What a client has waiting is what was broadcast less what the sockets
// took; Clients counts that in the connections' Write, or where the library
// tells that it writes.
package peer
