// Package framelog stores frames in an append-only, memory-mapped log. One process writes the log,
// and any number of processes send from it. A frame is opaque bytes, ready for the wire. A frame's
// offset is its byte position in the log; offsets only grow.
//
// The package owns a directory: the files, retention, and the proof that a reader never sees a
// torn, changed or damaged frame. It does not know what a frame contains, what streams and sources
// mean, which client reads where, or how readers learn that the head has moved. Readers load the
// head themselves; the caller wakes them.
//
// # Files
//
//	lock                        flock'ed by the writer; holds the writer's process id
//	head                        one page, see below
//	head.new                    a head with a new ID, before it is renamed to head
//	<base>.frames <base>.index  a segment; base: logical offset of its first byte, 16 hex digits
//	spare.frames  spare.index   the next segment, prepared before it is needed
//	copy.frames   copy.index    a copy of a segment, before it takes the segment's place
//
// docs/FRAMELOG.md describes every field. All numbers are little-endian (amd64, arm64) and all
// words are 8-byte aligned. A * marks words that another process may read while they change: these
// words are atomics.
//
//	head, 4096 bytes                             index, a page and then 64 bytes a frame
//	  0  "FLOGHEAD"                                0  "FLOGINDX"
//	  8  version, 1                                8  version, 1
//	 16  ID, 16 bytes                             16  base
//	 32  CRC-32C of bytes 0–31                    24  frames in all earlier segments
//	 40  boot ID of the machine, 16 bytes         56  CRC-32C of the page without words 56 and 64
//	 56* lost: the head when a sync failed        64* sealed: logical end; 0 while active
//	 64* head: committed up to here              128  64 × (end of the newest frame of stream n,
//	 72* frames committed, ever                       its source, 32 bytes), as they were
//	 80* marks, see Writer.Mark                       when the segment began
//	128* floor: nothing below is served
//	136* synced: all below it is on disk        4096  entries
//	144* state: 1 open, 2 closed, 3 ID given up,
//	     4 left to the next writer of this boot
//	152* floor when the ID was given up
//	512  64 × (earlier ID, end), CRC-32C
//
//	entry                                        frames
//	  0* end, logical                              frame │ frame │ frame │ …   from byte 0, without
//	  8  cycle                                     gaps, so that one send(2) sends many
//	 16  time, ns
//	 24  source, 32 bytes
//	 56  stream  57 flags (0)  58 0
//	 60  CRC-32C of bytes 0–59, then of the frame
//
// A frame begins where the previous frame ends; the first frame begins at the base. The base of the
// next segment is the end of this segment, so offsets have no gaps. A segment is sealed when the
// next frame does not fit or the index is full. The index has one entry for every 1 KiB of the
// segment. A frame longer than a segment gets a segment of its own size.
//
// Both files are preallocated and never sparse, so a full disk is reported as ErrNoSpace when a
// segment is made, not as an error later. (Copy-on-write file systems such as btrfs do not promise
// this.) A background goroutine makes the next segment as soon as the last spare is taken, and
// populates the pages of the index, which is mapped.
//
// The writer writes frames with pwrite(2), a chunk at a time; only readers map the frames file.
// Storing frames into a mapping costs four times the CPU, most of it for zeroing pages that are
// about to be overwritten (0.7 against 0.18 s for 1 GiB, ext4, pages populated ahead or not). Once
// a sealed segment is committed, ftruncate gives back what its frames file has beyond the last
// frame. This is safe under the mappings of readers: no reader touches a byte beyond the head, and
// the head was never in that part. The index file keeps its size, because a search of the index
// does touch unused entries.
//
// # Publishing
//
// Append stores the frame's entry in the mapping. Commit writes the frames and stores the head. A
// reader that loads head H may read all bytes and entries that end at or below H and every seal
// below H, and it finds every segment with a base below H by name:
//
//   - MAP_SHARED mappings of the same file are the same physical pages. So processes share these
//     pages as threads share memory, and the machine's memory model holds between processes. pwrite
//     stores into the same pages before it returns.
//   - The store of the head is sync/atomic's. On amd64 it is an XCHG, before which all earlier
//     stores are visible (also the non-temporal stores that a large copy may use); on arm64 it is a
//     store-release (STLR). The load is a MOV on amd64, which later loads never overtake, and a
//     load-acquire (LDAR) on arm64. The compiler moves no access over the store or the load.
//   - Hence a load that sees the value also sees everything stored before it. Files get their names
//     by rename(2) before the store, and other processes see a rename at once.
//
// The head moves from frame end to frame end and never back within an ID. Stores of 8 aligned bytes
// are not torn.
//
// # Reading the index
//
// A reader searches the whole index file without knowing how many entries are in use. Entries of
// committed frames ascend. Entries behind them end beyond the head or are zero, and the search
// takes zero for infinite. If a killed writer appended entries and never committed them, the next
// writer zeroes them before it appends. So "the first entry that ends after x" is well defined for
// every x below the head. The reader still checks the entry it found before using it.
//
// # Retention
//
// A whole segment is removed once RetainBytes of newer frames are committed. The floor is raised
// first, then the files are unlinked. Files are never re-used. A reader that is overtaken gets
// ErrBelowFloor, never other bytes: the frames it was given stay mapped and correct until its next
// call. So no safety distance between floor and removal is needed. A Reader unmaps segments below
// the floor when it next looks something up; until then the files still take their space. If a
// Reader has no clients, call Frames(Head()-1, 1) now and then, or close the Reader.
//
// While an fsync hangs, retention goes on. If more than sixteen sealed segments wait for that
// fsync, the writer closes their files and opens them again later: see Writer.relieve.
//
// # Mappings
//
// A segment takes two mappings, and a process may have vm.max_map_count of them (65,530 by
// default). So no code maps all segments. A Reader keeps at most an eighth of that number and
// unmaps the least recently used. A scan maps 64 segments at a time. The writer maps the active
// segment, the spare, and the segments that wait for the disk.
//
// # When it fails
//
// If the file system refuses an operation, Append, Commit and Mark return ErrBlocked (with
// ErrNoSpace, if that is the cause): no room for the next segment, an I/O error of a write, a
// read-only file system. In that case nothing has changed, nothing is deleted early, and the same
// call works once the file system works again.
//
//   - A failed write leaves its frames pending. They are written again at the same offset, so a
//     partial write does no harm: the head moves only when all bytes are written. From the second
//     failure on, the frames go to the next segment if it can be made. The active segment is then
//     sealed at the head, so a bad place in its file loses no frame.
//   - A store into a clean mapped page asks the file system, which may refuse: SIGBUS. For the
//     index and the head this is also ErrBlocked, unless the file is shorter than its mapping.
//   - A segment that was abandoned on the way is removed before the head moves again, because a
//     reader must not find its name.
//
// If another program truncated the active segment, the error is ErrDamaged and the log has to be
// opened again. Going on in the next segment would be possible, but the truncated frames were
// committed and may not have been sent to every client. The next opening gives these frames up, and
// their records are made again.
//
// A killed process loses nothing, because the page cache belongs to the kernel. The next OpenWriter
// goes on at the head, with the same ID. Frames that were appended and not committed are gone, and
// LastSource says where to begin again. LastSource also knows the newest source of streams whose
// frames are all below the floor, from the segments' headers.
//
// A machine that goes down loses what was not on disk. Sealed segments are synced in the
// background, the active segment by Close; between, the kernel writes when it chooses (dirty pages
// within about 30 s). If the boot ID has changed and the log was not closed, the log gets a new ID,
// because frames beyond its end may have been sent: an offset never means two things under one ID.
// The log ends before the first bad frame above Synced. The records from there on come after
// LastSource, and are appended again.
//
// Synced alone says what was on disk: everything below it is there, or was removed by retention. A
// bad place below Synced is damage, and the floor rises above it. No other field of a head makes a
// bad place damage. sync.go has the order of syncs for which this holds, recover.go the order of a
// recovery; TestOrder has both with their reasons. TestPowerLoss (`make powerloss`) cuts the power
// of a real file system.
//
// A failed sync is remembered in the head for this boot, because the kernel reports a lost write
// only once. Until the segments that existed then are gone, Synced does not move and the log is not
// marked as closed. The next writer of this boot copies those segments into new files: a file
// system may no longer know that pages of the old files are not on disk.
//
// A Transient log is not synced once it is open. After a killed process it goes on like any other
// log. After a crash of the machine it has what the kernel happened to have written.
//
// # Earlier IDs
//
// A new head keeps the earlier IDs, each with the offset up to which the ID means the same frames.
// These are the IDs in the old head, cut to the new end, and the old head's own ID. They are
// written with the new head before it gets its name, and do not change; so an interrupted recovery
// adds nothing to them. 64 IDs are kept. If a head is missing or damaged, its earlier IDs are lost.
// The earlier IDs are true because entries that are given up are off the disk before others take
// their place.
//
// A log that ends before Options.Reached was restored from an older copy. It gets a new ID, like a
// log that has lost its end.
//
// # Opening a closed log
//
// A log that was closed in this boot, or left to the next writer (Leave), is trusted: its frames
// are in the page cache or on disk. OpenWriter then reads names, sizes and headers, and the index
// of the last segment (3 to 25 ms for 2 GiB on 2 busy cores). OpenWriter verifies everything if one
// of these is not as the close left it, if a sync has failed, or in another boot.
//
// Otherwise OpenWriter verifies every kept frame and entry (0.13 s for 1 GiB in memory, on 2
// cores). A bad place is never served, and never an error. If the disk cannot deliver a place,
// OpenWriter reads it again, with pauses of at most a second in all, before the place counts as
// bad. If a file cannot be opened for another reason (descriptors, permissions), the opening fails
// and changes nothing.
//
//	frame, entry, file or segment bad, below Synced       floor raised above it; Recovery.Damaged
//	the same above Synced, or nothing good follows        log ends before it, new ID;
//	                                                      Recovery.GivenUp
//	head lower than the end of the newest frame counted   log goes on to there, same ID
//	head missing, damaged, or where no frame ends         log goes as far as it verifies, new ID
//	Synced beyond the head                                nothing counts as on disk
//	nothing good above the floor                          the same below it, in segments that
//	                                                      retention has not removed yet
//	sealed end wrong                                      repaired from the next segment's name
//	halves of segments, spares, segments beyond the head  left by a crash; removed
//	recovery itself interrupted                           the next one comes to the same end
//	another format version                                ErrVersion, for reader and writer;
//	                                                      nothing is touched
//
// Every format version keeps magic, version and check of both pages as drawn above, so that a
// version whose check is wrong counts as damage. TestHeadWords damages every word of the head.
//
// While the log is open, readers of an ID that was given up get ErrReplaced. If another program
// truncates a segment file, or a disk cannot deliver a page, the process that reads the mapping
// gets SIGBUS. Frames, FrameEnd and Meta turn SIGBUS into ErrDamaged (SetPanicOnFault, where the
// index is read); passing such mapped frames to send(2) gives EFAULT. If the disk fails for a
// moment only, the next try works: the failure is not remembered.
//
// Accepted limits:
//
//   - A truncated head file kills its readers (loudly).
//   - Without Options.Reached the log cannot tell that its directory was restored from a copy,
//     which may re-use offsets.
//   - If a file system loses writes and is mounted again in the same boot, the log may go on, with
//     its ID, from an older head.
//
// # Concurrency
//
// There is one Writer, and one goroutine uses it; Head, Floor, ID and Stats may be called from any
// goroutine until Close. There may be any number of Readers in any number of processes, each with
// one goroutine and its own mappings; Head, Floor and ID may be called from any goroutine until
// Close. The writer has three goroutines. The first makes segments. The second syncs, trims and
// unlinks. The third does what cannot wait for a disk that hangs. The Writer passes them work in
// queues and gets segments from the spare channel; they share no other state than the head's
// atomics and the counters.
package framelog
