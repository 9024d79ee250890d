// Package query answers the HTTP API over the archiver's SQLite databases, from which collectors
// fetch history.
//
//	POST /cycleinfo /originalTx /receipt /account /transaction /totalData /cycleData   GET /config
//
// docs/API.md describes the API for its users. The package owns: the rules about bodies, the checks
// of a signed request, the choice of what it selects, the queries, the signed answers, and the
// process that makes them. It does not own the public HTTP server, paths, CORS and rate limits:
// engine/gateway hands requests on as they are. It never writes to a database, because only the
// archiver may.
//
// # Two processes
//
// Front is the primary's side. It runs one query process (Serve). That process has a low priority
// and its own heap, so that neither its work nor its garbage collection delays a record. A fault in
// SQLite ends that process alone. Then Front starts it again, with backoff. Requests wait for the
// new process as long as their time lasts, because real collectors exit after three refusals in a
// row. A request that was lost with a process is asked again, of four processes at most. An answer
// that is written in part is continued, if the next process makes the same one (relay.go).
//
// The two processes talk HTTP over socket pairs, which are passed over a channel, so no other
// process can come between (channel.go). The secret key stays in the primary: the query process
// says what is to be signed, and where the signature goes (seal.go).
//
// # The way of a request
//
//	primary          body ─▶ readBody    type and size                   415 413 400
//	query process         ─▶ accept      parse ▸ policy.check ▸ choose   refusal, sealed: 400 or 200
//	                      ─▶ answer      queries ▸ canonical text        database error, sealed: 503
//	                      ─▶ seal        hash
//	primary               ─▶ relay       sign ▸ put `sign` in its place  200
//
// request.go and selector.go are pure: they take values, and return a selection or a refusal.
// table.go writes SQL. Only file.go, source.go and rows.go use databases. The texts of refusals and
// their order are the replaced service's. querytest holds 1,367 requests with the answers of that
// service, or with the right answers where it was wrong.
//
// # Rows
//
// A table's columns are read from the database. So the tables of a collector, which have other
// columns, are answered with what they have. A column declared JSON holds JSON text. Text that is
// its own canonical form, as archivers write it, is copied into the answer. Other text is parsed
// and printed as the replaced service did. A row with a JSON column that holds no JSON is left out,
// counted, and logged at intervals. The other rows are answered.
//
// Rows are ordered by cycle, timestamp and rowid. The rowid is the end of each index entry, so
// archivers' indexes serve all queries without sorting (TestQueriesUseIndexes), also for equal
// times. Tables without such an index are sorted by SQLite: the answer is right, but slow.
//
// A span of cycles begins at its place in the index. Rows by number (start, end) and later pages
// need OFFSET, which steps over index entries without reading their rows: 25 to 60 ns for each row
// (BenchmarkDepth), so up to 60 ms at a million. SQLite's indexes do not count their entries, so
// this cost cannot be avoided without an order of our own. COUNT(*), for totalData, reads the
// smallest index from end to end.
//
// # Databases
//
// A file is opened with mode=ro and query_only, never as immutable, because the archiver writes it
// in WAL mode meanwhile. SQLite itself makes the -shm and -wal files beside a WAL database that no
// process has open, so the directory should be writable. Readers in WAL mode do not wait for
// writers. No statement is open while an answer is written, so a slow client delays no checkpoint.
// Each file has at most 4 connections, each of which keeps its statements prepared.
//
// Files may appear, disappear and be replaced. While there are requests, each file is checked once
// a second, and reopened if it is another one. If a file is missing, locked, damaged or lacks a
// table or column, its endpoints answer with a signed error that names it; the others continue. The
// error is logged when it changes, and Health reports it as long as it lasts.
//
// Each statement reads one state of its file. An answer made of several statements (a page and its
// total, the rows of a list of ids, totalData) may read several states.
//
// # Bounds
//
// A request has 10 s (Settings.RequestTime). It ends when its client leaves: SQLite is interrupted.
// A body has at most 1 MiB, an answer 128 MiB. Bodies that are arriving and answers that are not
// read yet have 256 MiB together (Settings.Memory), of which one address may hold as much as is
// still free. What does not fit waits as long as its time lasts, then gets 503. An answer does not
// wait itself: it is dropped, and made again when it fits. At most maxConnections requests are with
// the query process at a time, each with a connection, shared in the same way. The wait for a lock
// (2 s) is the only one that cannot be interrupted. If the interruption of a query was lost, the
// query process ends after hungQuery.
//
// Checks, rows and hashes keep a processor busy, so at most as many requests as there are
// processors do that work at a time (semaphore). SQLite's own work, such as counting, goes on
// beside it. A request that holds the semaphore never waits for a connection; a request that holds
// a connection may wait for the semaphore.
//
// # Concurrency
//
// All methods of Front and API may be called from any goroutine. A reload replaces the settings as
// a whole. Front has one goroutine, which is locked to its thread, for the query process, six more
// while that process runs, and none per request except the caller's.
//
// # A query process that hangs
//
// In the primary only API requests wait for the query process, as long as their time lasts. One
// goroutine sends it settings (follow). One fetches its counters, and kills a process that does not
// return them (watch). One asks for the state of the databases (checkDatabases). Reload, Snapshot
// and Health return what was received last. Requests that follow a reload wait until the process
// has the new settings. Connections are passed one at a time, with a deadline, so a process that
// takes none costs the descriptors of one. Killing a process loses no request: each is asked again
// (relay.go). A process that is late because the machine gives it no processor is not killed before
// it was late six times (unlessStarved).
package query
