// Package metrics shows a status.Status in the Prometheus formats, and answers
// GET /metrics on the public port, where the replaced service has a JSON of its
// own.
//
// It owns the names (families.go is the one table; docs/METRICS.md and
// testdata/metrics.golden are checked against it) and the choice between the
// two forms. It counts nothing itself: every scrape shows the newest Status, so
// all figures of a scrape are of one moment, at most a second old. They are
// rendered into memory once for all that ask within it, and nothing is held
// while a client reads: a client that does not read costs others nothing.
//
// # Labels
//
// Every label's values are bounded by the code or the configuration: streams,
// reasons, endpoints, states, worker numbers up to MAX_WORKERS. Collectors are
// no label, whose series would grow with every key that ever connected; their
// lags are aggregates here, and the slowest ones are on the status page. What
// can happen is there with 0 from the start, so that a first occurrence shows
// as an increase.
//
// # Concurrency and failure
//
// Handlers may be called from any goroutine. A collection that contradicts its
// own table is a 500 with the reason; tests keep that from happening.
package metrics
