// Package resume remembers how far each collector has confirmed, so that one that comes back within
// the window goes on from there, unmodified collectors included: their pongs echo the position that
// our pings carry.
//
// It owns the memory and its file. It does not decide who asks (the gateway does, for a request
// without from=) nor what a position means (an offset of one life of the frame log).
//
// # What is promised
//
// At least once, in order, nothing missed: a remembered offset is never beyond what the collector
// has confirmed: by a pong, or by the answer to our close frame. It may be older, by what was sent
// after the last ping it answered and, after a crash of the primary, by what was confirmed in the
// last SaveEvery; that much comes twice.
//
// # The window
//
// It counts from the last word of the collector: a confirmation, or the end of its connection.
// Setting the wall clock while the process runs does not change it; setting it forward while none
// runs is time that has passed, and setting it back is none. Keys are forgotten when it has passed.
// Their number is bounded by maxKeys, the longest silent go first.
//
// # The lock
//
// Confirmed is called where nobody may wait. So nothing holds its lock for longer than it takes to
// copy, or to drop, a chunk of 1024: Save copies one at a time and writes without the lock, and the
// longest silent is the first of a list.
//
// # The file
//
// One JSON line, replaced atomically, every SaveEvery and only after a change; SaveFresh after a
// collector has become known that it does not have. It names the frame log's life; offsets of
// another are not used. A file that is damaged is said so once and begun anew: collectors then
// start live, as with a first connection.
//
// All methods may be called from any goroutine.
package resume
