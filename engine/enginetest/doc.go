// Package enginetest tests the whole distributor: the real binary runs as real processes, with real
// files, sockets and signals. The tests see what an operator, an archiver and a collector can see
// from outside.
//
//	Archiver ──data logs──▶ Distributor ──WebSocket──▶ Fleet, Peer
//	    └── records written ──▶ Book ◀── messages received ──┘
//
// The package provides:
//
//	Build        compiles the binary, with the race detector if the test has it; a second binary
//	             has crash points (package crashpoint)
//	Distributor  a directory with configuration, data logs and state; starts, hands over, stops and
//	             kills the binary there
//	Process      a process held by a pidfd, so that its end is certain
//	Archiver     writes seeded records as archivers do, with torn writes, rotations and noise
//	Book         the expected messages of each stream, in order
//	Fleet        many collectors that reconnect when they are cut: from their own position, or
//	             without a position as unmodified collectors do
//	Peer         one WebSocket client that the test controls, correct or not
//	Recording    observed behaviour of the replaced service: transcripts and scenarios
//	Plan         everything that follows from a seed: records, witnesses, actions
//	Trial        one plan, carried out with the real binary
//	Witness      a collector of a trial, with one habit, that stores all that it received
//	stranger     one client of a flood: TestFloods
//	standin      a replacement for the real collector, in a network namespace (netns): TestDay
//	Mutant       a deliberate bug that the trials must find
//
// # The judge
//
// The judge is the oracle with its trials. A seed makes a Plan: a generation of writers, sizes of
// records and logs, a few settings, four to seven witnesses, and three to six turns. In a turn, the
// trial writes records, waits until the first witness, the chronicle, has a share of them, and runs
// an action. Actions (action.go) kill, freeze, stop, start and hand over processes while the
// archiver continues. They make collectors stall, leave, answer late, send unexpected frames and
// break the protocol, and cut collectors that are behind. Some witnesses use compression. No step
// waits for a time, so a seed means the same scenario each time, except for the timing of
// processes. The plan does not depend on the outcome.
//
// A witness checks at once that a message is in the Book and is the next of its stream, and that a
// connection ends for a reason that the trial knows. The verdict checks the rest at the end. The
// chronicle gives the order of the frame log, which must hold all of the book once. For each
// connection of each other witness, the verdict computes where it must have begun, from the pings
// that the witness got and the pongs that it sent. A handover counts as the same life of the
// distributor: confirmations to the old process are valid for the new one. From its beginning, a
// connection must have every byte up to its end (verdict.go has the rules). Repeated and missed
// records are counted, and allowed only by these rules:
//
//	plain    from what it has confirmed; live if the window is off, or after a kill -9 of a primary
//	         that had not saved the position yet
//	tracks   nothing repeated, nothing missing
//	pinged   from the last ping that it got, exactly
//	live     from the head
//
// A loss of power kills all processes, and leaves the frame log as a machine would leave it. On a
// real ext4, the file system is shut down without its journal. Elsewhere, pages are removed from
// the files that the head does not call synced, and the head and the files beside it may become
// older copies. The frame log must then end after the last frame that is complete (on ext4: not
// before what was synced), under a new ID. The lost records are read again, in any order of the
// streams. So the verdict has one order for each ID, and checks that each order has every record of
// its streams without a gap. It carries the known positions of a collector over the loss, and
// checks where a refusal (from_other_log) sends a collector: to the offset up to which both logs
// are equal. A log with a small FRAME_LOG_BYTES loses at most half of that, because the records
// that are read again must not push out what the chronicle needs next. Its floor stays where it
// was, or is the floor on the disk, until the next segment begins.
//
// A new kind of fault is a function and one line in actions. An action that may end connections
// calls mayCut before and after. An action that starts a new life of the primary uses kill, stop,
// or down around one of them.
//
//	go test ./engine/enginetest -run TestJudge       a few scenarios, one with a random seed
//	make soak SOAK=10m                               or SCENARIOS=1000, SEED=…, JOBS=…
//	make mutants                                     or MUTANT=worker
//	make floods MINUTES=10                           each flood for this time
//	make progress                                    progress of slow collectors that are cut
//
// A failure prints the seed and the command that runs this scenario alone.
//
// The mutants are patches in mutants/. Each has a line that says what is broken, says what finds
// it, and has the edit. They are built with an overlay, so the module stays unchanged. "# test:"
// names a test of a package, which is faster; "# seeds:" lists the scenarios that are known to
// fail. If these pass, the seeds from 1 on are tried. TestMutantsApply checks that all patches
// apply.
//
// # Checks of every test
//
// Stop and Kill check that no worker outlives the primary and that the port is free. Stop checks
// that the exit status is 0. A Distributor fails its test if its output has a data race or a panic.
// A Fleet checks each message against the Book when it arrives: exactly once and in order; for
// collectors without a position, at least once after they have reconnected.
//
// # Time
//
// Tests do not sleep to synchronise. They wait for a condition, with a deadline (patience) that is
// generous because it costs nothing if the test passes. Only recordings have pauses: they are part
// of what was recorded.
//
// # Random choices
//
// Random choices follow from -seed. TestCrashPoints chooses some of its points by the seed;
// CRASH_POINTS=all tries all of them (ten seconds more).
//
// # Concurrency and failure
//
// Distributor, Archiver and Trial are each used by one goroutine. Book and Fleet are safe for many
// goroutines. A Witness runs in its own goroutine; its visits are read when that has ended. If the
// test setup itself fails, methods call Fatal. So methods that return no error are for the test's
// goroutine.
package enginetest
