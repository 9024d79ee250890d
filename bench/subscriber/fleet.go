// Package subscriber is the benchmark's crowd of cheap clients: one process with any number of
// connections, which discards received bytes in the kernel (recv with MSG_TRUNC copies nothing) and
// counts them.
//
// Each client authenticates with a key pair of its own and a signed upgrade request. After the 101
// nothing is parsed and no ping is answered, so a server under test needs a ping timeout that is
// longer than the run. The counts include control frames: some hundred bytes a client in a run.
//
// Fleet is used by the parent, Run by the child. A client receives while others still connect. If
// clients waited for each other, the server's kernel would buffer megabytes for each, and the
// measurement would be that of allocation (three times the CPU time at 1,000 clients).
package subscriber

import (
	"context"
	"fmt"

	"distributor/bench/proc"
	"distributor/wsproto/shardus"
)

// Role is the child's role, its first argument.
const Role = "subscriber"

// Target describes the server, and how the clients behave.
type Target struct {
	Address  string          `json:"address"`  // host:port
	Bare     bool            `json:"bare"`     // no WebSocket: data begins with the first byte
	Unsigned bool            `json:"unsigned"` // the server does not authenticate
	From     string          `json:"from"`     // where the stream begins, as &from= says it
	HashKey  shardus.HashKey `json:"hashKey"`
	AtOnce   int             `json:"atOnce"` // clients that connect at the same time; 0: one

	Leave bool `json:"leave"` // clients leave when they have their 101
	Deaf  bool `json:"deaf"`  // clients never read
}

// Counts has the bytes that the clients have received up to now, without handshakes.
type Counts struct {
	Clients int    `json:"clients"` // that are connected
	Bytes   uint64 `json:"bytes"`   // of all clients
}

// command is a command of the parent; one member is set.
type command struct {
	Prepare *crowdOf `json:"prepare,omitempty"`
	Connect *crowdOf `json:"connect,omitempty"`
	Until   uint64   `json:"until,omitempty"`
	Counts  bool     `json:"counts,omitempty"`
}

type crowdOf struct {
	Target
	Clients int `json:"clients"`
}

type answer struct {
	Counts
	Error string `json:"error,omitempty"`
}

// Fleet is the parent's end of a subscriber process. It is not for concurrent use.
type Fleet struct{ *proc.Child }

// Start starts a process without clients on cpus. The end of ctx kills it.
func Start(ctx context.Context, cpus proc.CPUs) (*Fleet, error) {
	child, err := proc.StartChild(ctx, cpus, Role)
	return &Fleet{child}, err
}

// Prepare signs the upgrade requests of the next n clients, so that Connect is the server's work.
func (f *Fleet) Prepare(t Target, n int) error {
	_, err := f.ask(command{Prepare: &crowdOf{t, n}})
	return err
}

// Connect adds n clients and returns when all are upgraded. A refusal is an error.
func (f *Fleet) Connect(t Target, n int) error {
	if n == 0 {
		return nil
	}
	_, err := f.ask(command{Connect: &crowdOf{t, n}})
	return err
}

// Until waits until each client has received a number of bytes. A lost connection is an error.
func (f *Fleet) Until(bytes uint64) (Counts, error) { return f.ask(command{Until: bytes}) }

// Counts returns the counts as of now.
func (f *Fleet) Counts() (Counts, error) { return f.ask(command{Counts: true}) }

func (f *Fleet) ask(c command) (Counts, error) {
	var a answer
	if err := f.Ask(c, &a); err != nil {
		return Counts{}, err
	}
	if a.Error != "" {
		return a.Counts, fmt.Errorf("subscriber: %s", a.Error)
	}
	return a.Counts, nil
}
