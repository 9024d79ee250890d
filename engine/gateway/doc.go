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
// remembered until their timestamp is too old, also over a reload; not over a
// restart, so whoever captured a request can use it again on a distributor
// that restarts within the window, or where a reload has just made the window
// longer. A claim whose hand-off failed is given
// back. Without a list there is no timestamp that counts, and a request works
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
// # Accepted limits
//
// Whoever opens 2048 connections and says nothing keeps others out for as long
// as a request may take to come (ten seconds), and again. A limit for an
// address would hit collectors behind one proxy; that is the firewall's part.
// A path with a bad escape, and a request that is no HTTP, are answered by
// net/http, with 400 and plain text; they are counted as malformed.
//
// # Concurrency and failure
//
// All methods of Gateway may be called from any goroutine. Reload swaps the
// settings as a whole: a request sees the old ones or the new ones. A panic in
// a handler is a 500, counted and logged; the others go on. When no worker
// takes a socket, the client gets a 503.
package gateway
