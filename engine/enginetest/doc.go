// Package enginetest judges the whole: the real binary as real processes, with
// real files, sockets and signals. What it knows of the distributor is what an
// operator, an archiver and a collector can see from outside.
//
//	Archiver ──data logs──▶ Distributor ──WebSocket──▶ Fleet, Peer
//	    └───── what was written ──▶ Book ◀── what came ─────┘
//
// It owns
//
//	Build        makes the binary, race-enabled when the test is
//	Distributor  a directory with configuration, data logs and state; starts, upgrades, stops and kills the binary there
//	Process      a process by pidfd, so that "it has gone" is certain
//	Archiver     writes seeded records as archivers do, torn writes, rotations and noise included
//	Book         the model: for each stream the messages that are due, in order
//	Fleet        many collectors that come back from their own position whenever they are cut
//	Peer         one WebSocket client that does as it is told, well-behaved or not
//	Recording    what the replaced service was seen to do: transcripts and scenarios
//
// # Invariants checked everywhere
//
// Whatever a test is about: Stop and Kill check that no worker outlives the
// primary and that the port is free; Stop, that the exit status is 0; and every
// Distributor fails its test for a data race or a panic in its output. A Fleet
// judges each message against the Book as it comes: exactly once, in order, or,
// of collectors that do not say from where, at least once after they came back.
//
// # Time
//
// Nothing sleeps to synchronise. Waiting is for a condition, with a deadline
// (patience) that is generous, because it costs nothing when all is well. The
// pauses of recordings are part of what was recorded.
//
// # Concurrency and failure
//
// A Distributor and an Archiver belong to one goroutine each; Book and Fleet are
// safe for many. What goes wrong in the rig itself ends the test with Fatal, so
// their methods are for the test's goroutine unless they return an error.
package enginetest
