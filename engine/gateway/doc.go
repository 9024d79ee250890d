// Package gateway is the HTTP server on the public port: it lets collectors
// in, and answers everything else over HTTP.
//
// It owns the accepted sockets until they are a worker's, the checks of an
// upgrade request, the answers of the replaced service's framework (404s,
// CORS, health), and the limits on all of that. It does not own the clients
// that are connected (engine/supervisor), the answers of the HTTP API
// (Options.API gets those requests), or what is wrong with the distributor
// (Options.Health says so).
//
// # The way of an upgrade
//
//	request ─▶ identify   data=: types ▸ owner ▸ hex ▸ subscriber ▸ expiry ▸ type ▸ clock ▸ signature
//	        ─▶ WebSocket  method, key, version, subprotocol (wsproto.CheckUpgrade)
//	        ─▶ start      from=: an offset in the frame log
//	        ─▶ claim      a signed request works once
//	        ─▶ extension  permessage-deflate, if it is on (wsproto.NegotiateDeflate)
//	        ─▶ hand-off   hijack, Connect with the descriptor, close ours
//
// Cheap checks come first; the signature costs more than all others. Whoever
// is not authenticated learns why, and nothing else. A request that fails is
// at once answered completely, over HTTP, and its connection closed:
//
//	HTTP/1.1 401 Unauthorized
//	Connection: close
//	Content-Type: application/json; charset=utf-8
//
//	{"error":"collectorInfo.timestamp is 31s in the past, 30s are allowed: …","reason":"timestamp_too_old","success":false}
//
// 400 is for what is no proper request, 401 for who may not, 409, 410 and 400
// for a from= that cannot be had (with "floor" and "head" as tokens), 503 with
// Retry-After for come again. Each reason (reason.go) is counted, and logged at
// most once in ten seconds. Nothing in an answer is secret: the subscriber list
// is public by GET /config, and time and signature are the collector's own.
//
// # Used once
//
// With a subscriber list, a signed request is good for one connection, within
// the handshake window on both sides of our clock. The signatures used are
// remembered until their timestamp is too old, also over a reload, and then
// none as old is taken of that key, whatever the clock is set to. They are not
// remembered over a restart or a handover, so whoever captured a request can use
// it again on a distributor that restarts within the window, or where a reload
// has just made the window longer; docs/THREATS.md says what that is good for.
// A claim whose hand-off failed is given back. Without a list there is no timestamp that counts, and a request works
// for ever, as it did in the replaced service.
//
// # Sockets
//
// The descriptor is lent to Connect inside SyscallConn().Control, never taken
// by File(), which would switch the shared socket to blocking mode. Bytes that
// came behind the request go with it. After Connect our descriptor is closed
// without shutdown(2): the worker's duplicate is the same socket. TCP_NODELAY
// and keep-alive probes are on, as Go sets them.
//
// A connection that we close ourselves is closed for writing first, and read
// from until its client has closed it too, a second and 32 MiB at most
// (watched.go). The kernel answers input that nobody has read with a reset,
// which would overtake our last answer.
//
// # Limits for an address
//
// An origin is an IPv4 address or the /64 of an IPv6 one. This machine's own
// addresses are not limited, since a proxy on it speaks for many.
//
//	requests     RateLimit a second, as many at once. 429 in the replaced
//	             service's words
//	checks       GET and HEAD of /is-alive and /is-healthy: 1000 a second, as
//	             many at once. Apart from requests, so that a flood of these
//	             does not starve them. What they report is asked at most every
//	             250 ms and once at a time, however many want to know it. One
//	             waits for that up to 3 s. 429
//	upgrades     UpgradeRateLimit a second, ten times as many at once: a fleet
//	             behind one address comes back together; 1000 a second cost 5 %
//	             of a core. Apart from requests, so that neither keeps the other
//	             out. 429
//	connections  as many as are still free of MaxConnections: half when it is
//	             alone, less beside others, so that there is always room. 429
//
// A request over a limit is not refused at once, because real collectors exit
// after four refusals in a row: it is held for up to a second, and answered in
// its turn. So a client that sends the next request when it has the answer to
// the last one is never refused, whatever the limit is. Requests of an address
// wait in the order of arrival, each in the goroutine that net/http has for its
// connection. One whose client has left takes no token.
//
// A connection without room waits as well, for up to 30 s, without a goroutine
// (waiting.go). 20 times UpgradeRateLimit may wait, shared between addresses as
// the open ones are: one address alone may have ten seconds' upgrades wait, so
// that as many can come at once as upgrades are allowed. One whose client has left
// gives its place back within a second, also where it waits for a worker. While any
// connection waits, each answer is the last on its connection, and connections that are
// idle for six seconds are closed.
//
// Upgrades count whether or not they succeed, and before anything of them is
// looked at. Counting only those that fail would let one collector with a wrong
// key shut out the others behind its address.
//
// The buckets are kept for 16,384 origins. Who comes from more can make us
// forget some, which gives these a full bucket and takes nothing from anybody.
//
// # Descriptors
//
// The last 64 of the process are no connection's, nor are those that the HTTP
// API may need (Options.Reserved): a connection that gets one of them is
// answered with a 503 and closed, so that starting workers, the frame log, the
// API and refusals still work. If something else takes those as well, accepting pauses,
// for up to a second at a time.
//
// # Shutdown
//
// Shutdown stops accepting. What was accepted is served: the next answer on each
// connection says that it is the last. A connection without a request is closed
// when a time of grace is over, since a request may be on its way; in a handover
// that is six seconds, longer than Node's HTTP agent keeps an idle connection.
//
// # What net/http answers
//
// A request that cannot be read (a bad escape in the path, headers over 16 KiB,
// no HTTP) never comes to a handler. The answer that the server writes then is
// replaced on its way out (canned.go): JSON as all refusals, 400 with the
// replaced service's words, or the status that HTTP has for it (431, 501, 505).
// These are counted as malformed.
//
// Empty lines before a request are passed over (RFC 9112 §2.2), up to sixteen bytes of them, also
// between requests and before an upgrade (input.go); the replaced service's server passes over any
// number. They are no request: a connection that sends nothing else is idle. More get 400.
//
// # Accepted limits
//
// Whoever has many addresses can take all connections for as long as a request
// may take to come (ten seconds), and again: eleven of them leave room for one
// connection of 2048, and the others wait. That is the firewall's part. An "Expect" that is not known is
// answered by net/http with an empty 417.
//
// # Concurrency and failure
//
// All methods of Gateway may be called from any goroutine. Reload swaps the
// settings as a whole: a request sees the old ones or the new ones. A panic in
// a handler is a 500, counted and logged; the others go on. When no worker
// takes a socket, the client gets a 503.
package gateway
