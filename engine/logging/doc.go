// Package logging makes the log of a primary. It decides where the lines go, folds repeats, and
// keeps the process running when the disk is full.
//
//	slog.Logger ─▶ repeats (fold.go) ─▶ text or JSON ─▶ escapes ─┬▶ standard error
//	                                                             └▶ DISTRIBUTOR_LOGS/distributor.log
//	                                            when full, renamed ─▶ distributor-<time>.log
//
// The package does not own the level (a slog.LevelVar of the caller, which a reload changes) and
// does not decide what is logged. Secrets never reach it: config.Secret prints itself as
// "(secret)", and the gateway does not log URLs.
//
// # Where it goes
//
// The log goes to standard error by default, as a service manager expects. LOG_TO=files or
// LOG_TO=both also writes files. The replaced service's log4js wrote to DISTRIBUTOR_LOGS. But that
// key alone does not turn files on, because a drop-in replacement with an old configuration file
// must not start to fill a disk that nobody watches. The current file is always distributor.log. At
// 64 MiB it is renamed to a name with the time, and ten such files are kept.
//
// # What a line is made of
//
// A line is one record and consists of visible characters (escape.go). That also holds for the
// output of our other processes, which comes through Forward.
//
// # Repeats
//
// Of the lines with the same level and message, 20 are printed in ten seconds. Further lines are
// counted; at the end of the ten seconds the last of them is printed with repeated=<number of lines
// it stands for>. While the repetition continues, there is one such line every ten seconds and no
// other. A new message is printed at once. If there are more than 1000 different messages in ten
// seconds, the rest count as one message. So neither memory nor the log grows with what clients
// make us log.
//
// # When it fails
//
// If a file cannot be written (disk full, directory missing or read-only), standard error says so
// once and gets the lines until the file works again. Every line is a new attempt. Logging never
// returns an error and never stops anything. Lines that standard error does not accept are lost.
//
// # Who may call
//
// The handler may be called from any goroutine. Close is called once, when nothing logs anymore.
package logging
