// Package logging makes the log of a primary: where its lines go, that repeats
// are folded, and that a full disk is no reason to stop.
//
//	slog.Logger ─▶ repeats (fold.go) ─▶ text or JSON ─▶ escapes ─┬▶ standard error
//	                                                             └▶ DISTRIBUTOR_LOGS/distributor.log ─ full ─▶ distributor-<time>.log
//
// It does not own the level (a slog.LevelVar of the caller's, changed by a
// reload), nor what is worth logging. Secrets never come here: config.Secret
// prints itself as "(secret)", the gateway does not log URLs.
//
// # Where it goes
//
// To standard error by default, as a service manager wants it. LOG_TO=files or
// both also writes files: with the replaced service DISTRIBUTOR_LOGS was where
// log4js wrote, but a drop-in with an old configuration file must not begin to
// fill a disk that nobody watches, so that key alone turns nothing on. The
// current file is always distributor.log; at 64 MiB it is put aside under a
// name with the time, and ten of those are kept.
//
// # What a line is made of
//
// A line is one record, of characters that can be seen: escape.go. That holds for
// what our other processes write as well, which comes through Forward.
//
// # Repeats
//
// Of lines with the same level and message, 20 in ten seconds are printed; what
// comes beyond is counted, and at the end of the ten seconds the last of it is
// printed with repeated=<how many it stands for>. While it goes on there is one
// such line every ten seconds and no other. A new message is printed at once;
// only with more than 1000 different ones in ten seconds are the rest taken for
// one, so neither memory nor the log grows with what others make us say.
//
// # When it fails
//
// A file that cannot be written (disk full, directory missing or read-only) is
// said once on standard error, which takes the lines until the file works
// again; every line is a new attempt. Logging never returns an error and never
// stops anything. What standard error does not take is lost.
//
// # Who may call
//
// The handler is for any goroutine. Close is called once, when nobody logs any
// more.
package logging
