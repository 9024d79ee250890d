// Package encoder turns records into frames: canonical JSON, keyed hash,
// signature, WebSocket framing, once per record and on all cores; and appends
// the frames to the frame log, in order within each stream.
//
//	Source ─┐                    ┌─ encode ─┐
//	Source ─┼─▶ batch ▸ chunks ──┼─ encode ─┼──▶ append ▸ commit ▸ ring
//	Source ─┘   (in order)       └─ encode ─┘     (in order)
//
// It is the only user of the secret key on the firehose, and the only writer
// of the frame log. It does not know where a Source has its records from, and it does not know
// clients: it meets the workers in the frame log, and Readers wakes them.
//
// # Order and back-pressure
//
// Each stream's batches are cut into chunks, which are encoded side by side
// and appended in the order they were cut. The number of batches in flight is
// fixed, so when the frame log takes nothing (a full disk, or one that fails) the
// sources are not read; nothing is dropped, and what is in memory stays bounded.
// What a long record took is given back.
//
// # What is not sent
//
// A line that is no acceptable JSON, or whose message the frame log could not
// take, is counted by reason, logged at most once
// in logEvery, and skipped; so is a record beyond stopDistributionAtCycle
// (without a log line). The stream goes on.
//
// # What is added
//
// With AddShardKey a receipt whose top level has no executionShardKey gets it before it is hashed
// and signed, from signedReceipt.proposal.executionShardKey, or, in a global receipt, which has no
// proposal, from signedReceipt.tx.source. Nothing else of its text changes. A receipt that has the
// key in neither place, no text there, or one longer than maxShardKey, is sent as it is and
// counted.
//
// # Gaps
//
// Where a source says that records may be missing, a signed notice is saved
// (package notice) with the offset behind the last frame before the gap. Only
// then are frames committed that come after it, and progress told: a crash finds
// the gap again, or has told of it.
//
// # Progress
//
// After every commit Progress tells how far each stream has been read, rejects
// and blank lines included, together with the head that belongs to it. The
// engine saves that as its checkpoint.
package encoder
