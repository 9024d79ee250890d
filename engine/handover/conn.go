package handover

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

	"distributor/engine/ipc"
)

const (
	// maxMessage is the largest packet, in bytes.
	maxMessage = 64 << 10
	// sendWithin is how long the other side may leave the channel full.
	sendWithin = 5 * time.Second
)

// conn is one end of the channel. Any number of goroutines may send.
type conn struct {
	unix     *net.UnixConn
	messages chan Message
	done     chan struct{} // closed by Close
	within   time.Duration // sendWithin; shorter in tests
}

// pair makes a channel. It returns this process's end, and the file for the new process.
func pair() (*conn, *os.File, error) {
	ours, theirs, err := ipc.Pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	return newConn(ours), theirs, nil
}

func newConn(u *net.UnixConn) *conn {
	c := &conn{unix: u, messages: make(chan Message), done: make(chan struct{}), within: sendWithin}
	go c.listen()
	return c
}

// listen reads until the end of the channel. An invalid packet counts as the end.
func (c *conn) listen() {
	defer close(c.messages)
	buf := make([]byte, maxMessage)
	for {
		n, err := ipc.Receive(c.unix, buf)
		var m Message
		if err != nil || json.Unmarshal(buf[:n], &m) != nil {
			return
		}
		select {
		case c.messages <- m:
		case <-c.done:
			return
		}
	}
}

// Messages returns the messages of the other side. The channel is closed at the end of the channel
// between the processes.
func (c *conn) Messages() <-chan Message { return c.messages }

// Send sends m. It returns io.EOF when the other side has ended, and os.ErrDeadlineExceeded when
// the other side has left the channel full for sendWithin. In both cases m was not sent.
func (c *conn) Send(m Message) error {
	b, err := json.Marshal(m)
	if err == nil {
		err = ipc.Send(c.unix, b, time.Now().Add(c.within))
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("handover: send: %w", err)
	}
	return nil
}

// Close ends the channel. It must be called once.
func (c *conn) Close() {
	close(c.done)
	_ = c.unix.Close()
}
