// Package querytest holds what the replaced service answered to 1,367 HTTP requests, and checks
// answers against that.
//
// It owns the recording (testdata), the databases that were queried, and the rules by which an
// answer equals the recorded one. engine/query's tests send the requests to its handler behind
// engine/gateway, engine/enginetest sends them to the real binary. The package knows neither: it
// gets an address.
//
//	Read ─▶ Corpus ─▶ Case ── Ask(address) ─▶ Answer ── Check ─▶ an error, or nil
//	Unpack: the databases of a Config, in a fresh directory
//
// Everything is read-only once read, and may be used from many goroutines. Errors in the recording
// itself panic, because it is part of the program.
package querytest
