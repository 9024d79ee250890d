package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// A reason is why a request was refused. name is the metric label, an attribute of the log and a
// member of the answer; status is the status of the answer.
type reason struct {
	name   string
	status int
}

var (
	// The data parameter is missing or malformed.
	noData        = reason{"no_data", http.StatusBadRequest}
	repeatedData  = reason{"repeated_data", http.StatusBadRequest}
	malformedData = reason{"malformed_data", http.StatusBadRequest}

	// The contents of data, in the order of the checks.
	wrongType         = reason{"wrong_type", http.StatusUnauthorized}
	ownerNotSender    = reason{"owner_not_sender", http.StatusUnauthorized}
	malformedKey      = reason{"malformed_key", http.StatusUnauthorized}
	malformedSig      = reason{"malformed_signature", http.StatusUnauthorized}
	unknownSubscriber = reason{"unknown_subscriber", http.StatusUnauthorized}
	expired           = reason{"subscription_expired", http.StatusUnauthorized}
	otherSubscription = reason{"other_subscription", http.StatusUnauthorized}
	noTimestamp       = reason{"no_timestamp", http.StatusUnauthorized}
	tooOld            = reason{"timestamp_too_old", http.StatusUnauthorized}
	tooNew            = reason{"timestamp_in_future", http.StatusUnauthorized}
	wrongSignature    = reason{"wrong_signature", http.StatusUnauthorized}
	replayed          = reason{"replayed", http.StatusUnauthorized}

	// The WebSocket request itself is wrong.
	// or 405 or 426, as wsproto.CheckUpgrade says
	notWebSocket = reason{"not_websocket", http.StatusBadRequest}
	hasBody      = reason{"has_body", http.StatusBadRequest}

	// The from= parameter is wrong or not available.
	malformedFrom = reason{"malformed_from", http.StatusBadRequest}
	otherLog      = reason{"from_other_log", http.StatusConflict}
	belowFloor    = reason{"from_below_floor", http.StatusGone}
	beyondHead    = reason{"from_beyond_head", http.StatusBadRequest}
	insideFrame   = reason{"from_inside_frame", http.StatusBadRequest}

	// The notices= parameter is wrong.
	malformedNotices = reason{"malformed_notices", http.StatusBadRequest}

	// The request is fine; the client should try again.
	tooManyUpgrades    = reason{"too_many_upgrades", http.StatusServiceUnavailable}
	tooManyConnections = reason{"too_many_connections", http.StatusServiceUnavailable}
	noDescriptors      = reason{"no_descriptors", http.StatusServiceUnavailable}
	noRoom             = reason{"full", http.StatusServiceUnavailable}
	stopping           = reason{"stopping", http.StatusServiceUnavailable}
	frameLogFailed     = reason{"frame_log_failed", http.StatusServiceUnavailable}
	handOffFailed      = reason{"hand_off_failed", http.StatusServiceUnavailable}
	displaced          = reason{"displaced", http.StatusServiceUnavailable}
	// nobody reads the answer
	clientGone = reason{"client_gone", http.StatusServiceUnavailable}

	// One address exceeds its limits.
	rateLimited        = reason{"rate_limited", http.StatusTooManyRequests}
	upgradesLimited    = reason{"upgrades_of_address", http.StatusTooManyRequests}
	connectionsLimited = reason{"connections_of_address", http.StatusTooManyRequests}

	// A handler of ours has a bug.
	panicked = reason{"panic", http.StatusInternalServerError}
)

// reasons holds every reason, so that every label is present from the start.
var reasons = []reason{
	noData, repeatedData, malformedData, wrongType, ownerNotSender, malformedKey, malformedSig,
	unknownSubscriber, expired, otherSubscription, noTimestamp, tooOld, tooNew, wrongSignature,
	replayed, notWebSocket, hasBody, malformedFrom, otherLog, belowFloor, beyondHead, insideFrame,
	malformedNotices, tooManyUpgrades, tooManyConnections, noDescriptors, noRoom, stopping,
	frameLogFailed, handOffFailed, displaced, clientGone, rateLimited, upgradesLimited,
	connectionsLimited, panicked,
}

// logEvery is the shortest time between two log lines of one reason.
const logEvery = 10 * time.Second

// ledger counts refusals by reason and logs them, at most one line per reason in logEvery: a client
// that retries forever must not fill a disk.
type ledger struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex // guards entries
	entries map[reason]*entry
}

type entry struct {
	total  uint64
	logged uint64 // total when the last line was written
	next   time.Time
}

func newLedger(log *slog.Logger, now func() time.Time) *ledger {
	l := &ledger{log: log, now: now, entries: make(map[reason]*entry, len(reasons))}
	for _, r := range reasons {
		l.entries[r] = &entry{}
	}
	return l
}

// add counts one refusal and logs detail. detail must contain neither a signature nor client text
// that is not quoted and bounded.
func (l *ledger) add(r reason, detail, remote string) {
	now := l.now()
	l.mu.Lock()
	e := l.entries[r]
	e.total++
	total, count := e.total, e.total-e.logged
	due := !now.Before(e.next)
	if due {
		e.logged, e.next = e.total, now.Add(logEvery)
	}
	l.mu.Unlock()
	if due {
		level := slog.LevelInfo // any client can cause a refusal, and must not raise an alert with it
		switch r {
		case panicked:
			level = slog.LevelError
		case frameLogFailed:
			level = slog.LevelWarn
		}
		l.log.Log(context.Background(), level, "request refused", "reason", r.name, "detail", detail,
			"remote", remote, "count", count, "total", total)
	}
}

// counts returns the refusals by the name of their reason. Every name is present.
func (l *ledger) counts() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[string]uint64, len(l.entries))
	for r, e := range l.entries {
		counts[r.name] = e.total
	}
	return counts
}
