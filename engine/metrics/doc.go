// Package metrics exposes a status.Status in the Prometheus formats. It also answers GET /metrics
// on the public port, where the replaced service has its own JSON.
//
// The package owns the names of the metrics and the choice between the two forms. families.go is
// the one table of names; tests check docs/METRICS.md and testdata/metrics.golden against it. The
// package counts nothing itself: every scrape shows the newest Status, so all figures of a scrape
// are of one moment, at most a second old. The figures are rendered into memory once for all
// scrapes within that second. No lock is held while a client reads, so a client that does not read
// does not delay other clients.
//
// # Labels
//
// The code or the configuration bounds the values of every label: streams, reasons, endpoints,
// states, worker numbers up to MAX_WORKERS. A collector's key is not a label, because the number of
// series would grow with every key that ever connected. The metrics aggregate the lags of
// collectors, and the status page shows the slowest collectors. Every label value exists with 0
// from the start, so that a first occurrence shows as an increase.
//
// # Concurrency and failure
//
// Handlers may be called from any goroutine. A collection that contradicts its own table is
// answered with status 500 and the reason; tests keep that from happening.
package metrics
