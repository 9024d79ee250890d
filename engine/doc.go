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
// port, frame log (recovery, lock), checkpoint, followers (first look; their
// places are saved at once), workers, encoder, HTTP.
//
// # Stop
//
// In the opposite order, bounded: no new connections; what has been read is
// encoded and committed; workers let their clients catch up and close them
// with 1001; the checkpoint is saved.
package engine
