// Package simulator acts as an archiver where there is none: for demonstrations, tests and measurements.
//
// It owns three things, each of which can be used alone, and a run that joins them:
//
//	World      makes records                deterministic by seed, no I/O
//	LogWriter  writes one stream's data logs    to the byte as archivers do
//	Databases  fills the archiver's SQLite files
//	Run        paces the three; Command is Run with flags, "distributor simulate"
//
// It knows nothing of how logs are read: it imports no other package of ours, so that what it writes is
// judged by an independent reader.
//
// # Records
//
// Records are copies of recorded ones, cut down to few signatures: typed values, text beyond ASCII
// and well-formed raw Ethereum transactions are as they were. Ids, hashes, signatures, cycles and
// times are new in every copy, so nothing in them verifies. The recorded ones and their shares are
// in recorded/records.gz; schema.sql beside it is that of the recorded databases. A test holds the
// mean sizes: cycle 8.2 KB, originalTx 0.9 KB, receipt 5.9 KB, 4.55 KB in the standard mix.
//
// Receipts have the members that the newest archiver logs, all of a form that it accepts: no
// executionShardKey, which it deletes first (Options.ShardKeys for older ones), appReceiptData for
// every transaction, and the times and ids of the transaction. Cycles begin with 0, and each begins
// when the one before ends; by their rate they run ahead of the clock, so the first begins ten days
// before it is written.
//
// A receipt names a transaction whose originalTx was logged before it, if one waits; an originalTx gets
// its receipt in order. In the standard mix there are more receipts than originalTx: the others name transactions that
// were handed in elsewhere.
//
// # Data logs
//
// active-<stream>-log.txt holds the name of the log being written, without a line end. Archivers have written
// logs in three ways; each log ends with a trailer when the next begins:
//
//	entries               bytes                 bytes-blank
//	{…}⏎                  {…}⏎                  {…}⏎⏎
//	{…}⏎                  {…}⏎                  {…}⏎⏎
//	End: Number of        End: Number of        End: Number of
//	entries: 2⏎           bytes: 9214⏎          bytes: 9214⏎⏎
//
// Rotation is, in this order: trailer; half of the older logs renamed to old-… (those that were, deleted);
// the next log made; the active file truncated and written. Numbers begin anew after the highest.
//
// A restarted archiver goes on where the active file says and counts what it finds there, in its
// own inexact way: entries are line ends, bytes are the file's size with blank lines.
//
// # Databases
//
// A record in the logs has its row when the run has committed it, a moment later, with the same
// text in every column. A receipt's row has executionShardKey also where the log has none.
// Odd.Refused and Odd.Repeated add what the newest archiver logs and does not store: receipts that
// it did not accept, and those that it got before.
//
// # Concurrency and failure
//
// Nothing here is safe for concurrent use, except that different values are independent; Run and its callbacks use
// the calling goroutine alone. Options that cannot be are refused before anything is written (ErrOptions). An
// I/O error ends a run: the logs may then end in half a line, as after an archiver's crash.
// Two simulators, or a simulator and an archiver, must not write the same directory; nothing prevents it.
package simulator
