// Package raw is what the firehose is measured against: the least that a
// process can do to deliver the same bytes. One thread, edge-triggered epoll,
// and write(2) from a mapped file to every socket that takes more. No
// protocol, no pings, no resuming, no slow clients to mind.
//
// Serving, it comes in two kinds:
//
//	burst   each client gets the whole file as fast as it takes it, in slices,
//	        the clients in turn
//	paced   when the parent says so, the next frame is written to all clients,
//	        one after the other: one write a frame and client
//
// Each may be asked to send by sendfile(2) instead, or from a mapping whose pages
// are not there yet, to see what that costs.
//
// The file holds WebSocket frames, as a frame log does, so that both kinds
// send what the distributor sends.
//
// Server is the parent's end, Run the child's.
package raw
