// Package framelog is the append-only, memory-mapped log of frames that one process writes and any number of processes
// send from. A frame is opaque bytes, ready for the wire; where it stands is its offset, a byte position that only grows.
//
// It owns a directory: its files, what is kept of the past, and the proof that a reader never sees a torn, changed or
// damaged frame. It does not know what is in a frame, what streams and sources mean, who reads where, or how readers
// learn that the head has moved (they look at it; waking them is the caller's).
//
// # Files
//
//	lock                        flock'ed by the writer, holds its process id
//	head                        one page, see below
//	head.new                    a head with a new ID, before it gets its name
//	<base>.frames <base>.index  a segment; base: logical offset of its first byte, 16 hex digits
//	spare.frames  spare.index   the next segment, prepared before it is needed
//	copy.frames   copy.index    a copy of a segment, before it takes the segment's place
//
// All numbers are little-endian (amd64, arm64), all words 8-byte aligned; a * marks those that another process may
// read while they change: they are atomics.
//
//	head, 4096 bytes                             index, a page and then 64 bytes a frame
//	  0  "FLOGHEAD"                                0  "FLOGINDX"
//	  8  version, 1                                8  version, 1
//	 16  ID, 16 bytes                             16  base
//	 32  CRC-32C of bytes 0–31                    24  frames in all segments before
//	 40  boot ID of the machine, 16 bytes         56  CRC-32C of the page without words 56 and 64
//	 56* lost: a sync failed, the head was here
//	 64* head: committed up to here               64* sealed: logical end; 0 while active
//	 72* frames committed, ever                  128  64 × (end of the newest frame of stream n, its source 32 bytes),
//	 80* marks, see Writer.Mark                       as they stood when the segment began
//	128* floor: nothing below is served
//	136* synced: all below it is on disk        4096  entries
//	144* state: 1 open, 2 closed, 3 ID given up,
//	     4 left to the next writer of this boot
//	152* floor when the ID was given up
//	512  64 × (earlier ID, up to where), CRC-32C
//
//	entry                                        frames
//	  0* end, logical                              frame │ frame │ frame │ …   from byte 0, nothing between,
//	  8  cycle                                     so that one write(2) sends many
//	 16  time, ns
//	 24  source, 32 bytes
//	 56  stream  57 flags (0)  58 0
//	 60  CRC-32C of bytes 0–59, then of the frame
//
// A frame begins where the one before ends; the first at the base. The next segment's base is this one's end: offsets
// have no gaps. A segment is sealed when the next frame does not fit or its index is full, which has an entry for every
// 1 KiB of the segment. A frame longer than a segment gets one of its own size.
//
// Both files are preallocated, never sparse: a full disk is ErrNoSpace when a segment is made, not an error later.
// (File systems that copy on write, as btrfs, give no such promise.) A background goroutine makes the next segment
// as soon as the last one is taken, and populates the pages of its index, which is mapped.
//
// Frames are written by pwrite(2), a chunk at a time, and mapped by readers alone: storing them into a mapping costs four times
// the CPU, most of it for zeroing pages that are about to be overwritten (0.7 against 0.18 s for 1 GiB, ext4, pages
// populated ahead or not). Once a sealed segment is committed, what its frames file has beyond the last frame is given back
// with ftruncate. That is safe under the mappings of readers because none touches a byte beyond the head, and the head was
// never there. The index stays as it is, because searching it does touch what is not used.
//
// # Publishing
//
// Append stores the frame's entry in the mapping; Commit writes the frames and stores the head. A reader that loads head H may
// read all bytes and entries that end at or below H, every seal below H, and finds every segment with a base below H by name:
//
//   - Mappings with MAP_SHARED of the same file are the same physical pages, so that processes are to each other what
//     threads are, and the memory model of the machine holds between them. pwrite stores into these pages as well, before it
//     returns.
//   - The store of the head is sync/atomic's: on amd64 an XCHG, before which all earlier stores are visible (also the
//     non-temporal ones that a large copy may use); on arm64 a store-release (STLR). The load is a MOV on amd64, which
//     later loads never overtake, and a load-acquire (LDAR) on arm64. The compiler moves no access over either.
//   - Hence a load that sees the value has all that was stored before it. Files get their names by rename(2) before that,
//     which other processes see at once.
//
// The head moves from frame end to frame end, never back within an ID, and stores of 8 aligned bytes are not torn.
//
// # Reading the index
//
// A reader searches the whole index file, without knowing how many entries are in use: entries of committed frames are
// ascending; those behind end beyond the head or are zero, which the search takes for infinite; and what a killed
// writer appended and never committed is zeroed by the next before it appends. So "the first that ends after x" is well
// defined for every x below the head. What it finds is checked all the same before it is used.
//
// # Retention
//
// Whole segments go once RetainBytes of newer ones are committed. The floor is raised, then the files are unlinked; none
// is ever re-used. A reader that is overtaken gets ErrBelowFloor, never other bytes: what it had been handed stays mapped and
// right until its next call. There is no safety distance, for there is nothing that it would make safer. A Reader unmaps
// what is below the floor when it next has to look something up; until then those files still take their space. One
// without clients should call Frames(Head()-1, 1) now and then, or be closed.
//
// # Mappings
//
// A segment takes two mappings, of which a process may have vm.max_map_count (65,530 by default). So nothing maps all
// segments: a Reader has an eighth of that number at most and unmaps what it has not used for longest, a scan has 64
// segments at a time, the writer the active one, the spare and those that wait for the disk.
//
// # When it fails
//
// A file system that refuses something makes Append, Commit and Mark return ErrBlocked (with ErrNoSpace, if that is why):
// no room for the next segment, an I/O error of a write, a read-only file system. Nothing has changed then, nothing is
// deleted early, and the same call works when the file system does.
//
//   - A failed write leaves its frames pending. They are written again at the same offset, so a part that was written does
//     not matter: the head moves only when all bytes are there. From the second failure on they go to the next segment, if
//     that can be made; the active one is sealed at the head, and a bad place in it costs nobody anything.
//   - A store into a mapped page that is clean asks the file system, which may refuse: SIGBUS. For the index and the head
//     that is ErrBlocked as well, unless the file is shorter than its mapping.
//   - What was abandoned on the way is removed before the head moves again: a reader must not find its name.
//
// An active segment that somebody has truncated is ErrDamaged, and the log has to be opened again. Going on in the next
// segment would be possible, but what was cut off has been committed and may not have been sent to everybody. The next
// opening gives it up, and its records are made again.
//
// A process that is killed loses nothing: the page cache is not its own. The next OpenWriter goes on at the head, with
// the same ID; frames that were appended and not committed are gone, and LastSource says where to begin again.
// It also knows the newest source of streams whose frames are all below the floor, from the segments' headers.
//
// A machine that goes down takes along what was not on disk. Sealed segments are synced in the
// background, the active one by Close; between, the kernel writes as it likes (dirty pages within
// about 30 s). If the boot ID has changed and the log was not closed, the log gets a new ID,
// because frames beyond its end may have been sent: an offset never means two things under one ID.
// The log ends before the first bad frame above Synced. The records from there on are after
// LastSource, and come again.
//
// Synced alone says what was on disk: all below it is there, or was retired. A bad place below
// Synced is damage, and the floor rises above it; nothing else that a head says makes a bad place
// damage. sync.go has the order of syncs in which this holds, recover.go that of a recovery,
// TestOrder both with their reasons; TestPowerLoss (`make powerloss`) cuts the power of a real file
// system.
//
// A sync that fails is remembered in the head for this boot, as the kernel reports a lost write
// only once. Until the segments that there were then are gone, Synced does not move, and no close
// is said. The next writer of this boot copies those segments into new files: a file system may not
// know any more that pages of the old ones are not on disk.
//
// # Earlier IDs
//
// A new head keeps the IDs before it, with the offset up to which each means the same frames: the
// chain of the head before, cut to the new end, and that head's own ID. The chain is written with
// the head, before that gets its name, and does not change; so a recovery that is interrupted adds
// nothing to it. 64 IDs are kept. A head that is missing or damaged takes its chain along. What
// makes the chain true is that entries that are given up are off the disk before others take their
// place.
//
// A log that ends before Options.Reached was put back from an older copy. It gets a new ID, like
// one that has lost its end.
//
// # Opening a closed log
//
// A log that was closed in this boot, or left to the next writer (Leave), is trusted: its frames
// are in the page cache, or on disk. OpenWriter then reads names, sizes and headers, and the index
// of the last segment (3 to 25 ms for 2 GiB on 2 busy cores). It verifies all where one of these is not as the
// close left it, where a sync has failed, and in another boot.
//
// A Transient log is not synced once it is open: it goes on after a killed process as any does, and after a crash of the machine it has what
// the kernel happened to have written.
//
// While an fsync hangs, retention goes on, and what waits for it is let go of beyond sixteen segments: see Writer.relieve.
//
// Otherwise OpenWriter verifies every kept frame and entry (0.13 s for 1 GiB in memory, on 2 cores). What it finds is never
// served, and never an error. A place that the disk cannot deliver is asked for again, in pauses of a second at most in
// all, before it counts as bad. A file that cannot be opened for another reason (descriptors, permissions) ends the
// opening, and nothing is changed.
//
//	frame, entry, file or segment bad, below Synced       floor raised above it; Recovery.Damaged
//	the same above Synced, or nothing good follows        log ends before it, new ID; Recovery.GivenUp
//	head lower than the end of the newest frame counted   log goes on to there, same ID
//	head missing, damaged, or where no frame ends         log goes as far as it verifies, new ID
//	Synced beyond the head                                nothing counts as on disk
//	nothing good above the floor                          the same below it: segments that were to be removed
//	sealed end wrong                                      repaired: the next segment's name tells
//	halves of segments, spares, segments beyond the head  left by a crash; removed
//	recovery itself interrupted                           the next one comes to the same end
//	another format version                                ErrVersion, for reader and writer; nothing is touched
//
// Every format version keeps magic, version and check of both pages as they are drawn above, so that a version whose
// check is wrong is known for damage. TestHeadWords damages every word of the head.
//
// While it runs: readers of an ID that was given up get ErrReplaced. A segment file that somebody truncates, or a disk
// that cannot deliver a page, is SIGBUS for who reads the mapping. Frames, FrameEnd and Meta turn it into ErrDamaged
// (SetPanicOnFault, where the index is read); handing mapped frames to write(2) gives EFAULT. If the disk fails for a
// moment only, the next try works: nothing is remembered of it. Accepted limits: a truncated head file kills its readers
// (loudly); without Options.Reached the log cannot tell that its directory was put back from a copy, which may re-use offsets; and
// a file system that loses writes and is mounted again in the same boot may have it go on, with its ID, from an older head.
//
// # Who may call
//
// One Writer, one goroutine; Head, Floor, ID and Stats from any until Close. Any number of Readers in any number of processes, each with
// one goroutine and its own mappings; Head, Floor, ID from any until Close. The writer has three goroutines: one makes segments,
// one syncs, trims and unlinks, and one does what cannot wait for a disk that hangs. They meet it in queues and the spare channel, and share no other state than the head's atomics and the counters.
package framelog
