package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MaxMessage is the largest packet, in bytes. The largest message in practice is a Client with the
// bytes that arrived after its request.
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
	// Confirmed are the newest confirmations of clients, at most one per client and MaxConfirmed in
	// all.
	Confirmed []Confirmed `json:"confirmed,omitempty"`
}

// Settings is the configuration of a worker. The first message is a Settings. A later one replaces
// everything that a reload may change, which is all but the directories.
type Settings struct {
	Worker         int    `json:"worker"`         // number in logs and metrics, from 1
	FrameLog       string `json:"frameLog"`       // directory of the frame log
	Notices        string `json:"notices"`        // directory of the notices
	PingIntervalMS int64  `json:"pingIntervalMS"` // time since the last ping, until a keep-alive ping
	PingTimeoutMS  int64  `json:"pingTimeoutMS"`  // silence after which a client is closed
	// InputBytes is the longest message of a client, and the most that it may send at once. InputRate
	// is how many bytes a second it may send in the long run. A client that sends more is closed.
	InputBytes int `json:"inputBytes"`
	InputRate  int `json:"inputRate"`
	// A client is closed that is more than SlowLag bytes behind, and reads less than SlowRate bytes a
	// second, for SlowWindowMS. SlowLag 0: never.
	SlowLag      uint64 `json:"slowLag"`
	SlowRate     uint64 `json:"slowRate"`
	SlowWindowMS int64  `json:"slowWindowMS"`
	LingerMS     int64  `json:"lingerMS"` // interval of sends to live clients; 0: at once
	LogLevel     string `json:"logLevel"` // a slog level's name
	// CompressedLog is the directory of the compressed log (mmaplog/compressedlog); "": there is
	// none.
	CompressedLog string `json:"compressedLog,omitempty"`
}

// Client hands over a socket, whose descriptor travels with the message. The worker writes
// Response, then treats Early as the first bytes from the client.
type Client struct {
	ID       uint64 `json:"id"`       // unique for the life of the primary
	Key      string `json:"key"`      // the collector's public key, for logs
	From     uint64 `json:"from"`     // first offset of the frame log to send; a frame boundary
	Response []byte `json:"response"` // the 101
	Early    []byte `json:"early,omitempty"`
	Negotiated
}

// Negotiated is what a client negotiated with its upgrade request. The gateway fills it in;
// supervisor and worker pass it on unchanged.
type Negotiated struct {
	Deflate bool `json:"deflate,omitempty"` // permessage-deflate
	Notices bool `json:"notices,omitempty"` // notices of gaps
}

// Close ends one client's connection. An unknown ID is no error, because the connection may have
// ended already.
type Close struct {
	ID         uint64 `json:"id"`
	Disconnect string `json:"disconnect"` // name of a wsproto.Disconnect
}

// Drain ends the worker. Clients that have reached Head and have all frames are closed with the
// named disconnect, evenly over SpreadMS. Clients that are behind get up to WithinMS. Then the
// process exits with status 0. Another Drain replaces the earlier one.
type Drain struct {
	Head       uint64 `json:"head"`
	WithinMS   int64  `json:"withinMS"`
	SpreadMS   int64  `json:"spreadMS"`
	Disconnect string `json:"disconnect"`
}

// Profile asks the worker to serve net/http/pprof on a stream socket, whose descriptor travels with
// the message: one request, then the worker closes it.
type Profile struct{}

// Ready says that the worker has opened the frame log and takes clients.
type Ready struct {
	PID int `json:"pid"`
	// Slots is how many clients the worker has descriptors for, including its current ones; 0:
	// unknown. Stats updates it.
	Slots int `json:"slots,omitempty"`
}

// Closed says that a client's connection has ended and why.
type Closed struct {
	ID         uint64 `json:"id"`
	Disconnect string `json:"disconnect"` // name of a wsproto.Disconnect
	Detail     string `json:"detail,omitempty"`
	Sent       uint64 `json:"sent"`     // offset up to which bytes were given to the kernel
	Acked      uint64 `json:"acked"`    // offset that the client has confirmed; 0: none
	Messages   uint64 `json:"messages"` // data frames that it sent (ignored)
}

// MaxConfirmed bounds Message.Confirmed, so that the message fits a packet.
const MaxConfirmed = 1000

// Confirmed says that a client has read everything before an offset.
type Confirmed struct {
	ID     uint64 `json:"i"`
	Offset uint64 `json:"o"`
}

// Stats are the counters of a worker since its start, and its current state. A worker sends them
// about once a second.
type Stats struct {
	Counters
	Clients   int    `json:"clients"`
	Blocked   int    `json:"blocked"`   // clients whose socket is full
	Deflate   int    `json:"deflate"`   // clients that negotiated permessage-deflate
	Head      uint64 `json:"head"`      // of the frame log, for comparison with cursors
	MinCursor uint64 `json:"minCursor"` // of the client furthest behind; 0: no client
	Slots     int    `json:"slots,omitempty"`

	// LatencyMax is the largest Latency of the last ten seconds, in seconds.
	LatencyMax float64 `json:"latencyMax"`
	// Slowest are the clients furthest behind, the worst first; at most MaxSlowest. Clients that have
	// all frames are left out.
	Slowest []Slow `json:"slowest,omitempty"`
}

// Counters are the part of Stats that is added up over all workers, ended ones included.
type Counters struct {
	SentBytes       uint64 `json:"sentBytes"`       // data bytes given to the kernel, without control frames
	Sends           uint64 `json:"sends"`           // system calls that did so
	Pings           uint64 `json:"pings"`           // pings sent
	CompressedBytes uint64 `json:"compressedBytes"` // of SentBytes, from the compressed log
	// PlainBytes counts the bytes of SentBytes that went uncompressed to clients with compression,
	// because the compressed log did not hold the frames, or no longer.
	PlainBytes uint64 `json:"plainBytes"`
	// Latency is a sample of the seconds from the append to the frame log to the send, for live
	// clients; see package worker.
	Latency Histogram `json:"latency"`
	// Lag counts every client once per report, by the bytes that it is behind.
	Lag Histogram `json:"lag"`
}

// Add adds the counts of o.
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
	Seconds float64 `json:"seconds"` // age of the frame in which its cursor stands; 0: unknown
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

// Decode returns the message in a packet.
func Decode(packet []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(packet, &m); err != nil {
		return Message{}, fmt.Errorf("handoff: decode: %w", err)
	}
	return m, nil
}
