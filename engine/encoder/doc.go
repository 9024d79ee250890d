// Package encoder turns records into frames and appends the frames to the frame log, in order
// within each stream. A frame is made once per record: canonical JSON, keyed hash, signature,
// WebSocket framing. All cores share this work.
//
//	Source ─┐                    ┌─ encode ─┐
//	Source ─┼─▶ batch ▸ chunks ──┼─ encode ─┼──▶ append ▸ commit ▸ ring
//	Source ─┘   (in order)       └─ encode ─┘     (in order)
//
// The encoder is the only user of the secret key on the firehose, and the only writer of the frame
// log. It does not know where a Source gets its records, and it does not know the clients: workers
// read the frame log, and Readers wakes them.
//
// # Order and back-pressure
//
// Each stream's batches are cut into chunks. Chunks are encoded side by side and appended in the
// order in which they were cut. The number of batches in flight is fixed. So while the frame log
// accepts nothing (a full disk, or a disk that fails), the sources are not read; nothing is
// dropped, and memory stays bounded. The memory of long records is released.
//
// # What is not sent
//
// Three kinds of records are skipped, and the stream continues. A line that is not acceptable JSON,
// and a record whose message does not fit into the frame log, are counted by reason and logged at
// most once in logEvery. A record beyond stopDistributionAtCycle is counted and not logged.
//
// # What is added
//
// With AddShardKey, a receipt whose top level has no executionShardKey gets that member before it
// is hashed and signed. Its value is taken from signedReceipt.proposal.executionShardKey or, in a
// global receipt, which has no proposal, from signedReceipt.tx.source. Nothing else of the text
// changes. A receipt is sent unchanged and counted if neither place has the key, if the value is
// not a text, or if it is longer than maxShardKey.
//
// # Gaps
//
// Where a source reports that records may be missing, the encoder saves a signed notice (package
// notice) with the offset behind the last frame before the gap. Only then does it commit frames
// that follow the gap, and report progress. So after a crash the gap is either found again or
// already has its notice.
//
// # Progress
//
// After every commit, Progress reports how far each stream has been read, including rejects and
// blank lines, together with the head that belongs to it. The engine saves that as its checkpoint.
package encoder
