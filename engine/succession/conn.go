package succession

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxMessage is the largest packet, in bytes.
	maxMessage = 64 << 10
	// sendWithin is how long the other side may leave the channel full.
	sendWithin = 5 * time.Second
)

// Message is one packet. One member is set.
type Message struct {
	// Elder to heir.
	Estate *Estate `json:"estate,omitempty"`
	Yours  bool    `json:"yours,omitempty"`

	// Heir to elder.
	Ready   bool  `json:"ready,omitempty"`
	Serving bool  `json:"serving,omitempty"`
	Stop    *Stop `json:"stop,omitempty"`

	// Both ways.
	Positions []Position `json:"positions,omitempty"`
	// Release are keys. From the heir: close your connection of each, and say when it has ended.
	// From the elder: it has none any more, and its last positions of them have been sent before.
	Release []string `json:"release,omitempty"`
}

// Estate is what the heir is given. Addresses are as they were configured: a
// listener is of use for one that is configured in the same words.
type Estate struct {
	StateDir string `json:"stateDir"` // absolute
	Public   string `json:"public"`
	Admin    string `json:"admin,omitempty"` // empty: no listener
	// Activated says that the service manager has opened the public listener, and keeps it.
	Activated bool `json:"activated,omitempty"`
	// Problems are those of the elder's health, by component: since when each is there.
	Problems map[string]time.Time `json:"problems,omitempty"`
}

// Stop has the elder's collectors sent away within a shorter time.
type Stop struct {
	WithinMS int64 `json:"withinMS"`
}

// Position is how far a collector is.
type Position struct {
	Key    string `json:"k"`
	Offset uint64 `json:"o"`           // it has confirmed everything before, or begins there
	Begins bool   `json:"b,omitempty"` // a connection has begun since the last word about the key
}

// Conn is one end of the channel. Any number of goroutines may send.
type Conn struct {
	unix     *net.UnixConn
	messages chan Message
	done     chan struct{} // closed by Close
	within   time.Duration // sendWithin; shorter in tests
}

// pair makes a channel: our end, and the file for the heir.
func pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("succession: socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "heir")
	c, err := newConn(os.NewFile(uintptr(fds[0]), "elder"))
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return c, theirs, nil
}

// newConn takes f with it.
func newConn(f *os.File) (*Conn, error) {
	defer f.Close() // FileConn works on a duplicate
	one, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("succession: channel: %w", err)
	}
	u, ok := one.(*net.UnixConn)
	if !ok {
		_ = one.Close()
		return nil, fmt.Errorf("succession: channel: it is a %T", one)
	}
	c := &Conn{unix: u, messages: make(chan Message), done: make(chan struct{}), within: sendWithin}
	go c.listen()
	return c, nil
}

// listen reads until the end of the channel; what is no message is its end as
// well.
func (c *Conn) listen() {
	defer close(c.messages)
	buf := make([]byte, maxMessage)
	for {
		n, _, _, _, err := c.unix.ReadMsgUnix(buf, nil)
		if errors.Is(err, syscall.ECONNRESET) {
			continue // it has gone without having read all; said once, and before what it had said itself
		}
		var m Message
		if err != nil || n == 0 || json.Unmarshal(buf[:n], &m) != nil {
			return
		}
		select {
		case c.messages <- m:
		case <-c.done:
			return
		}
	}
}

// Messages are what the other side says; closed at the end of the channel.
func (c *Conn) Messages() <-chan Message { return c.messages }

// Send says m; io.EOF when the other side has gone, os.ErrDeadlineExceeded when it has left the
// channel full for sendWithin. m was not sent then.
func (c *Conn) Send(m Message) error {
	b, err := json.Marshal(m)
	if err == nil {
		err = c.unix.SetWriteDeadline(time.Now().Add(c.within))
	}
	if err == nil {
		_, err = c.unix.Write(b)
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("succession: send: %w", err)
	}
	return nil
}

// Close ends the channel. It must be called once.
func (c *Conn) Close() {
	close(c.done)
	_ = c.unix.Close()
}
