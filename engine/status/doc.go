// Package status knows how the distributor is: it asks all parts once a second
// and keeps the newest answer, a Status, for whoever wants to see it.
//
//	sources, encoder, frame log ───┐
//	supervisor (workers' reports) ─┼─▶ Board ─▶ Status ─┬─▶ /status, /events, the page   engine/admin
//	gateway, API, /proc, log ──────┘   every second     └─▶ Prometheus                  engine/metrics
//
// It owns the form of a Status, the figures that need a past (percentiles of
// the last ten seconds, for how long a stream has been behind), and the list of
// events. It does not decide what is healthy (Sources.Problems says so), serve
// HTTP, or count: every counter belongs to the part that it is about.
//
// # Costs
//
// The parts are asked on one goroutine, Board.Run's, once a second whether
// anybody looks or not: BenchmarkBoard has what that costs. Looking costs the
// parts nothing: all viewers share a Status and its JSON. Workers report by
// themselves once a second, so what is said of them is up to two seconds old.
//
// # Events
//
// An Events is a slog.Handler around the real one: every line of the log from
// info on becomes an event, which suits a log that says what happened and not
// what is going on. A line that says the same of the same thing within a minute
// raises the former one's count.
//
// # Concurrency and failure
//
// All methods may be called from any goroutine. A Status is never changed after
// it was given out. What cannot be read (a process that has just ended) is left
// out, and is there again, or gone, a second later.
package status
