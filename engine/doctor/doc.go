// Package doctor finds out what keeps a distributor from working, or will: it
// is `distributor doctor`.
//
// It owns no state and changes nothing: no file is made, touched or locked, no
// database is recovered, no port is listened on. It may run beside a
// distributor, an archiver, or both, as often as one likes, and takes at most
// two seconds however big the data is: of data logs it reads some KiB, of
// databases the schema and one end of an index. Only the frame log is verified
// as a whole, as far as time allows.
//
// Every check gives one finding or more, each with what was found and, if it is
// not well, a remedy. A problem is what keeps the distributor from doing its
// work, or an archiver's data from being sent; a warning is what the operator
// may not have meant. Checks run side by side; one that hangs is given up.
//
// # How it looks without touching
//
//	port        bind(2) without listen(2): told of a listener, seen by nobody
//	frame log   who holds its lock is read from /proc/locks
//	databases   the journal's files decide how (databases.go)
//	clock       adjtimex(2) that sets nothing, and the newest records
//
// Values of secret keys appear in no finding.
package doctor
