// Package datalog follows an archiver's data logs: it delivers every line that is appended to the logs
// of one stream, once, in the order in which they were written, over rotation, wrap-around, renames and
// restarts.
//
// It owns the reading: which file, which bytes, which line. It does not own what a line means (damaged
// JSON comes out too; the encoder refuses it), nor where positions are stored: each Record carries the
// Position after it, and whoever has dealt with the record keeps that and starts from it next time.
// It never writes to the directory.
//
// A Follower belongs to one goroutine, which calls Next, Position and Close; Stats may be called from any.
//
// # What writers do
//
//	active-receipt-log.txt       "receipt-log8.txt": the pointer, names the active log
//	receipt-log1.txt … log8.txt  this lap's logs; log 8 is being written
//	old-receipt-log11.txt … 20   what is left of the lap before
//
//	{"…":…}\n                    a record
//	\n                           after each line, if the writer is of the newest generation
//	End: Number of bytes: 10485811\n    the trailer: nothing follows but the next log
//
// To rotate, a writer appends the trailer, at half and at the full number of logs deletes the old- logs
// and renames the other half so, creates the next log (after the last one, log 1), and rewrites the
// pointer, which is empty for a moment. Records come into a log only after the pointer names it.
//
// Lines end at \n only; one \r before it is left off. Lines of white space and trailers are passed over.
// A trailer is a whole line "End: Number of (entries|bytes): <digits>"; its number is often wrong and not
// looked at. A line without its newline is waited for.
//
// # Looking
//
// Everything happens in looks, which never wait: see what the log has, take up to 1 MiB of whole lines;
// if there are none, see where the pointer is. Next looks, and waits for inotify or the Interval. Inotify
// only makes it sooner: all decisions come from the files, and a look that finds nothing costs six system
// calls. Nothing is decided without a pointer that can be read: empty, torn or missing, it comes back.
//
// Bytes are copied from a mapping of the log. Only those below a size just told by fstat are touched, and
// a fault is caught: a file that is cut meanwhile costs another look. After the copy the size, and what
// stands before the place of reading, are looked at again, and only then the lines count. This takes the
// page cache to be coherent with write(2): local file systems, not NFS.
//
// # Going on to the next log
//
// A log is left when the pointer has moved and all of the log was read after that was seen, up to its
// trailer. Without a trailer (a crash; a writer whose pointer was ahead) it is left when it has not grown
// for 2 s, in any case after 30 s; a last line without its newline is delivered then. Should it grow
// after all, that is a gap of reason "late-growth".
//
// # Order
//
// Numbers come back after a wrap-around, so order is (lap, number), relative to the pointer P:
//
//	own log k ≤ P                 lap  0
//	own log k > P                 lap -1   the lap before, not renamed yet
//	old- log k ≤ P, no own log k  lap  0   renamed in this lap: 1 … half when P is the last
//	old- log k, otherwise         lap -1
//	own log P+1 newer than P's, or P+1 or 1 as new and empty: just created, comes when the pointer names
//	                              it; but lap -1 if there is an old- log P and no old- log P+1
//
// A writer of m logs leaves these states, and each sorts into the order of writing:
//
//	P < m/2       old- 1…m/2 (lap -1), own m/2+1…m (lap -1), own 1…P (lap 0)
//	m/2 ≤ P < m   old- m/2+1…m (lap -1), own 1…P (lap 0)
//	P = m         old- 1…m/2 (lap 0), own m/2+1…m (lap 0)
//
// The renames of a half go one by one in ascending order, or at any other time, without changing that.
// The next log is the next one in this order after ours, wherever ours is now (inode and number tell).
// If ours is gone, its place is that of its number in the newest lap that has it free, and logs last
// changed before it are older whatever their numbers say. A log of lap -1 more than a minute older than
// ours is a leftover of a configuration with more logs, not what comes next.
//
// What was read, or stood there at a first start, is remembered by inode: a log that a writer goes back
// to and appends to (it does if somebody deleted the old- logs) is read from there on.
//
// # Which file it is
//
// An inode number may be given again, and changes when logs are copied or restored. So a Position carries
// a fingerprint, Check: of the first 256 and the last 64 bytes before the offset, less where there are
// less. To resume, the log of that number and Check is taken, under its own name or as old-, preferring
// the same inode. While a log is open the same bytes tell whether its content is still what was read:
//
//	shorter, same beginning     go on at the start of the line in which the file now ends
//	shorter, other beginning    read from 0
//	other bytes before offset   read from 0
//
// A cut that is overtaken by growth before anybody looks is seen as one of these; it cannot be told.
// Other content of the same size is seen when the file's time changes, so at the latest when it grows.
//
// # Gaps
//
// If the log of a Position is gone, or a number is missing between two logs, records may be lost. That is
// believed when it has been so for 2 s (a restore may be under way), then logged as an error, counted in
// Stats, and reading goes on at the oldest log that is certainly newer. The highest number seen tells
// whether a wrap-around left logs out. A cut, or other content, is a gap if it took bytes that had been
// seen in the file and not read ("truncated"); what came and went between two looks nobody can know.
// A file that cannot be read is no gap: it is tried again.
//
// A gap stands in the Batch whose records come after it, or alone in one.
//
// # First start
//
// With the zero Position reading begins at the end of the active log, or at the start of its last line if
// that is unfinished; a log that has its trailer is followed by the next one from its beginning. If there
// is no directory, pointer or log yet, all that appears later is read, from the oldest log on; also after
// a restart, if it is told by NotFirst.
package datalog
