// Package deflate compresses frames for the collectors that negotiated permessage-deflate (RFC 7692): each frame once,
// whatever their number, into a twin of the frame log (mmaplog/twin) from which the workers send.
//
//	frame log ──▶ Compressor ──▶ twin      STATE_DIR/deflate/<number>
//	    │                          │
//	    └─ clients that did not ask, or are where the twin is not    └─ those that asked
//
// Without context takeover each message is compressed for itself, so that all can share it, and a client can begin at any.
// What does not get smaller stands in the twin as it is. The protocol lets a server send any message uncompressed, so
// the twin never has to be there: it is a shorter way to the same messages, and everything that counts (cursors,
// positions, resuming, floors) is in offsets of the frame log alone.
//
// # The life of a twin
//
// A twin is made when the first such client comes, beginning at the frame log's head, and removed with its files when
// none has been there for a while. It also ends early,
//
//   - when the frame log runs away from it by more than a bound: compressing costs about as much as signing, and a
//     distributor that catches up with days of data logs has better things to do;
//   - when the disk is full: the room is for the frame log;
//   - on any error;
//   - when the process hands over to another one, which has the directory from then on (Run is ended, and called again
//     if nothing comes of it).
//
// But for the last, the next one is made after a pause that grows while this goes on. Meanwhile those clients get plain frames, which
// handoff.Stats.PlainBytes counts. So compressing takes one core at most, and when the machine is short of it, none.
//
// Nothing is lost with a twin, so nothing of it is kept: what another process has left is removed by New and
// before a twin is made.
//
// # Concurrency
//
// One goroutine (Run) does all. SetLevel and Stats may be called from any, and never wait.
package deflate
