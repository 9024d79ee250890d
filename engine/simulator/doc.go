// Package simulator acts as an archiver, for demonstrations, tests and measurements.
//
// It owns three parts, each of which can be used alone, and a run that joins them:
//
//	World      makes records                deterministic by seed, no I/O
//	LogWriter  writes one stream's data logs    the same bytes as archivers
//	Databases  fills the archiver's SQLite files
//	Run        paces the three; Command is Run with flags, "distributor simulate"
//
// It does not know how data logs are read. It imports no other package of ours, so that what it
// writes is checked by an independent reader.
//
// # Records
//
// Records are copies of recorded ones with few signatures. Typed values, text beyond ASCII and
// well-formed raw Ethereum transactions are as they were. Ids, hashes, signatures, cycles and times
// are new in every copy, so no signature or hash in them verifies. The recorded ones and their
// shares are in recorded/records.gz. schema.sql beside it is the schema of the recorded databases.
// A test checks the mean sizes: cycle 8.2 KB, originalTx 0.9 KB, receipt 5.9 KB, 4.55 KB in the
// standard mix.
//
// Receipts have the members that the newest archiver logs, all of a form that it accepts:
// appReceiptData for every transaction, and the times and ids of the transaction, but no
// executionShardKey, which that archiver deletes (Options.ShardKeys for older ones). Cycles begin
// with 0, and each begins when the one before ends. Runs make cycles faster than the network does,
// so the first cycle begins ten days before it is written.
//
// A receipt names the oldest transaction whose originalTx was logged and that has no receipt yet.
// The standard mix has more receipts than originalTx; the others name transactions that were
// submitted to another node.
//
// # Data logs
//
// active-<stream>-log.txt holds the name of the log being written, without a line end. Archivers
// have written logs in three ways. Each log ends with a trailer when the next begins:
//
//	entries               bytes                 bytes-blank
//	{…}⏎                  {…}⏎                  {…}⏎⏎
//	{…}⏎                  {…}⏎                  {…}⏎⏎
//	End: Number of        End: Number of        End: Number of
//	entries: 2⏎           bytes: 9214⏎          bytes: 9214⏎⏎
//
// A rotation does, in this order: write the trailer; delete the old-… logs and rename half of the
// other older logs to old-…; make the next log; truncate and write the active file. After the
// highest number comes 1 again.
//
// A restarted archiver continues the log that the active file names, and counts what it contains,
// in its own inexact way: entries are line ends, bytes are the file's size with blank lines.
//
// # Databases
//
// The row of a record is committed a moment after the record is logged, with the same text in every
// column. A receipt's row has executionShardKey even if the logged receipt has none. Odd.Refused
// and Odd.Repeated add what the newest archiver logs but does not store: receipts that it did not
// accept, and receipts that it already had.
//
// # Concurrency and failure
//
// Nothing here is safe for concurrent use, but different values are independent. Run and its
// callbacks use only the calling goroutine. Impossible options are refused before anything is
// written (ErrOptions). An I/O error ends a run; then the logs may end in half a line, as after an
// archiver's crash. Two simulators, or a simulator and an archiver, must not write to the same
// directory, but nothing prevents it.
package simulator
