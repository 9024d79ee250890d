// Package peers has the servers that the distributor is compared with: the baseline, and one for
// each WebSocket library. A server reads Commands in JSON lines from standard input, takes its
// messages from a mapped file of frames, and sends them to all its clients. It ends when its input
// does. ws/main.mjs, the server of npm ws, reads the same commands.
//
// # Back-pressure
//
// No message is dropped. The libraries queue what a socket does not take, without a limit of bytes,
// so the broadcaster of a burst pauses while a client has more than window bytes waiting in user
// space, until all have less than half of that. What a client has waiting is what was broadcast
// less what its connection's Write took.
package peers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"distributor/bench/frames"
)

// Roles are the first arguments of the processes.
const (
	RawRole     = "raw"
	GorillaRole = "gorilla"
	GwsRole     = "gws"
)

// Command is a command to a server; one member is set.
type Command struct {
	Serve string `json:"serve,omitempty"` // a file of frames; answered with the address
	Await int    `json:"await,omitempty"` // answered when so many clients have joined
	Burst int    `json:"burst,omitempty"` // so many messages, as fast as the clients take them
	Send  int    `json:"send,omitempty"`  // the next message, now
}

// Answer is a server's answer.
type Answer struct {
	Address string `json:"address,omitempty"` // host:port
}

// library is a WebSocket server made with a library.
type library interface {
	// start listens with clients.listen. Every client that upgrades gets what is broadcast from then
	// on, and clients.joined counts it.
	start(clients *clients) (address string, err error)
	// broadcast sends a text message to all clients, as the library's documentation advises.
	broadcast(message []byte)
}

func run(l library) error {
	in := os.Stdin
	if syscall.SetNonblock(0, true) == nil {
		in = os.NewFile(0, "stdin") // read by the runtime's poller, not by a thread that waits
	}
	f := &feed{library: l}
	answers := json.NewEncoder(os.Stdout)
	for lines := json.NewDecoder(in); ; {
		var c Command
		if err := lines.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("peers: standard input: %w", err)
		}
		var err error
		switch {
		case c.Serve != "":
			var a Answer
			if f.left, err = frames.Map(c.Serve); err == nil {
				a.Address, err = l.start(&f.clients)
			}
			err = errors.Join(err, answers.Encode(a))
		case c.Await > 0:
			for f.clients.joined.Load() < int64(c.Await) { // the parent's patience ends it
				time.Sleep(time.Millisecond)
			}
			err = answers.Encode(Answer{})
		case c.Burst > 0:
			go f.burst(c.Burst)
		default:
			_, err = f.send()
		}
		if err != nil {
			return err
		}
	}
}

// feed is what is still to be broadcast.
type feed struct {
	library library
	left    []byte
	clients clients
}

func (f *feed) send() (bytes uint64, err error) {
	_, message, rest, err := frames.Cut(f.left)
	if err != nil {
		return 0, err
	}
	f.left = rest
	f.library.broadcast(message)
	return uint64(len(message)), nil
}

// burst broadcasts n messages.
func (f *feed) burst(n int) {
	const (
		window     = 256 << 10 // bytes
		checkEvery = 8         // messages
		pause      = time.Millisecond
	)
	var broadcast uint64
	waiting := f.clients.watch()
	for i := range n {
		bytes, err := f.send()
		if err != nil {
			fmt.Fprintf(os.Stderr, "message %d of %d: %v\n", i+1, n, err)
			os.Exit(1)
		}
		broadcast += bytes
		if i%checkEvery == 0 && waiting(broadcast) > window {
			for waiting(broadcast) > window/2 {
				time.Sleep(pause)
			}
		}
	}
}
