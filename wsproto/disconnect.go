package wsproto

// A Disconnect is the reason why a client's connection ended, for either side. Values are compared
// with ==, and only those declared here are used. Name is used in metrics, in logs, and in messages
// between primary and worker.
//
// A Disconnect is an error, so that a Handler may return one. Errors of Reader.Feed wrap one:
// errors.As finds it.
type Disconnect struct {
	Code   uint16 // of the close frame that we send; 0: none is sent, or only the client's own echoed
	Reason string // text of that close frame, may be empty
	Name   string // metric label and log key: [a-z_]+
}

func (d Disconnect) Error() string { return "wsproto: disconnect: " + d.Name }

// The codes and the first two reasons are those of the replaced service. The others follow the IANA
// registry. 1012 (service restart) and 1013 (try again later) tell a collector that it may
// reconnect, 1008 that the same would happen again.
var (
	// DuplicateConnection: a newer connection with the same key takes over.
	DuplicateConnection = Disconnect{1000, "", "duplicate_connection"}
	// SubscriptionExpired: the subscriber's time is over.
	SubscriptionExpired = Disconnect{1001, "subscription expired", "subscription_expired"}
	// ProtocolError: the client broke RFC 6455.
	ProtocolError = Disconnect{1002, "protocol error", "protocol_error"}
	// InvalidPayload: the reason of the client's close frame, or a text, is not UTF-8.
	InvalidPayload = Disconnect{1007, "invalid payload", "invalid_payload"}
	// TooMuchData: the client sent more than its limits allow.
	TooMuchData = Disconnect{1008, "too much data", "too_much_data"}
	// PingTimeout: the client neither answered a ping nor sent anything else in time.
	PingTimeout = Disconnect{1008, "ping timeout", "ping_timeout"}
	// MessageTooBig: a message of the client is larger than Reader.MaxMessage.
	MessageTooBig = Disconnect{1009, "message too big", "message_too_big"}
	// InternalError: an error of the distributor, for instance a damaged frame log.
	InternalError = Disconnect{1011, "internal error", "internal_error"}
	// ServerShutdown: the distributor or this worker is being stopped, or another process has taken
	// over. 1012 means service restart. It is not 1001, because collectors print that as the end of
	// their subscription.
	ServerShutdown = Disconnect{1012, "server shutdown", "server_shutdown"}
	// TooSlow: the client's socket took nothing for too long, or the client read too slowly.
	TooSlow = Disconnect{1013, "too slow", "too_slow"}
	// BehindFloor: the next frame of the client is older than the oldest frame kept.
	BehindFloor = Disconnect{1013, "behind the oldest record kept", "behind_floor"}

	// ClientClosed: the client sent a close frame; its code is echoed.
	ClientClosed = Disconnect{0, "", "client_closed"}
	// ClientGone: the connection ended without a close frame.
	ClientGone = Disconnect{0, "", "client_gone"}
	// WorkerLost: the worker process that held the connection died.
	WorkerLost = Disconnect{0, "", "worker_lost"}
)

// Disconnects lists every Disconnect, for metrics that have all labels from the start. Read-only.
var Disconnects = []Disconnect{
	DuplicateConnection, SubscriptionExpired, ServerShutdown, ProtocolError, InvalidPayload,
	TooMuchData, PingTimeout, MessageTooBig, InternalError, TooSlow, BehindFloor, ClientClosed,
	ClientGone, WorkerLost,
}

// DisconnectNamed returns the Disconnect with a Name.
func DisconnectNamed(name string) (d Disconnect, ok bool) {
	for _, d := range Disconnects {
		if d.Name == name {
			return d, true
		}
	}
	return Disconnect{}, false
}
