package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MaxMessage is the largest packet, in bytes. The largest message in practice
// is a Client with the bytes that arrived behind its request.
const MaxMessage = 64 << 10

// ErrTooBig is returned for a message that does not fit a packet.
var ErrTooBig = errors.New("handoff: message larger than a packet")

// Message is one packet. Exactly one member is set.
type Message struct {
	// Primary to worker.
	Settings *Settings `json:"settings,omitempty"`
	Client   *Client   `json:"client,omitempty"`
	Close    *Close    `json:"close,omitempty"`
	Drain    *Drain    `json:"drain,omitempty"`
	Profile  *Profile  `json:"profile,omitempty"`

	// Worker to primary.
	Ready  *Ready  `json:"ready,omitempty"`
	Closed *Closed `json:"closed,omitempty"`
	Stats  *Stats  `json:"stats,omitempty"`
	// Confirmed are clients' confirmations since the last such message, each
	// client's newest; at most MaxConfirmed.
	Confirmed []Confirmed `json:"confirmed,omitempty"`
}

// Settings are what a worker needs to know; the first message is one, and a
// later one replaces what a reload may change (everything but the directories).
type Settings struct {
	Worker         int    `json:"worker"`         // number in logs and metrics, from 1
	FrameLog       string `json:"frameLog"`       // directory of the frame log
	Notices        string `json:"notices"`        // directory of the notices
	PingIntervalMS int64  `json:"pingIntervalMS"` // keep-alive ping after so long without one
	PingTimeoutMS  int64  `json:"pingTimeoutMS"`  // closed when nothing came back for so long
	InputBytes     int    `json:"inputBytes"`     // closed when it sends more at once than that, or a longer message,
	InputRate      int    `json:"inputRate"`      // or more than so many bytes a second in the long run
	SlowLag        uint64 `json:"slowLag"`        // closed when it is more bytes behind than that (0: never)
	SlowRate       uint64 `json:"slowRate"`       // and takes less than so many a second
	SlowWindowMS   int64  `json:"slowWindowMS"`   // for so long
	LingerMS       int64  `json:"lingerMS"`       // clients that have all there is are sent to at most once in so long (0: at once)
	LogLevel       string `json:"logLevel"`       // a slog level's name
	// CompressedLog is the directory of the compressed log (mmaplog/compressedlog); "": there is
	// none now.
	CompressedLog string `json:"compressedLog,omitempty"`
}

// Client hands over a socket, which travels beside the message. The worker
// writes Response, then treats Early as the first bytes from the client.
type Client struct {
	ID       uint64 `json:"id"`       // unique for the life of the primary
	Key      string `json:"key"`      // the collector's public key, for logs
	From     uint64 `json:"from"`     // offset in the frame log of the first byte to send; a frame boundary
	Response []byte `json:"response"` // the 101
	Early    []byte `json:"early,omitempty"`
	Negotiated
}

// Negotiated is what a client negotiated with its upgrade request. The gateway fills it in, and
// supervisor and worker keep it whole.
type Negotiated struct {
	Deflate bool `json:"deflate,omitempty"` // permessage-deflate
	Notices bool `json:"notices,omitempty"` // notices of gaps
}

// Close ends one client's connection. An unknown ID is no error: the client
// may have gone by itself.
type Close struct {
	ID         uint64 `json:"id"`
	Disconnect string `json:"disconnect"` // name of a wsproto.Disconnect
}

// Drain ends the worker: clients that have reached Head, and all there is, are
// closed with the named disconnect, evenly over SpreadMS; those that are behind
// get up to WithinMS; then the process exits with 0. Another Drain takes the
// place of a former one.
type Drain struct {
	Head       uint64 `json:"head"`
	WithinMS   int64  `json:"withinMS"`
	SpreadMS   int64  `json:"spreadMS"`
	Disconnect string `json:"disconnect"`
}

// Profile asks the worker to serve net/http/pprof on the stream socket that
// travels beside the message: one request, then it is closed.
type Profile struct{}

