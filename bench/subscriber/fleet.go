package subscriber

import (
	"context"
	"fmt"

	"distributor/bench/proc"
	"distributor/wsproto/shardus"
)

// Role is the child's role, its first argument.
const Role = "subscriber"

// Target is what to connect to.
type Target struct {
	Address string          `json:"address"` // host:port
	Bare    bool            `json:"bare"`    // no WebSocket: data begins with the first byte
	From    string          `json:"from"`    // where the stream begins: "live", "earliest" or a position
	HashKey shardus.HashKey `json:"hashKey"`

	// Unsigned is for a server that asks nobody who he is. Greeting is what such
	// a client says once it is upgraded, as a text message; "" for nothing. The
	// frame that answers it is not counted.
	Unsigned bool   `json:"unsigned"`
	Greeting string `json:"greeting"`

	// Compress has them offer permessage-deflate without context takeover, and
	// insist on it.
	Compress bool `json:"compress"`

	// Deaf clients never read.
	Deaf bool `json:"deaf"`
	// Again has a client that has received so many bytes go, and come back with
	// the next of Positions: a replay without end. 0: it stays.
	Again     uint64   `json:"again"`
	Positions []string `json:"positions"`
}

// Counts are what the clients have received up to now, handshakes not counted.
type Counts struct {
	Clients int    `json:"clients"`
	Bytes   uint64 `json:"bytes"`  // of all clients
	Fewest  uint64 `json:"fewest"` // of one client
	// Again is how often clients came back. What they had received before is
	// in Bytes.
	Again int `json:"again"`
}

// command is what the parent tells; one member is set.
type command struct {
	Connect *connect `json:"connect,omitempty"`
	Until   uint64   `json:"until,omitempty"`
	Counts  bool     `json:"counts,omitempty"`
	Nice    int      `json:"nice,omitempty"`
}

type connect struct {
	Target
	Clients int `json:"clients"` // still to come
}

type answer struct {
	Counts
	Error string `json:"error,omitempty"`
}

// Fleet is the parent's end of a subscriber process. It is not for concurrent
// use.
type Fleet struct {
	child *proc.Child
}

// Start starts a process without clients on cpus. The end of ctx kills it.
func Start(ctx context.Context, cpus proc.CPUs) (*Fleet, error) {
	child, err := proc.StartChild(ctx, cpus, Role)
	if err != nil {
		return nil, err
	}
	return &Fleet{child}, nil
}

// PID of the process.
func (f *Fleet) PID() int { return f.child.PID() }

// Connect adds n clients, one after the other, and returns when all are
// upgraded. Those that are receive meanwhile.
func (f *Fleet) Connect(t Target, n int) error {
	if n == 0 {
		return nil
	}
	_, err := f.ask(command{Connect: &connect{t, n}})
	return err
}

// Nice lowers the priority of the process, for good.
func (f *Fleet) Nice(by int) error {
	_, err := f.ask(command{Nice: by})
	return err
}

// Until waits until each client has received at least so many bytes. A lost
// connection is an error.
func (f *Fleet) Until(bytes uint64) (Counts, error) { return f.ask(command{Until: bytes}) }

// Counts are as of now.
func (f *Fleet) Counts() (Counts, error) { return f.ask(command{Counts: true}) }

// Close ends the process, and with it the connections.
func (f *Fleet) Close() error { return f.child.Close() }

func (f *Fleet) ask(c command) (Counts, error) {
	var a answer
	if err := f.child.Ask(c, &a); err != nil {
		return Counts{}, err
	}
	if a.Error != "" {
		return a.Counts, fmt.Errorf("subscriber: %s", a.Error)
	}
	return a.Counts, nil
}
