// Package engine is the life of the primary process: it opens what has to be
// open, wires the parts together, reloads, and stops in the right order.
//
//	data logs ─▶ datalog.Follower ×3 ─▶ encoder ─▶ framelog.Writer ─ wake ─▶ workers ─▶ collectors
//	                                                                  ▲
//	collectors ─ upgrade ─▶ gateway ─ socket ─▶ supervisor ─ handoff ─┘
//
// Beside that way, status asks all of them once a second how they are, and admin
// and metrics show it.
//
// The sub-packages do the work and do not know each other beyond what the
// arrows say; bench and cmd only see Run.
//
// # Start
//
// In this order, so that a fault shows before anything is promised: keys,
// ports, frame log (recovery, lock), checkpoint, followers (first look; their
// places are saved at once), workers, encoder, HTTP.
//
// # Stop
//
// In the opposite order, bounded: no new connections, while those there are get
// one more answer; what has been read is
// encoded and committed; workers let their clients catch up and close them
// with 1012, a few at a time; the checkpoint is saved.
//
// # Upgrade
//
// One primary, the elder, starts another, the heir, and hands over
// (upgrade.go, retire.go; the heir's side is inherit.go). Package succession draws
// the order in which that goes. What makes it safe:
//
//   - The frame log's lock is held by one of the two at a time, and with it the
//     data logs' positions. The heir takes it up as after any stop: all that was
//     read is in the log, the checkpoint is saved. So every record enters once.
//   - The listening socket is one, in both processes, and never closed. In the
//     moments in which neither accepts, its backlog holds who comes (door.go).
//     HTTP connections that the elder has get one more answer from it, and are
//     closed when they have had six seconds without a request.
//   - The elder gives up its twin of the frame log with it (package deflate): its
//     collectors go on with plain frames, and have the heir's when they are there.
//   - The heir has done what can fail, a worker's start included, before the
//     elder lets go of anything. If it fails all the same, the elder kills it,
//     recovers the log, which has its ID still, and goes on; its collectors have
//     seen a pause.
//   - The elder's workers go on with their collectors, as the log is the same
//     memory: the elder only has to look when it grows. A collector is closed when
//     it has all there is, with 1012 and a ping right before, and so has confirmed
//     what it got when it comes to the heir. Until then the elder's word is passed
//     on (other.go), from the moment on at which the file was saved for the heir.
//
// Heir of an heir: not before the elder has ended.
package engine
