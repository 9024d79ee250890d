package wsproto

import "errors"

// ErrPosition: the text is no position token.
var ErrPosition = errors.New("wsproto: malformed position token")

// ErrNotices: the text is no kind of notice.
var ErrNotices = errors.New("wsproto: no such notices")

// These errors are for rules that gobwas/ws does not check. Each is wrapped together with its
// Disconnect.
var (
	errReservedBits  = errors.New("reserved bits set")
	errLengthBit     = errors.New("highest bit of the payload length set")
	errLengthForm    = errors.New("payload length in a longer form than needed")
	errText          = errors.New("text is not UTF-8")
	errCloseBody     = errors.New("close frame with a body of one byte")
	errCloseCode     = errors.New("close frame with a code that may not be sent")
	errCloseReason   = errors.New("close reason is not UTF-8")
	errMessageLength = errors.New("message longer than allowed")
)
