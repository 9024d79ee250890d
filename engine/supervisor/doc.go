// Package supervisor runs the worker processes, and knows which client is on which worker.
//
// It owns: starting, feeding, retiring, killing and reaping workers; the choice of a worker for a
// client; the rule that a key has one connection; the end of subscriptions; the counters of all
// that. Who may connect is decided by engine/gateway. Where a client resumes comes from
// Client.Resume. What a client is sent is decided by engine/worker.
//
// # Clients
//
// A client goes to the lowest-numbered ready worker with a free slot. If there is none, the client
// waits for a worker that is starting, first come first served. When as many clients wait as Max
// workers can hold, the next is refused with ErrFull. If no worker is starting, and failures delay
// the next start by more than a second, new and waiting clients are refused at once with
// ErrNoWorker, because an answer is better than a connection that hangs.
//
// The newest Connect of a key displaces an older one at once, whether that one waits, is being
// handed over, or is served. The newest is the one that took the lock last. A client that was told
// to close no longer takes a slot, so a reconnecting key gets its own slot again on a full server.
// Each client has an id that is never used twice, so a late message about an older client never
// affects a newer one of the same key.
//
// A newer connection begins when the older one has ended, because only then is it known where: a
// client that answers our close frame has all that was sent before it. The newer connection waits
// for that up to a second (times.takeover) from the close, and then begins at what was confirmed.
// Meanwhile it is held, with a slot in a worker. Only the newest connection of a key is held; a
// still newer one finishes it. The goroutine of its Connect does the waiting. With two processes in
// a handover, Options.Elsewhere asks the old process to close its connection.
//
// If a worker dies before it was given a client's descriptor, the client is assigned to another
// worker. A client whose descriptor was given is lost with the worker (WorkerLost), because the
// worker may have answered it already.
//
// # Workers
//
//	starting ──Ready──▶ ready ──last client gone, linger──▶ draining ──▶ gone
//	    └─────────────────┴───── any failure: condemned, killed ─────────▶ gone
//
// A worker has failed if its process exits, if its channel ends or carries an invalid message, if
// it is not ready in time, if its channel stays full for two seconds, or if it sends nothing during
// more than five checks, which are a second apart. A worker reports every second, so the last rule
// finds a stopped or looping worker before its channel fills. A worker that is silent because the
// machine gives it no processor is kept for up to a minute: a new one would get none either. After
// a failure, starts have a backoff, exponential and with jitter, and go one at a time until one
// succeeds. So a worker that always fails causes no fork storm. A minute without a failure resets
// the backoff.
//
// A worker without clients retires after a second, unless it is one of the warm ones. There are
// never more than Max processes: until a failed worker is reaped, its replacement gets another
// number or waits.
//
// # Goroutines and locks
//
// Every exported function may be called from any goroutine. One goroutine (run) starts processes.
// It is locked to its thread for life, because a worker gets SIGKILL when the thread that forked it
// ends. Each worker has a writer, a reader, a forwarder of its output, and a goroutine that waits
// for its end. Stop returns when all of them have ended.
//
// Supervisor.mu guards all state. It is never held over a system call, a log line or a callback,
// except OnPosition, Elsewhere and the expiry function, which must not block. Ringing the workers'
// bells (package bell) does not take it, so Connect and the wake-ups never wait for each other.
package supervisor
