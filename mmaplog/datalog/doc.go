// Package datalog follows an archiver's data logs. It delivers every line that is appended to the
// logs of one stream, once, in the order in which the lines were written, over rotation,
// wrap-around, renames and restarts.
//
// The package owns the reading: which file, which bytes, which line. It does not know what a line
// means: it delivers damaged JSON too, and the encoder refuses it. It does not store positions:
// each Record carries the Position after it. The caller stores this Position once it has dealt with
// the record, and starts from it next time. The package never writes to the directory.
//
// A Follower belongs to one goroutine, which calls Next, Position and Close; Stats may be called
// from any goroutine.
//
// # What writers do
//
//	active-receipt-log.txt       "receipt-log8.txt": the pointer, names the active log
//	receipt-log1.txt … log8.txt  this lap's logs; log 8 is being written
//	old-receipt-log11.txt … 20   what is left of the previous lap
//
//	{"…":…}\n                    a record
//	\n                           after each line, if the writer is of the newest generation
//	End: Number of bytes: 10485811\n    the trailer: only the next log follows
//
// To rotate, a writer appends the trailer. At half and at the full number of logs it deletes the
// old- logs and renames the other half to old-. Then it creates the next log (after the last one,
// log 1) and rewrites the pointer, which is empty for a moment. Records are written to a log only
// after the pointer names it.
//
// Only \n ends a line; one \r before it is dropped. The Follower skips lines of white space and
// trailers. A trailer is a whole line "End: Number of (entries|bytes): <digits>"; its number is
// often wrong and is ignored. The Follower waits for the newline of an unfinished line.
//
// # Polling
//
// Everything happens in polls (the method look), which never wait. A poll reads up to 1 MiB of
// whole lines from the log; if there are none, it checks where the pointer is. Next polls, and then
// waits for inotify or the Interval. Inotify only makes the next poll earlier: all decisions come
// from the files, and a poll that finds nothing costs six system calls. If the pointer is empty,
// torn or missing, nothing is decided until it can be read again. A poll reads at most 100 times
// without a record, so that a file that changes all the time cannot keep it busy.
//
// Bytes are copied from a mapping of the log. Only bytes below a size that fstat has just returned
// are touched, and a fault is caught. After the copy, once a batch, three things are checked before
// the lines count: the size; the bytes before the place of reading; and, by pread, the end of what
// was copied. If a mapping faults though the file is no shorter, or shows other bytes than pread,
// it is given up and the file is read instead. This happens on an overlay file system, where the
// first write copies a log up from a lower layer under the mapping, and where a file cannot be
// mapped at all. Reading relies on a page cache that is coherent with write(2): local file systems,
// not NFS.
//
// # Identity of files
//
// While the Follower runs, device and inode name a file. Neither is a lasting proof: inode numbers
// are reused, and they change when logs are copied or restored. The content is the proof. A
// Position carries a fingerprint, Check: half of it hashes the first 256 bytes, half the last 64
// bytes before the offset (fewer if the log has fewer). 256 bytes hold the first record's hashes
// and times, 64 bytes the end of a record's signature: no two logs share them. While a log is read,
// the Follower keeps such a mark for each record (for every second one, when there are more than
// 8192, and so on). After a restart, Options.Past returns the marks when they are needed, from the
// frames that were made of the records.
//
// A file with the right number is
//
//	the same    its bytes before the offset are those of the Position
//	older       another mark before the offset fits, or, if no mark is known, the file is shorter and
//	            its first 256 bytes fit; an empty file, if it has the inode and no log was changed
//	            since
//	another     in all other cases
//
// The same log is read on, also in a copy. An older state is more likely than another log with the
// same beginning: somebody restored a copy, or the archiver's machine went down before the last
// bytes were on its disk. Reading goes back to the last mark that fits. Records before this mark
// are not sent again, and records that the file has lost were read. If the file grows again with
// the lost lines, they are skipped. If it grows with another line, that line and all later ones are
// new. Whole lines behind the mark when the file is found are new too. A writer that was restarted
// appends behind a torn line without a newline. So a new line begins where the torn line ended, if
// the byte there is one that a writer's line begins with. The Position stays that of what was read
// until new lines come.
//
// While the log that was read is still open, an older copy is compared with it byte by byte, so no
// mark is needed.
//
// If no mark of an older state is known, and the state was changed later than the Position (by more
// than 1 s: network file systems keep full seconds), it may hold lines that were appended and
// cannot be told from lines that were read: a gap "truncated". Another log under the same name is
// read from its beginning: a gap "log-gone" after a restart. Times of files are used for nothing
// else about the identity of a file.
//
// While a log is open:
//
//	shorter, a mark fits         older
//	shorter, same beginning      go on at the start of the line in which the file now ends
//	other bytes before offset    older if a mark fits; else read from 0
//
// Other content of the same size is detected when the file's time changes, at the latest when the
// file grows.
//
// # Zero bytes
//
// Zero bytes are in places where nothing was written yet, or where a crash has removed what was
// written. They are never part of a record. At the end of a log, the Follower waits for them to be
// overwritten. If other bytes follow the zero bytes, it waits 2 s. Then it skips them, with what
// precedes them in their line, as a gap "truncated". There is no gap if the place was read before
// (a log that was cut under a writer that goes on at its old offset).
//
// # Going on to the next log
//
// The Follower leaves a log when the pointer has moved and, after that was seen, all of the log up
// to its trailer was read. A writer ends a log before it begins the next one. So without a trailer
// the rest may still arrive: the directory is a copy, whose files come in any order. The log is
// left
//
//	after 2 s     if the file is gone or another log has its name
//	after 30 s    without growth: two logs of the usual 10 MiB take so long at 700 kB/s
//	after 10 min  without growth, in a mirror; in any case, if it goes on growing
//
// A mirror is a directory in which a log was replaced by a copy of itself within the last 10 min:
// the job that keeps the mirror runs again after some minutes at most. When a log is left, its last
// line is delivered even without a newline. If the log, or a copy in its place, grows later, that
// is a gap "late-growth". The Follower checks for such growth every 10 s during the next 10 min,
// and at each rotation. Stats.Trouble shows the waiting.
//
// Left and Options.Left carry over a restart where the latest logs were left: growth meanwhile is a
// gap too.
//
// # Order
//
// Numbers repeat after a wrap-around, so order is (lap, number), relative to the pointer P:
//
//	own log k ≤ P                 lap  0
//	own log k > P                 lap -1   the previous lap, not renamed yet
//	old- log k ≤ P, no own log k  lap  0   renamed in this lap: 1 … half when P is the last
//	old- log k, otherwise         lap -1
//	own log P+1 newer than P's,   just created, comes when the pointer names it; but
//	or P+1 or 1 as new and empty  lap -1 if there is an old- log P and no old- log P+1
//
// A writer of m logs leaves these states, and each sorts into the order of writing:
//
//	P < m/2       old- 1…m/2 (lap -1), own m/2+1…m (lap -1), own 1…P (lap 0)
//	m/2 ≤ P < m   old- m/2+1…m (lap -1), own 1…P (lap 0)
//	P = m         old- 1…m/2 (lap 0), own m/2+1…m (lap 0)
//
// The renames of a half are made one by one in ascending order, or at any other time; the order
// above holds in each state. The next log is the next one in this order after ours, wherever ours
// is now. If ours is gone, its place is that of its number in the newest lap in which the number is
// free, and logs last changed before it count as older: a gap.
//
// The Follower remembers by file and content what was read, or what was there at a first start. If
// a writer goes back to such a log and appends to it (which it does if somebody deleted the old-
// logs), the log is read from there on. A log of lap -1 that was never read, and is more than a
// minute older than ours, is a leftover of a configuration with more logs: it is skipped, as a gap.
// It is read if the times cannot be trusted: if a log of lap 0 is older than ours, the clock was
// set, or a copy did not keep the times.
//
// # Gaps
//
// Everything that is left unread for good is a gap: logged as an error, counted in Stats, and
// delivered in the Batch whose records come after it, or alone in a Batch. If the log of a Position
// is gone, or a number is missing between two logs, the Follower accepts the gap only after 2 s (10
// min in a mirror), because a restore may be in progress. Then reading goes on at the oldest log
// that is certainly newer. The highest number seen tells whether a wrap-around left logs out. A
// cut, or other content, is a gap if it removed bytes that had been seen in the file and not read
// ("truncated"). What came and went between two polls cannot be known.
//
// A file that cannot be read is no gap: the Follower retries without a limit, and reports it in
// Stats.Trouble.
//
// # First start
//
// With the zero Position, reading begins at the end of the active log, or at the start of its last
// line if that line is unfinished. If that log has its trailer, the next log is read from its
// beginning. If there is no directory, pointer or log yet, everything that appears later is read,
// from the oldest log on; also after a restart, if NotFirst says so. An empty log that may be the
// next one is not taken for the beginning until it has existed for 2 s, because a clock that was
// set back shows it as older. After a restart, a log that is about to be begun is not skipped, even
// if it came before the pointer that names it.
//
// # Accepted limits
//
// If a directory was copied with wrong times, then after a restart a Position in the first 64 bytes
// of a log cannot tell two logs of its number apart: the wrong one may be read again. If a copy
// replaces a log of which less than 64 bytes were read, it counts as another log and is read from
// its beginning. A log that was cut to less than 256 bytes and moved to another file system counts
// as another log.
package datalog
