// Package gateway is the HTTP server on the public port. It lets collectors in and answers all
// other requests over HTTP.
//
// The package owns four things: the accepted sockets until a worker has them, the checks of an
// upgrade request, the answers of the replaced service's framework (404s, CORS, health), and the
// limits on all of that. It does not own the connected clients (engine/supervisor). It does not
// make the answers of the HTTP API (Options.API gets those requests), and it does not decide what
// is wrong with the distributor (Options.Health reports it).
//
// # The way of an upgrade
//
//	request ─▶ rate       UPGRADE_RATE_LIMIT of the address
//	        ─▶ identify   data=: types ▸ owner ▸ hex ▸ subscriber ▸ expiry ▸ type ▸ clock ▸ signature
//	        ─▶ WebSocket  method, key, version, subprotocol (wsproto.CheckUpgrade)
//	        ─▶ start      from=: an offset in the frame log
//	        ─▶ notices=   whether the client wants notices of gaps
//	        ─▶ claim      a signed request works once
//	        ─▶ extension  permessage-deflate, if it is on (wsproto.NegotiateDeflate)
//	        ─▶ hand-off   hijack, Connect with the descriptor, close ours
//
// A check of a new parameter goes before claim. Cheap checks come first; the signature costs more
// than all others. A client that is not
// authenticated is told only why. A request that fails gets a complete HTTP answer at once, and its
// connection is closed:
//
//	HTTP/1.1 401 Unauthorized
//	Connection: close
//	Content-Type: application/json; charset=utf-8
//
//	{"error":"collectorInfo.timestamp is 31s in the past, 30s are allowed: …","reason":"timestamp_too_old","success":false}
//
// Status 400 means a malformed request, 401 a client that may not connect, and 503 with Retry-After
// a client that should try again. Status 409, 410 or 400 means a from= that is not available; the
// answer then has "floor" and "head" as tokens. Each reason (reason.go) is counted, and logged at
// most once in ten seconds. An answer contains no secret: GET /config publishes the subscriber
// list, and time and signature are the collector's own.
//
// # Used once
//
// With a subscriber list, a signed request is good for one connection, within the handshake window
// before and after our clock. Used signatures are remembered until their timestamp is too old, also
// over a reload. After that, no request of the same key that is as old is accepted, whatever the
// clock is set to. Used signatures are not remembered over a restart or a handover. So a captured
// request works again on a distributor that restarts within the window, or whose window a reload
// has just made longer; docs/THREATS.md says what an attacker gains by that. If the hand-off fails,
// the claim is released. Without a list the timestamp does not count, and a request works forever,
// as it did in the replaced service.
//
// # Sockets
//
// The descriptor is lent to Connect inside SyscallConn().Control. It is not taken by File(), which
// would switch the shared socket to blocking mode. Bytes that came behind the request are passed on
// with it. After Connect our descriptor is closed without shutdown(2), because the worker's
// duplicate is the same socket. TCP_NODELAY and keep-alive probes are on, as Go sets them.
//
// When the gateway closes a connection itself, it first closes it for writing. Then it reads until
// the client has closed the connection too, for at most a second and 32 MiB (watched.go). The
// kernel answers unread input with a reset, which would overtake our last answer.
//
// # Limits for an address
//
// An origin is an IPv4 address or the /64 of an IPv6 address. The machine's own addresses are not
// limited, because a proxy on the machine speaks for many clients.
//
//	requests     RateLimit a second, as many at once. 429 in the replaced
//	             service's words
//	checks       GET and HEAD of /is-alive and /is-healthy: 1000 a second, as
//	             many at once. Counted apart from requests, so that a flood of
//	             requests does not starve health checks. 429. The state is checked
//	             once a second, whoever asks (engine/watch.go); only the first
//	             check of a start is waited for
//	upgrades     UpgradeRateLimit a second, ten times as many at once, because a
//	             fleet behind one address reconnects together; 1000 a second cost
//	             5 % of a core. Counted apart from requests, so that neither
//	             blocks the other. 429
//	connections  as many as are still free of MaxConnections: half if the origin
//	             is alone, less beside others, so that there is always room. 429
//
// A request over a limit is not refused at once, because real collectors exit after three refusals
// in a row. The gateway holds the request for up to a second and answers it in its turn. So a
// client that sends its next request after the answer to the last one is never refused, whatever
// the limit is. Requests of an address wait in the order of arrival, each in the goroutine that
// net/http has for its connection. A request whose client has left takes no token.
//
// A connection without room waits as well, for up to 30 s and without a goroutine (waiting.go). 20
// times UpgradeRateLimit connections may wait, shared between addresses like the open connections.
// One address alone may have ten seconds' upgrades wait, so that as many connections can come at
// once as upgrades are allowed. A connection whose client has left gives its place back within a
// second, also while it waits for a worker. While any connection waits, each answer is the last on
// its connection, and connections that are idle for six seconds are closed.
//
// An upgrade counts whether or not it succeeds, and before any part of it is checked. If only
// failed upgrades counted, one collector with a wrong key could shut out the others behind its
// address.
//
// Buckets are kept for 16,384 origins. A client with more addresses can make the gateway forget
// some origins. A forgotten origin starts with a full bucket, so nobody loses by it.
//
// # Descriptors
//
// Connections do not use the last 64 descriptors of the process, nor the descriptors that the HTTP
// API may need (Options.Reserved). A connection that gets one of them is answered with a 503 and
// closed. So starting workers, the frame log, the API and refusals still work. If something else
// takes those descriptors as well, accepting pauses for up to a second at a time.
//
// # Shutdown
//
// Shutdown stops accepting. Accepted connections are served: the next answer on each one says that
// it is the last. A connection without a request is closed after a time of grace, because a request
// may be on its way. In a handover the grace is six seconds, longer than Node's HTTP agent keeps an
// idle connection.
//
// # What net/http answers
//
// A request that cannot be read (a bad escape in the path, headers over 16 KiB, not HTTP) never
// reaches a handler. The server's own answer is replaced on its way out (canned.go): JSON as in all
// refusals, 400 with the replaced service's words, or the HTTP status for the error (431, 501,
// 505). These requests are counted as malformed.
//
// Empty lines before a request are skipped (RFC 9112 §2.2), up to sixteen bytes of them, also
// between requests and before an upgrade (input.go). The replaced service's server skips any
// number. Empty lines are not a request: a connection that sends nothing else is idle. More than
// sixteen bytes get a 400.
//
// # Accepted limits
//
// A client with many addresses can take all connections for as long as a request may take to arrive
// (ten seconds), and again: eleven addresses leave room for one connection of 2048, and other
// clients wait. A firewall has to prevent that. An unknown "Expect" is answered by net/http with an
// empty 417.
//
// # Concurrency and failure
//
// All methods of Gateway may be called from any goroutine. Reload replaces the settings as a whole:
// a request sees the old ones or the new ones. A panic in a handler becomes a 500, which is counted
// and logged; the other requests continue. If no worker takes a socket, the client gets a 503.
package gateway
