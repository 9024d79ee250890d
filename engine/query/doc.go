// Package query answers the HTTP API over the archiver's SQLite databases, with which collectors fetch history.
//
//	POST /cycleinfo /originalTx /receipt /account /transaction /totalData /cycleData        GET /config
//
// docs/API.md is the API's description for its users. What the package owns: the rules about bodies, the checks of a
// signed request, the choice of what it selects, the queries, the signed answers, and the process that makes them. It does
// not own the public HTTP server, paths, CORS and rate limits (engine/gateway hands exact requests on), and it never
// writes: that is another process's right.
//
// # Two processes
//
// Front is the primary's side. It keeps one query process (Serve), which has a low priority
// and its own heap, so that neither its work nor its garbage delays a record; and a fault in SQLite ends that process
// alone. It is started again then, with growing pauses; requests wait for that as long as their time lasts, since real
// collectors exit after four refusals in a row. One that was lost with a process is asked again, with four processes at
// most, and an answer that is written in part goes on if the next process makes the same (relay.go). They talk HTTP over socket pairs
// that are passed over a channel, as nothing but these two can then come between (channel.go). The secret key stays in
// the primary: the query process says what is to be signed, and where the signature goes (seal.go).
//
// # The way of a request
//
//	primary          body ─▶ readBody    type and size                          415 413 400
//	query process         ─▶ accept      parse ▸ policy.check ▸ choose          refusal, sealed: 400 or 200
//	                      ─▶ answer      queries ▸ canonical text               database trouble, sealed: 503
//	                      ─▶ seal        hash
//	primary               ─▶ relay       sign ▸ put `sign` in its place         200
//
// request.go and selector.go are pure: values in, a selection or a refusal out. table.go writes SQL, and file.go,
// source.go and rows.go alone talk to databases. The words of refusals and their order are the replaced service's;
// querytest holds 1,367 requests with what it answered, or with what is right where it was wrong.
//
// # Rows
//
// A table's columns are read from the database, so that a collector's tables, which have others, answer with what they
// have. A column declared JSON holds JSON text: text that is its own canonical form, which is what archivers write, is
// copied into the answer; other text is parsed and printed as the replaced service did. A row with a column that is no
// JSON is left out, counted, and logged now and then; the others are not harmed.
//
// Rows are ordered by cycle, timestamp and rowid. The last is the end of each index entry, so archivers' indexes serve
// all queries without sorting (TestQueriesUseIndexes), also for equal times. On tables without such an index SQLite
// sorts; that is right and slow.
//
// A span of cycles begins at its place in the index. Rows by number (start, end) and later pages need OFFSET, which
// steps over index entries without looking at their rows: 25 to 60 ns for each row left out (BenchmarkDepth), so up to
// 60 ms at a million. No index counts its entries, so that cannot be avoided without an order of our own. COUNT(*), for
// totalData, reads the smallest index from end to end.
//
// # Databases
//
// A file is opened with mode=ro and query_only, never as immutable, since the archiver writes it in WAL mode meanwhile.
// (SQLite itself makes the -shm and -wal files beside a WAL database that nobody has open; so the folder should be
// writable.) Readers in WAL mode do not wait for writers, and no statement is open while an answer is written, so a
// slow client holds no checkpoint up. Each file has at most 4 connections, each of which keeps its statements prepared.
//
// Files may come, go and be replaced: each is looked at once a second when there are requests, and reopened when it is
// another one. One that is missing, locked, damaged or lacks a table or column makes its endpoints answer with a signed
// error that says which; the others go on. That is logged when it changes, and Health tells as long as it lasts.
//
// Each statement sees one state of its file. An answer made of several statements (a page and its total, the rows of
// a list of ids, totalData) may see several.
//
// # Bounds
//
// A request has 10 s (Settings.RequestTime), and ends when its client leaves: SQLite is
// interrupted. Bodies have 1 MiB, an answer 128 MiB. Bodies that are on their way and answers that
// are not read yet have 256 MiB together (Settings.Memory), of which an address may hold as much as
// is still free. What has no room waits as long as its time lasts, an answer in that it is made
// again when there is room; then 503. As many as maxConnections requests are with the query process
// at a time, each with a connection, shared in the same way. The wait for a lock (2 s) is the only
// one that cannot be interrupted. A query whose interruption was lost (hungQuery) ends the process.
//
// Checks, rows and hashes keep a processor busy. As many requests as there are processors are worked on at a time.
// SQLite's own work, such as counting, goes on beside that. Who has such a place never waits for a connection, only the
// other way round.
//
// # Concurrency
//
// All methods of Front and API may be called from any goroutine. A reload swaps the settings as a
// whole. Front has one goroutine, which is locked to its thread, for the query process, six more
// while that lives, and none per request but the caller's.
//
// # A query process that hangs
//
// Nothing in the primary waits for the query process but API requests, for as long as their time
// lasts. A goroutine for each hands settings over (follow), asks for counters and kills a process
// that does not give them (watch), and asks for the state of the databases (examine). Reload,
// Snapshot and Health return what is at hand. Requests that follow a reload wait until the process
// has the new settings. Connections are passed one at a time, with a deadline: a process that takes
// none costs the descriptors of one. A process that is killed loses no request: each is asked again
// (relay.go).
package query
