package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// A reason is why a request was refused: name is the metric label, the log
// key and a member of the answer, status that of the answer.
type reason struct {
	name   string
	status int
}

var (
	// The data parameter: not there, or no JSON.
	noData        = reason{"no_data", http.StatusBadRequest}
	repeatedData  = reason{"repeated_data", http.StatusBadRequest}
	malformedData = reason{"malformed_data", http.StatusBadRequest}

	// What it says. In the order in which it is looked at.
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

	// The WebSocket request itself.
	notWebSocket = reason{"not_websocket", http.StatusBadRequest} // or 405 or 426, as wsproto.CheckUpgrade says
	hasBody      = reason{"has_body", http.StatusBadRequest}

	// from=.
	malformedFrom = reason{"malformed_from", http.StatusBadRequest}
	otherLog      = reason{"from_other_log", http.StatusConflict}
	belowFloor    = reason{"from_below_floor", http.StatusGone}
	beyondHead    = reason{"from_beyond_head", http.StatusBadRequest}
	insideFrame   = reason{"from_inside_frame", http.StatusBadRequest}

	// notices=.
	malformedNotices = reason{"malformed_notices", http.StatusBadRequest}

	// Nothing is wrong with the request; come again.
	tooManyUpgrades    = reason{"too_many_upgrades", http.StatusServiceUnavailable}
	tooManyConnections = reason{"too_many_connections", http.StatusServiceUnavailable}
	noDescriptors      = reason{"no_descriptors", http.StatusServiceUnavailable}
	noRoom             = reason{"full", http.StatusServiceUnavailable}
	stopping           = reason{"stopping", http.StatusServiceUnavailable}
	frameLogFailed     = reason{"frame_log_failed", http.StatusServiceUnavailable}
	handOffFailed      = reason{"hand_off_failed", http.StatusServiceUnavailable}
	displaced          = reason{"displaced", http.StatusServiceUnavailable}
	clientGone         = reason{"client_gone", http.StatusServiceUnavailable} // nobody reads the answer

	// One address wants too much.
	rateLimited        = reason{"rate_limited", http.StatusTooManyRequests}
	upgradesLimited    = reason{"upgrades_of_address", http.StatusTooManyRequests}
	connectionsLimited = reason{"connections_of_address", http.StatusTooManyRequests}

	// A fault of ours, in any handler.
	panicked = reason{"panic", http.StatusInternalServerError}
)

// reasons holds all of them, so that every label is there from the start.
var reasons = []reason{
	noData, repeatedData, malformedData, wrongType, ownerNotSender, malformedKey, malformedSig, unknownSubscriber,
	expired, otherSubscription, noTimestamp, tooOld, tooNew, wrongSignature, replayed, notWebSocket, hasBody,
	malformedFrom, otherLog, belowFloor, beyondHead, insideFrame, malformedNotices, tooManyUpgrades, tooManyConnections, noDescriptors, noRoom,
	stopping, frameLogFailed, handOffFailed, displaced, clientGone, rateLimited, upgradesLimited,
	connectionsLimited, panicked,
}

// logEvery bounds the log: one line for a reason in so long.
const logEvery = 10 * time.Second

// ledger counts refusals by reason and logs them, at most one line for a
// reason in logEvery: a client that tries again for ever must not fill a disk.
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

// add counts one refusal. The detail is logged: it must hold neither a
// signature nor text of the client's that is not quoted and bounded.
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
		level := slog.LevelInfo // anybody can be refused, and must not raise an alert by it
		switch r {
		case panicked:
			level = slog.LevelError
		case frameLogFailed:
			level = slog.LevelWarn
		}
		l.log.Log(context.Background(), level, "request refused", "reason", r.name, "detail", detail, "remote", remote, "count", count, "total", total)
	}
}

// counts returns the refusals by the name of their reason; all names are there.
func (l *ledger) counts() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[string]uint64, len(l.entries))
	for r, e := range l.entries {
		counts[r.name] = e.total
	}
	return counts
}
