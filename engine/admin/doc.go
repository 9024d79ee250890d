// Package admin is the HTTP server for whoever operates the distributor, on a
// listener of its own, by default on loopback.
//
//	/                                 the status page
//	/status                           status.Status in JSON
//	/is-healthy                       what is wrong, since when, and what helps: the public port tells strangers less
//	/events                           the same, pushed every second (server-sent events)
//	/metrics                          Prometheus
//	/debug/pprof/                     profiles of the primary
//	/debug/pprof/worker/<n>/          the same of worker n
//	/debug/pprof/query/               the same of the query process
//	/log-level                        the level of the log; PUT or POST sets it until the next reload
//
// It owns routing and who may ask. What is shown belongs to engine/status,
// engine/status/page and engine/metrics; a worker's profiles come over a socket
// that the supervisor opens.
//
// # Who may ask
//
// Whoever reaches the listener: there is no authentication, so it should not be
// reachable from where you do not trust. A browser on the same machine reaches
// it too, with pages of anybody's in it. Against those, a request's Host must be
// an address, localhost, or the host that the listener was configured with (a
// name that its owner points here afterwards is refused), and what a foreign
// page makes a browser ask for in its background, show as a part of the page, or
// send, is refused; a link leads here, but not to a profile.
//
// # Failure
//
// Viewers of /events share the text; one that does not take it within writeWithin
// is dropped, and can come back. A worker that ends cuts its profile short.
package admin
