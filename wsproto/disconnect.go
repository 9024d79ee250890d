package wsproto

// A Disconnect is why a client's connection ended, whoever ended it. Values are compared with ==, and only those
// declared here are used: Name goes into metrics and logs and over the channel between primary and worker.
//
// It is an error, so that a Handler may return one, and what Reader.Feed returns wraps one: errors.As finds it.
type Disconnect struct {
	Code   uint16 // of the close frame that we send; 0: none is sent, or only the client's own echoed
	Reason string // text of that close frame, may be empty
	Name   string // metric label and log key: [a-z_]+
}

func (d Disconnect) Error() string { return "wsproto: disconnect: " + d.Name }

// Codes and the first two reasons are what collectors know from the replaced service; the others
// follow the IANA registry. 1012 (service restart) and 1013 (try again later) tell a collector that
// coming back is welcome, 1008 that the same will happen again.
var (
	// DuplicateConnection: a newer connection with the same key takes over.
	DuplicateConnection = Disconnect{1000, "", "duplicate_connection"}
	// SubscriptionExpired: the subscriber's time is over.
	SubscriptionExpired = Disconnect{1001, "subscription expired", "subscription_expired"}
	// ProtocolError: the client broke RFC 6455.
	ProtocolError = Disconnect{1002, "protocol error", "protocol_error"}
	// InvalidPayload: the reason of the client's close frame is not UTF-8.
	InvalidPayload = Disconnect{1007, "invalid payload", "invalid_payload"}
	// TooMuchData: the client sent more than a collector has reason to.
	TooMuchData = Disconnect{1008, "too much data", "too_much_data"}
	// PingTimeout: no pong, nor anything else, came in time.
	PingTimeout = Disconnect{1008, "ping timeout", "ping_timeout"}
	// MessageTooBig: one message of the client is larger than Reader.MaxMessage.
	MessageTooBig = Disconnect{1009, "message too big", "message_too_big"}
	// InternalError: a fault of ours, for instance a damaged frame log.
	InternalError = Disconnect{1011, "internal error", "internal_error"}
	// ServerShutdown: the distributor or this worker is being stopped, or another process has taken
	// over. 1012 means service restart. It is not 1001, because collectors print that as the end of
	// their subscription.
	ServerShutdown = Disconnect{1012, "server shutdown", "server_shutdown"}
	// TooSlow: the client's socket took nothing, or too little, for too long.
	TooSlow = Disconnect{1013, "too slow", "too_slow"}
	// BehindFloor: the client fell behind the oldest frame kept.
	BehindFloor = Disconnect{1013, "behind the oldest record kept", "behind_floor"}

	// ClientClosed: the client sent a close frame; its code is echoed.
	ClientClosed = Disconnect{0, "", "client_closed"}
	// ClientGone: the connection ended without a close frame.
	ClientGone = Disconnect{0, "", "client_gone"}
	// WorkerLost: the worker process that held the connection died.
	WorkerLost = Disconnect{0, "", "worker_lost"}
)

// Disconnects holds every Disconnect there is, for metrics that show all labels from the start. Read-only.
var Disconnects = []Disconnect{
	DuplicateConnection, SubscriptionExpired, ServerShutdown, ProtocolError, InvalidPayload, TooMuchData, PingTimeout,
	MessageTooBig, InternalError, TooSlow, BehindFloor, ClientClosed, ClientGone, WorkerLost,
}

// DisconnectNamed finds a Disconnect by its Name.
func DisconnectNamed(name string) (d Disconnect, ok bool) {
	for _, d := range Disconnects {
		if d.Name == name {
			return d, true
		}
	}
	return Disconnect{}, false
}
