// Package resume remembers how far each collector has confirmed. A collector that returns within
// the window continues there. This works for unmodified collectors too, because their pongs echo
// the position that our pings carry.
//
// The package owns the memory and its file. It does not decide which requests resume (the gateway
// does, for a request without from=), and it does not know what a position means (an offset under
// one id of the frame log).
//
// # What is promised
//
// At least once, in order, nothing missed. A remembered offset is never beyond what the collector
// has confirmed by a pong or by its answer to our close frame. The offset may be older: by what was
// sent after the last ping that the collector answered and, after a crash of the primary, by what
// was confirmed in the last SaveEvery. That much comes twice.
//
// # The window
//
// The window starts with the last sign of the collector: a confirmation, or the end of its
// connection. Setting the wall clock while the process runs does not change the window. If no
// process runs, setting the clock forward counts as time that has passed, and setting it back
// counts as no time. A key is forgotten when its window has passed. maxKeys limits the number of
// keys; the key that was silent for longest is forgotten first.
//
// # The lock
//
// Confirmed is called where the caller must not wait. So no holder keeps the lock for longer than
// copying or dropping a chunk of 1024 keys takes: Save copies one chunk at a time and writes
// without the lock, and the key that was silent for longest is the first of a list.
//
// # The file
//
// The file is one JSON line, replaced atomically, every SaveEvery and only after a change. It is
// replaced SaveFresh after a collector has become known that the file does not have. The file names
// the id of the frame log; offsets under another id are translated. A damaged file is reported once
// and replaced: collectors then start live, as with a first connection.
//
// All methods may be called from any goroutine.
package resume
