// Package doctor implements `distributor doctor`: it finds what keeps, or will keep, a distributor
// from working.
//
// The package owns no state and changes nothing: it makes, touches and locks no file, recovers no
// database and listens on no port. It may run beside a distributor, an archiver, or both, as often
// as the operator likes. A run takes at most two seconds, however big the data is: doctor reads
// some KiB of the data logs, and the schema and one end of an index of the databases. Only the
// frame log is verified as a whole, as far as the time allows.
//
// Every check gives at least one finding. A finding says what was found and, unless all is well, a
// remedy. A problem keeps the distributor from doing its work, or an archiver's data from being
// sent. A warning is something that the operator may not have intended. Checks run side by side; a
// check that hangs is abandoned.
//
// # How it looks without touching
//
//	port        bind(2) without listen(2) detects a listener and accepts no connection
//	frame log   /proc/locks names the process that holds the lock
//	databases   the journal's files decide how they are opened (databases.go)
//	clock       adjtimex(2) that sets nothing, and the newest records
//
// No finding contains the value of a secret key.
package doctor
