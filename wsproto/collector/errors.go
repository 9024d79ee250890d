package collector

import (
	"errors"
	"fmt"

	"distributor/wsproto"
)

var (
	// ErrForged: a message was not signed by the server's key, or is no firehose message. The
	// connection continues.
	ErrForged = errors.New("collector: message does not verify")
	// ErrProtocol: the server broke the WebSocket protocol or sent more than MaxMessage. The
	// connection is closed.
	ErrProtocol = errors.New("collector: server broke the protocol")
	// ErrLost: the connection could not be opened, or ended without a close frame.
	ErrLost = errors.New("collector: connection lost")
	// ErrOptions: the Options are invalid.
	ErrOptions = errors.New("collector: bad options")
)

// A RefusedError is a server's answer other than 101 to the upgrade request.
type RefusedError struct {
	Status int    // HTTP status
	Reason string // the server's text, at most 300 bytes; may be empty
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("collector: refused by the server with status %d: %s", e.Status, e.Reason)
}

// A CloseError is the server's close frame.
type CloseError struct {
	Code   uint16 // wsproto.NoStatus if it had none
	Reason string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("collector: closed by the server with code %d %q", e.Code, e.Reason)
}

// A GapError says that the bytes received between two positions do not match the distance of the
// positions: messages are missing, or came twice. The connection continues, and counts from To.
type GapError struct {
	From, To wsproto.Position
	Received uint64 // bytes of message frames received between the two
}

func (e *GapError) Error() string {
	if e.From.Log != e.To.Log {
		return fmt.Sprintf("collector: the server's frame log changed under the connection: %s, then %s",
			e.From, e.To)
	}
	return fmt.Sprintf("collector: not contiguous: from %s to %s there are %d bytes, %d came",
		e.From, e.To, int64(e.To.Offset-e.From.Offset), e.Received)
}
