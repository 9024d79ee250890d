package storm

import (
	"context"

	"distributor/bench/proc"
	"distributor/bench/subscriber"
)

// Role is the child's role, its first argument.
const Role = "storm"

// Options are who knocks.
type Options struct {
	subscriber.Target
	Clients int  `json:"clients"`
	AtOnce  int  `json:"atOnce"` // that wait for an answer
	Stay    bool `json:"stay"`
}

// Result is what has come of it.
type Result struct {
	Seconds  float64 `json:"seconds"` // from the first connect to the last answer
	Upgraded int     `json:"upgraded"`
	Refused  int     `json:"refused"` // and whoever got no answer
	First    string  `json:"first"`   // refusal
}

// command is what the parent tells; one member is set.
type command struct {
	Sign *Options `json:"sign,omitempty"`
	Go   bool     `json:"go,omitempty"`
}

// Storm is the parent's end of the process. It is not for concurrent use.
type Storm struct{ child *proc.Child }

// Start starts a process on cpus, and returns when it has signed all requests.
// The end of ctx kills it.
func Start(ctx context.Context, cpus proc.CPUs, o Options) (*Storm, error) {
	child, err := proc.StartChild(ctx, cpus, Role)
	if err != nil {
		return nil, err
	}
	var r Result
	if err := child.Ask(command{Sign: &o}, &r); err != nil {
		return nil, err
	}
	return &Storm{child}, nil
}

// PID of the process.
func (s *Storm) PID() int { return s.child.PID() }

// Go lets it loose, and returns when everybody has an answer.
func (s *Storm) Go() (r Result, err error) {
	err = s.child.Ask(command{Go: true}, &r)
	return r, err
}

// Close ends the process, and with it the connections.
func (s *Storm) Close() error { return s.child.Close() }
