// Package datalog follows an archiver's data logs: it delivers every line that is appended to the
// logs of one stream, once, in the order in which they were written, over rotation, wrap-around,
// renames and restarts.
//
// It owns the reading: which file, which bytes, which line. It does not own what a line means
// (damaged JSON comes out too; the encoder refuses it), nor where positions are stored: each Record
// carries the Position after it, and whoever has dealt with the record keeps that and starts from
// it next time. It never writes to the directory.
//
// A Follower belongs to one goroutine, which calls Next, Position and Close; Stats may be called
// from any.
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
// To rotate, a writer appends the trailer, at half and at the full number of logs deletes the old-
// logs and renames the other half so, creates the next log (after the last one, log 1), and
// rewrites the pointer, which is empty for a moment. Records come into a log only after the pointer
// names it.
//
// Lines end at \n only; one \r before it is left off. Lines of white space and trailers are passed
// over. A trailer is a whole line "End: Number of (entries|bytes): <digits>"; its number is often
// wrong and not looked at. A line without its newline is waited for.
//
// # Looking
//
// Everything happens in looks, which never wait: see what the log has, take up to 1 MiB of whole
// lines; if there are none, see where the pointer is. Next looks, and waits for inotify or the
// Interval. Inotify only makes it sooner: all decisions come from the files, and a look that finds
// nothing costs six system calls. Nothing is decided without a pointer that can be read: empty,
// torn or missing, it comes back. A look reads at most 100 times without a record, so that a file
// that changes all the time cannot keep it busy.
//
// Bytes are copied from a mapping of the log. Only those below a size just told by fstat are
// touched, and a fault is caught. After the copy, three things are looked at again, once a batch,
// and only then the lines count: the size; what stands before the place of reading; and, by pread,
// the end of what was copied. A mapping that faults though the file is no shorter, or shows other
// bytes than pread, is given up, and the file is read instead. That is so on an overlay file
// system, where the first write copies a log up from a lower layer under the mapping, and where a
// file cannot be mapped at all. Reading takes the page cache to be coherent with write(2): local
// file systems, not NFS.
//
// # Which file it is
//
// A file is named by device and inode while the Follower runs. Neither proves anything for long: an
// inode number is given again, and it changes when logs are copied or restored. The content proves.
// A Position carries a fingerprint, Check: half of it hashes the first 256 bytes, half the last 64
// before the offset (less where there are less). 256 bytes hold the first record's hashes and
// times, 64 the end of a record's signature: no two logs share them. While a log is read, such a
// mark is kept of each record (of every second one, when there are more than 8192, and so on);
// after a restart, Options.Past brings the marks back when they are needed, from the frames that
// were made of the records.
//
// A file of the right number is
//
//	the same    its bytes before the offset are those of the Position
//	older       another mark before the offset fits, or, if no mark is known, the file is shorter and
//	            its first 256 bytes fit; an empty file, if it has the inode and no log was changed since
//	another     else
//
// The same log is read on, also in a copy. An older state is likelier than another log that begins
// like ours: somebody restored a copy, or the archiver's machine went down before the last bytes
// were on its disk. Reading goes back to the last mark that fits. What the file holds before it is
// not sent again; what it has lost was read. If it grows to hold it again, that is skipped; if it
// grows on with another line, that line and all that follows are new. So are whole
// lines that it holds behind the mark when it is found. A writer that was started again appends
// behind a torn line without a newline. So where the torn line ended a new line begins, if the byte
// there is one that a writer's line begins with. The Position stays that of what was read until new
// lines come.
//
// While the log that was read is still open, an older copy of it is compared with it, byte by byte,
// so that no mark is needed.
//
// An older state for which no mark is known, changed later than the Position (by more than 1 s:
// network file systems keep full seconds), may hold lines that were appended and cannot be told
// from those that were read: a gap "truncated". Another log under the same name is read from its
// beginning: a gap "log-gone" after a restart. The times of files say nothing else about what a
// file is.
//
// While a log is open:
//
//	shorter, a mark fits         older
//	shorter, same beginning      go on at the start of the line in which the file now ends
//	other bytes before offset    older if a mark fits; else read from 0
//
// Other content of the same size is seen when the file's time changes, so at the latest when it
// grows.
//
// # Zero bytes
//
// Zero bytes stand where nothing was written yet, or where a crash has taken what was written: they
// are never part of a record. At the end of a log they are waited for. With something behind them
// they get 2 s to be written over; then they are passed over, with what stands before them in their
// line, as a gap "truncated" unless they lie where was read before (a log that was cut under a
// writer that goes on at its old offset).
//
// # Going on to the next log
//
// A log is left when the pointer has moved and all of the log was read after that was seen, up to
// its trailer. A writer ends a log before it begins the next one. So without a trailer the rest may
// be on its way: the directory is a copy, whose files come in any order. The log is left
//
//	after 2 s     if the file is gone or another log has its name
//	after 30 s    without growth: two logs of the usual 10 MiB take so long at 700 kB/s
//	after 10 min  without growth, in a mirror; in any case, if it goes on growing
//
// A mirror is a directory in which a log was replaced by a copy of itself within the last 10 min:
// the job that keeps it comes again after some minutes at most. A last line without its newline is
// delivered when the log is left. Should the log, or a copy in its place, grow after all, that is a
// gap "late-growth"; it is looked for every 10 s in the 10 min after, and at each rotation. Waiting
// shows in Stats.Trouble.
//
// Left and Options.Left carry where the latest logs were left over a restart: growth meanwhile is
// a gap too.
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
// The renames of a half go one by one in ascending order, or at any other time, without changing
// that. The next log is the next one in this order after ours, wherever ours is now. If ours is
// gone, its place is that of its number in the newest lap that has it free, and logs last changed
// before it are taken for older ones: a gap.
//
// What was read, or stood there at a first start, is remembered by file and content: a log that a
// writer goes back to and appends to (it does if somebody deleted the old- logs) is read from there
// on. A log of lap -1 that nobody has read, and that is more than a minute older than ours, is a
// leftover of a configuration with more logs: it is passed over, as a gap. It is read if the times
// cannot be trusted: if a log of lap 0 is older than ours, the clock was set, or a copy did not
// keep the times.
//
// # Gaps
//
// Whatever is left unread for good is a gap: logged as an error, counted in Stats, delivered in the
// Batch whose records come after it, or alone in one. If the log of a Position is gone, or a number
// is missing between two logs, that is believed when it has been so for 2 s (10 min in a mirror): a
// restore may be under way. Then reading goes on at the oldest log that is certainly newer. The
// highest number seen tells whether a wrap-around left logs out. A cut, or other content, is a gap
// if it took bytes that had been seen in the file and not read ("truncated"); what came and went
// between two looks nobody can know.
//
// A file that cannot be read is no gap: it is tried again, for as long as it takes, and is
// Stats.Trouble.
//
// # First start
//
// With the zero Position reading begins at the end of the active log, or at the start of its last
// line if that is unfinished; a log that has its trailer is followed by the next one from its
// beginning. If there is no directory, pointer or log yet, all that appears later is read, from the
// oldest log on; also after a restart, if it is told by NotFirst. An empty log that may be the next
// one is no beginning until it has been there for 2 s, because a clock that was set back shows it
// as older. After a restart, a log that is about to be begun is not skipped, though it has come
// before the pointer that names it.
//
// # Accepted limits
//
// After a restart in a copied directory with untrue times, a Position in the first 64 bytes of a
// log tells nothing of two logs of its number: the wrong one may be read again. A log of which less
// than 64 bytes were read when a copy takes its place is another log, and the copy is read from its
// beginning. A log that was cut to less than 256 bytes, and moved to another file system, is another
// log.
package datalog
