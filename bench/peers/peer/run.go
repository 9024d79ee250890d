package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Server is a WebSocket server made with a library.
type Server interface {
	// Start listens, and returns host:port. Every client that upgrades gets what
	// is broadcast from then on, and Clients is told of it.
	Start(*Clients) (address string, err error)
	// Broadcast sends a text message to all of them, as the library's
	// documentation advises. It returns when the message may be forgotten or is
	// in the library's hands; the memory stays as it is.
	Broadcast(message []byte)
	// Wrapped is the length of what the library makes of a message, apart from
	// frame headers.
	Wrapped(message []byte) int
}

// Compressor is a Server that can compress (RFC 7692), for clients that ask for
// it: it does so if Compress was called before Start.
type Compressor interface{ Compress() }

// command is what the parent tells; one member is set.
type command struct {
	Serve *struct {
		File     string `json:"file"`
		Compress bool   `json:"compress"`
	} `json:"serve"`
	Await int  `json:"await"`
	Burst int  `json:"burst"`
	Send  int  `json:"send"`
	Sent  bool `json:"sent"`
}

type answer struct {
	Address string `json:"address,omitempty"`
	Bytes   uint64 `json:"bytes"`
	Writes  uint64 `json:"writes"`
	Joined  int    `json:"joined"`
	Lost    int    `json:"lost"`
}

// Main is the process: it ends with the standard input.
func Main(s Server) {
	in := os.Stdin
	if syscall.SetNonblock(0, true) == nil {
		in = os.NewFile(0, "stdin") // read by the runtime's poller, not by a thread that waits
	}
	if err := run(s, in, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(s Server, in io.Reader, out io.Writer) error {
	f := &feed{server: s}
	answers := json.NewEncoder(out)
	for lines := json.NewDecoder(in); ; {
		var c command
		if err := lines.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("peer: standard input: %w", err)
		}
		var err error
		switch {
		case c.Serve != nil:
			var a answer
			if f.left, err = mapFile(c.Serve.File); err == nil && c.Serve.Compress {
				compressor, ok := s.(Compressor)
				if !ok {
					return errors.New("peer: it does not compress")
				}
				compressor.Compress()
			}
			if err == nil {
				a.Address, err = s.Start(&f.clients)
			}
			err = errors.Join(err, answers.Encode(a))
		case c.Await > 0:
			for f.clients.joined.Load() < int64(c.Await) { // the parent's patience ends it
				time.Sleep(time.Millisecond)
			}
			err = answers.Encode(f.clients.sent())
		case c.Burst > 0:
			go f.burst(c.Burst)
		case c.Send > 0:
			err = f.send()
		default:
			err = answers.Encode(f.clients.sent())
		}
		if err != nil {
			return err
		}
	}
}

// feed is what is still to be broadcast.
type feed struct {
	server  Server
	left    []byte
	clients Clients
}

func (f *feed) send() error {
	message, rest, err := payload(f.left)
	if err != nil {
		return err
	}
	f.left = rest
	f.server.Broadcast(message)
	return nil
}

const (
	// checkEvery is after how many messages the window is looked at.
	checkEvery = 8
	// pause is how long a burst waits before it looks again.
	pause = time.Millisecond
)

// burst broadcasts n messages.
func (f *feed) burst(n int) {
	clients := f.clients.begin()
	var broadcast uint64
	for i := range n {
		message, _, err := payload(f.left)
		if err == nil {
			err = f.send()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "message %d of %d: %v\n", i+1, n, err)
			os.Exit(1)
		}
		broadcast += uint64(f.server.Wrapped(message))
		if i%checkEvery == 0 && most(clients, broadcast) > window {
			for most(clients, broadcast) > window/2 {
				time.Sleep(pause)
			}
		}
	}
}

// Plain is the length of a message that is sent as it is.
func Plain(message []byte) int { return len(message) }