// Ready says that the worker has its frame log open and takes clients.
type Ready struct {
	PID int `json:"pid"`
	// Room is how many clients it has descriptors for, those that it has
	// included; 0: it does not know. Stats say it anew.
	Room int `json:"room,omitempty"`
}

// Closed says that a client's connection has ended and why.
type Closed struct {
	ID         uint64 `json:"id"`
	Disconnect string `json:"disconnect"` // name of a wsproto.Disconnect
	Detail     string `json:"detail,omitempty"`
	Sent       uint64 `json:"sent"`     // offset up to which bytes were given to the kernel
	Acked      uint64 `json:"acked"`    // offset that the client has confirmed by a pong; 0: none
	Messages   uint64 `json:"messages"` // data frames it sent us (ignored)
}

// MaxConfirmed bounds Message.Confirmed, so that it fits a packet.
const MaxConfirmed = 1000

// Confirmed says that a client has read everything before an offset.
type Confirmed struct {
	ID     uint64 `json:"i"`
	Offset uint64 `json:"o"`
}

// Stats are a worker's counters since its start, and its state now. A worker
// sends them about once a second.
type Stats struct {
	Counters
	Clients   int    `json:"clients"`
	Blocked   int    `json:"blocked"`   // clients whose socket is full
	Deflate   int    `json:"deflate"`   // clients that negotiated permessage-deflate
	Head      uint64 `json:"head"`      // of the frame log, to which cursors compare
	MinCursor uint64 `json:"minCursor"` // of the client furthest behind; 0: no client
	Room      int    `json:"room,omitempty"`

	// LatencyMax is the largest Latency of the last ten seconds, in seconds.
	LatencyMax float64 `json:"latencyMax"`
	// Slowest are the clients furthest behind, the worst first; at most
	// MaxSlowest, none that has all there is.
	Slowest []Slow `json:"slowest,omitempty"`
}

// Counters are those of a worker's Stats that add up over workers, and over those that have ended.
type Counters struct {
	SentBytes       uint64 `json:"sentBytes"`       // data bytes given to the kernel, control frames not counted
	Sends           uint64 `json:"sends"`           // system calls that did so
	Pings           uint64 `json:"pings"`           // pings sent
	CompressedBytes uint64 `json:"compressedBytes"` // of SentBytes, from the compressed log
	// PlainBytes, of SentBytes, went uncompressed to clients that could have had them
	// compressed, because the compressed log had not (or not any more) what they had to get.
	PlainBytes uint64 `json:"plainBytes"`
	// Latency is a sample of the seconds from a frame's way into the frame log
	// to its way into the kernel, for live clients; see package worker.
	Latency Histogram `json:"latency"`
	// Lag counts, at each report, every client by the bytes that it is behind.
	Lag Histogram `json:"lag"`
}

// Add adds what o has counted.
func (c *Counters) Add(o Counters) {
	c.SentBytes += o.SentBytes
	c.Sends += o.Sends
	c.Pings += o.Pings
	c.CompressedBytes += o.CompressedBytes
	c.PlainBytes += o.PlainBytes
	c.Latency.Add(o.Latency)
	c.Lag.Add(o.Lag)
}

// MaxSlowest bounds Stats.Slowest.
const MaxSlowest = 20

// Slow is a client that is behind.
type Slow struct {
	ID      uint64  `json:"id"`
	Key     string  `json:"key"`
	Cursor  uint64  `json:"cursor"`
	Seconds float64 `json:"seconds"` // age of the frame that its cursor stands in; 0 when that cannot be told
	Blocked bool    `json:"blocked"` // its socket is full
}

// Encode returns the packet of m.
func Encode(m Message) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("handoff: encode: %w", err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooBig, len(b))
	}
	return b, nil
}

// Decode reads a packet.
func Decode(packet []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(packet, &m); err != nil {
		return Message{}, fmt.Errorf("handoff: decode: %w", err)
	}
	return m, nil
}
