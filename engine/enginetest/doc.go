// Package enginetest judges the whole: the real binary as real processes, with
// real files, sockets and signals. What it knows of the distributor is what an
// operator, an archiver and a collector can see from outside.
//
//	Archiver ──data logs──▶ Distributor ──WebSocket──▶ Fleet, Peer
//	    └───── what was written ──▶ Book ◀── what came ─────┘
//
// It owns
//
//	Build        makes the binary, race-enabled when the test is; another one has crash points (package crashpoint)
//	Distributor  a directory with configuration, data logs and state; starts, hands over, stops and kills the binary there
//	Process      a process by pidfd, so that "it has gone" is certain
//	Archiver     writes seeded records as archivers do, torn writes, rotations and noise included
//	Book         the model: for each stream the messages that are due, in order
//	Fleet        many collectors that come back whenever they are cut: from their own position, or forgetful as unmodified ones
//	Peer         one WebSocket client that does as it is told, well-behaved or not
//	Recording    what the replaced service was seen to do: transcripts and scenarios
//	Plan         what a seed means: records, witnesses, and what happens after how many records
//	Trial        one plan carried out with the real binary
//	Witness      a collector of a trial, of one habit, that keeps all it saw
//	stranger     one client of a flood: TestFloods
//	standin      a stand-in for the real collector, in a network namespace (netns): TestDay
//	Mutant       a deliberate bug that the trials must find
//
// # The judge
//
// A seed makes a Plan: a generation of writers, sizes of records and logs, a
// few settings, four to seven witnesses, and three to six turns. A turn writes
// records, waits until the first witness, the chronicle, has a share of them, and
// takes an action (action.go lists them): processes are killed, frozen, stopped,
// started and replaced by handovers while the archiver goes on, collectors stall,
// leave, answer late, are cut again and again while they are behind, talk and break the
// protocol; some have compressed messages. Nothing waits for a time, so a seed means the
// same scenario as
// exactly as processes allow. The plan is independent of the outcome.
//
// A witness judges at once what can be judged at once: that a message is in the
// Book, is the next of its stream, and that a connection ends for a reason
// that the trial knows. The rest is the verdict's, at the end: the chronicle
// gives the order of the frame log, in which all of the book must stand once; and
// for every connection of every other witness the model says where it must have
// begun, from what the witness was told by pings and has confirmed (a handover is within
// one life: what the old process had been told before counts), and that
// from there on it got every byte, to where it ended (verdict.go has the rules).
// What is repeated or passed over is counted, and only where these rules allow it:
//
//	plain    from what it has confirmed; live where the window is off, or after a
//	         kill -9 of the primary that had not yet saved it
//	tracks   nothing twice, nothing missing
//	pinged   from the last ping that it got, exactly
//	live     from the head
//
// A loss of power kills all processes, and the frame log is left as the machine would leave it: a
// real ext4 that is shut down without its journal, or files out of which pages were taken that the
// head does not call synced, with an older copy of the head and of the files beside it. The frame
// log must then end where the last frame lies of which all is there (on ext4: not before what was
// synced), under a new ID. What it has lost is read again, in any order of the streams: the verdict
// has one order for each ID, holds that each has every record of its streams without a gap, carries
// what was known of a collector over the cut, and judges where a refusal (from_other_log) sends a
// collector: to where its frames and the log's part. A log that keeps little (FRAME_LOG_BYTES) loses
// at most half of that: what comes again must not push out what the chronicle needs next. Its floor
// is where it was, or where the disk has it, until the next segment begins.
//
// A new kind of fault is one line of actions, and a function: whatever may end
// connections says so by mayCut, before and after; a new life of the primary is
// kill, stop, or down around one of them.
//
//	go test ./engine/enginetest -run TestJudge       a few scenarios, one of them by chance
//	make soak SOAK=10m                               or SCENARIOS=1000, SEED=…, JOBS=…
//	make mutants                                     or MUTANT=worker
//	make floods MINUTES=10                           each flood of strangers for so long
//	make progress                                    how far slow collectors get that are cut
//
// A failure says the seed, and the command for that scenario alone. The mutants
// are patches in mutants/: a line on what is broken, what finds it, and the edit. They are built
// by an overlay, so that the module stays as it is. "# test:" names a test of a package, which
// takes least; "# seeds:" the scenarios that are known to fail. Where these pass after all, the
// seeds from 1 on are tried. A test holds that all patches still apply.
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
// # How much
//
// What is random follows from -seed. TestCrashPoints tries some of its points by
// the seed, and all with CRASH_POINTS=all (ten seconds more).
//
// # Concurrency and failure
//
// A Distributor, an Archiver and a Trial belong to one goroutine each; Book and Fleet are
// safe for many. A Witness runs by itself; what it keeps is read when it has ended. What goes wrong in the rig itself ends the test with Fatal, so
// their methods are for the test's goroutine unless they return an error.
package enginetest
