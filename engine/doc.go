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
// arrows say. cmd calls Run; package doctor looks at STATE_DIR by state.go.
//
// # Start
//
// In this order, so that a fault shows before anything is promised: keys,
// ports, frame log (recovery, lock), checkpoint, followers (first look; their
// places are saved at once), workers, encoder, HTTP.
//
// # Stop
//
// Bounded, in this order: what has been read is encoded and committed; then, side by side, HTTP
// connections get one more answer and are closed, and workers let their clients catch up and close
// them with 1012, a few at a time; the checkpoint is saved.
//
// # Handover
//
// A primary, the old process, starts another one, the new process, and hands over to it. Package
// handover draws the order, and drives both; handover.go is what it drives here. A handover is safe
// for these reasons:
//
//   - One of the two processes at a time holds the frame log's lock, and with it the data logs'
//     positions. The new process opens them as after any stop: all that was read is in the log, and
//     the checkpoint is saved. So every record enters once.
//   - Both processes share one listening socket, which is never closed. While neither accepts, new
//     connections wait in the kernel's backlog. HTTP connections of the old process get one more
//     answer from it, and are closed when they have had six seconds without a request.
//   - The old process gives up its compressed log (package deflate): its collectors continue with
//     plain frames, and get compressed ones from the new process.
//   - The new process has done what can fail, a worker's start included, before the old one
//     releases anything. If the new process fails later, the old one kills it, recovers the frame
//     log, which still has its ID, and continues; its collectors have seen a pause.
//   - The old process's workers keep their collectors, because the frame log is the same memory:
//     the old process only has to notice that the log grows. A collector is closed with 1012 when
//     it has all there is. A ping right before lets the collector confirm what it got before it
//     comes to the new process. Positions of the old process's collectors are passed on from the
//     moment on at which the file was saved for the new process.
//
// # Where to look
//
// The files follow the primary's life: engine.go (Run), open.go, serve.go, reload.go, handover.go,
// stop.go; primary.go has what they share, and health.go what they check. Only these files know the
// primary. Its parts stand below it and get what they use:
//
//   - listen.go: the ports.
//   - reading.go: the encoder at work; saver.go: the saving of progress; checkpoint.go: the file.
//   - logs.go: what only one primary at a time may have, the frame log's writer and the sources;
//     source.go and past.go: the data logs as sources; index.go: the frame log as the gateway sees
//     it.
//   - api.go: what the public port answers beside upgrades; watch.go: the health checks over time.
//   - settings.go: what each part gets of the configuration; state.go: STATE_DIR from outside.
package engine
