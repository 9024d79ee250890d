// Package querytest is what the replaced service answered to 1,367 HTTP requests, and the judge of who answers them now.
//
// It owns the recording (testdata), the databases that were asked, and the rules by which an answer is as good as the
// recorded one. engine/query's tests put the requests to its handler behind engine/gateway, engine/enginetest puts them
// to the real binary. It knows nothing of either: what it is given is an address.
//
//	Read ─▶ Corpus ─▶ Case ── Ask(address) ─▶ Answer ── Judge ─▶ why it is wrong, or nothing
//	Unpack: the databases of a Config, in a fresh folder
//
// All is read-only once read, and may be used from many goroutines. What goes wrong with the recording itself panics: it
// is part of the program.
package querytest
