// Package status collects the state of the distributor. Once a second it reads the figures of all
// components into a Status, and keeps the newest one for all viewers.
//
//	sources, encoder, frame log ───┐
//	supervisor (workers' reports) ─┼─▶ Board ─▶ Status ─┬─▶ /status, /events, the page   admin
//	gateway, API, /proc, log ──────┘   every second     └─▶ Prometheus                  metrics
//
// The package owns the form of a Status, the figures that depend on the past (percentiles of the
// last ten seconds, for how long a stream has been behind), and the list of events. It does not
// decide what is healthy (Sources.Health does), serves no HTTP, and counts nothing: every counter
// belongs to the component that it is about.
//
// # Costs
//
// One goroutine, Board.Run's, reads the components once a second, whether or not anybody looks:
// BenchmarkBoard measures the cost. Viewers cost the components nothing, because all viewers share
// a Status and its JSON. Workers report by themselves once a second, so their figures are up to two
// seconds old.
//
// # Events
//
// An Events is a slog.Handler around the real one: every log line from info on becomes an event.
// That suits a log that records what happened and not what is going on. A line that repeats an
// event about the same subject within a minute raises the count of that event.
//
// # Concurrency and failure
//
// All methods may be called from any goroutine. A Status never changes after it was returned.
// Figures that cannot be read (of a process that has just ended) are left out, and are present
// again, or gone, a second later.
package status
