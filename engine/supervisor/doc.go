// Package supervisor keeps the worker processes and knows which client lives
// on which.
//
// It owns: starting, feeding, retiring, killing and reaping workers; the choice
// of a worker for a client; the rule that a key is connected once; the end of
// subscriptions; the counters of all that. It does not know what a client is
// sent, who may connect (engine/gateway asks for that), or where a client
// resumes.
//
// # Clients
//
// A client goes to the lowest-numbered ready worker with room. Without one it
// waits, first come first served, for a worker that is starting, up to what
// Max workers can hold; beyond that it is refused with ErrFull. While none is
// starting and failures hold the next start back for more than a second, it is
// refused at once with ErrNoWorker, as are those that wait already: the answer
// is better than a connection that hangs.
//
// A key's newest Connect displaces an older one at once, wherever that is:
// waiting, on its way, or served. "Newest" is who took the lock last. A client
// that was told to close no longer takes room, so a reconnecting key finds its
// own place again on a full server. Clients are told apart by an id that is
// never used twice, so what is said late about an older one never touches a
// newer one of the same key.
//
// A newer connection begins when the older one has ended, because only then it
// is known where: a client that answers our close frame has all that was sent
// before it. It waits for that up to a second (times.takeover), counted from
// the close, and then begins at what was confirmed. While it is held it has its
// place in a worker already. Only the newest of a key is held: the next one
// finishes it. The goroutine of its Connect does the waiting. With two processes
// in a handover, Options.Elsewhere asks the old one to close its connection.
//
// A client whose descriptor a dying worker has not been given is placed anew.
// One that was given is lost with the worker (WorkerLost): the worker may
// already have answered it.
//
// # Workers
//
//	starting ──Ready──▶ ready ──last client gone, linger──▶ draining ──▶ gone
//	    └─────────────────┴───── any failure: condemned, killed ─────────▶ gone
//
// Failures are: the process exits, its channel ends or carries nonsense, it is
// not ready in time, its channel is full and stays so for two seconds, or it
// says nothing for more than five looks, a second apart (it reports every
// second; a stopped or looping worker is found by that, before its channel
// fills). After a failure starts are held back, exponentially and with jitter,
// and go one at a time until one succeeds, so a worker that cannot live is no
// fork storm. A minute without a failure forgets them.
//
// A worker without clients retires after a second, unless it is one of the warm
// ones. There are never more than Max processes: while one that failed is not
// reaped, its replacement gets another number or waits.
//
// # Goroutines and locks
//
// Every exported function may be called from any goroutine. One goroutine
// (run) starts processes, and is locked to its thread for life: a worker gets
// SIGKILL when the thread that forked it ends. A worker has a writer, a reader,
// a forwarder of its output, and one that waits for its end; Stop returns when
// all are gone.
//
// Supervisor.mu guards all state; it is never held over a system call, a log
// line or a callback, except the expiry function, which must not block. Ringing the
// workers' bells (package bell) does not take it, so waking and Connect never wait for each other.
package supervisor
