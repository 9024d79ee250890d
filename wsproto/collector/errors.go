package collector

import (
	"errors"
	"fmt"

	"distributor/wsproto"
)

var (
	// ErrForged: a message is not what the server's key signed, or no firehose message at all. The connection goes on.
	ErrForged = errors.New("collector: message does not verify")
	// ErrProtocol: the server broke the WebSocket protocol or sent more than MaxMessage. The connection is closed.
	ErrProtocol = errors.New("collector: server broke the protocol")
	// ErrLost: the connection could not be made, or ended without a close frame.
	ErrLost = errors.New("collector: connection lost")
	// ErrOptions: Options that cannot be used.
	ErrOptions = errors.New("collector: bad options")
)

// A RefusedError is the server's answer to the upgrade request where it is not 101.
type RefusedError struct {
	Status int    // HTTP status
	Reason string // the server's words, at most 300 bytes; may be empty
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("collector: refused by the server with status %d: %s", e.Status, e.Reason)
}

// A CloseError is the server's close frame.
type CloseError struct {
	Code   uint16 // wsproto.NoStatus when it had none
	Reason string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("collector: closed by the server with code %d %q", e.Code, e.Reason)
}

// A GapError says that the bytes that came between two positions are not as many as the positions are apart: messages
// are missing, or came twice. The connection goes on, counted anew from To.
type GapError struct {
	From, To wsproto.Position
	Received uint64 // bytes of message frames that came between the two
}

func (e *GapError) Error() string {
	if e.From.Log != e.To.Log {
		return fmt.Sprintf("collector: the server's frame log changed under the connection: %s, then %s", e.From, e.To)
	}
	return fmt.Sprintf("collector: not contiguous: from %s to %s there are %d bytes, %d came",
		e.From, e.To, int64(e.To.Offset-e.From.Offset), e.Received)
}
