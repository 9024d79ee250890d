// Package deflate compresses frames for the collectors that negotiated permessage-deflate (RFC
// 7692). It compresses each frame once, whatever the number of these collectors, into the
// compressed log (package mmaplog/compressedlog), from which the workers send.
//
//	frame log ──▶ Compressor ──▶ compressed log      STATE_DIR/deflate/<number>
//	    │                          │
//	    │                          └─ clients that negotiated compression
//	    └─ all other clients, and offsets that the compressed log does not have
//
// Without context takeover each message is compressed separately, so that all clients can share it
// and a client can begin at any message. A frame that does not get smaller is stored uncompressed.
// The protocol lets a server send any message uncompressed, so the compressed log is optional: it
// is a shorter form of the same messages. Cursors, positions, resuming and floors are all offsets
// of the frame log.
//
// # The life of a compressed log
//
// A compressed log is made when the first client that negotiated compression connects. It begins at
// the frame log's head. It is removed with its files when no such client has been connected for a
// while. It also ends early:
//
//   - when it is behind the frame log by more than a bound. Compressing costs about as much as
//     signing, and a distributor that catches up with days of data logs needs the time for that.
//   - when the disk is full, because the frame log needs the room.
//   - on any error.
//   - when the process hands over to a new process, which owns the directory from then on. Run is
//     ended, and called again if the handover fails.
//
// Except after a handover, the next compressed log is made after a pause that grows while early
// ends repeat. Meanwhile these clients get plain frames, which handoff.Stats.PlainBytes counts. So
// compressing takes at most one core, and none when the machine is overloaded.
//
// Nothing is lost with a compressed log, so it is not kept: New removes the files of an earlier
// process, and so does the making of a compressed log.
//
// # Concurrency
//
// One goroutine (Run) does all the work. SetLevel and Stats may be called from any goroutine and
// never wait.
package deflate
