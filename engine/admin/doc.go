// Package admin is the HTTP server for the operator of the distributor. It has its own listener, by
// default on loopback.
//
//	/                                 the status page
//	/status                           status.Status in JSON
//	/is-healthy                       problems with remedies: more details than on the public port
//	/events                           the status, pushed every second (server-sent events)
//	/metrics                          Prometheus
//	/debug/pprof/                     profiles of the primary
//	/debug/pprof/worker/<n>/          profiles of worker n
//	/debug/pprof/query/               profiles of the query process
//	/log-level                        the log level; PUT or POST sets it until the next reload
//
// The package owns routing and access. The contents belong to engine/status, engine/status/page and
// engine/metrics. A worker's profiles come over a socket that the supervisor opens.
//
// # Who may ask
//
// There is no authentication: anybody who reaches the listener may ask, so the listener must not be
// reachable from networks that the operator does not trust. A browser on the same machine also
// reaches the listener, and the browser may show anybody's page. Two rules protect against such
// pages. First, a request's Host must be an address, localhost, or the host that the listener was
// configured with; so a name that its owner points to this machine later is refused. Second, a
// request that a foreign page makes in the background, embeds as a part of the page, or sends
// (a form) is refused. A link from a foreign page is allowed, but not to a profile.
//
// # Failure
//
// Viewers of /events share one text. A viewer that does not read it within writeWithin is
// disconnected and may reconnect. If a worker ends, its running profile is cut short.
package admin
