package raw

import (
	"context"

	"distributor/bench/proc"
)

// Role is the child's role, its first argument.
const Role = "raw"

// Options are what a server is started with.
type Options struct {
	File  string `json:"file"`  // of frames
	Slice int    `json:"slice"` // bytes in a write at most
	Paced bool   `json:"paced"` // nothing is sent but by Send

	Sendfile bool `json:"sendfile"` // sendfile(2) from the file in place of write(2) from its mapping
	Faults   bool `json:"faults"`   // the mapping's pages are not there yet, as those of a segment just mapped
}

// Sent is what a server has sent so far.
type Sent struct {
	Bytes  uint64 `json:"bytes"`
	Writes uint64 `json:"writes"`
}

// command is what the parent tells; one member is set.
type command struct {
	Serve *Options `json:"serve,omitempty"`
	Send  int      `json:"send,omitempty"`
	Sent  bool     `json:"sent,omitempty"`
}

type answer struct {
	Sent
	Address string `json:"address,omitempty"`
}

// Server is the parent's end of the process. It is not for concurrent use.
type Server struct {
	child   *proc.Child
	Address string // host:port
}

// Start starts a server on cpus. The end of ctx kills it.
func Start(ctx context.Context, cpus proc.CPUs, o Options) (*Server, error) {
	child, err := proc.StartChild(ctx, cpus, Role)
	if err != nil {
		return nil, err
	}
	var a answer
	if err := child.Ask(command{Serve: &o}, &a); err != nil {
		return nil, err
	}
	return &Server{child, a.Address}, nil
}

// PID of the process.
func (s *Server) PID() int { return s.child.PID() }

// Send has the next frame sent to all clients. It does not wait for that.
func (s *Server) Send() error { return s.child.Tell(command{Send: 1}) }

// Sent is as of now.
func (s *Server) Sent() (Sent, error) { return s.ask(command{Sent: true}) }

func (s *Server) ask(c command) (Sent, error) {
	var a answer
	err := s.child.Ask(c, &a)
	return a.Sent, err
}

// Close ends the process, and with it the connections.
func (s *Server) Close() error { return s.child.Close() }
