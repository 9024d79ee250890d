package subscriber

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"distributor/bench/loop"
)

// atOnce is the most that one recv throws away: more than a socket holds.
const atOnce = 1 << 28

// Run is the child process.
func Run() error {
	l, err := loop.New()
	if err != nil {
		return err
	}
	return loop.Run(l, &crowd{loop: l})
}

// crowd is the clients.
type crowd struct {
	loop     *loop.Loop
	sockets  []int
	watched  int      // how many of sockets are being read
	received []uint64 // by socket
	lost     error    // a connection that has ended

	target  uint64 // of Until; 0: none is waited for
	reached int    // clients that have it
}

func (c *crowd) Command(m command) error {
	var err error
	switch {
	case m.Connect != nil:
		err = c.connect(*m.Connect)
	case m.Receive:
		err = c.receive()
	case m.Until > 0 && c.lost == nil:
		c.target, c.reached = m.Until, 0
		for _, fd := range c.sockets {
			if c.received[fd] >= c.target {
				c.reached++
			}
		}
		return nil // Work answers
	}
	return c.answer(err)
}

func (c *crowd) connect(m connect) error {
	for i := range m.Clients {
		fd, err := dial(m.Target)
		if err != nil {
			return fmt.Errorf("client %d: %w", len(c.sockets)+i+1, err)
		}
		for fd >= len(c.received) {
			c.received = append(c.received, make([]uint64, 64+len(c.received))...)
		}
		c.sockets = append(c.sockets, fd)
	}
	return nil
}

func (c *crowd) receive() error {
	for ; c.watched < len(c.sockets); c.watched++ {
		if err := c.loop.Watch(c.sockets[c.watched], unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET&0xffffffff); err != nil {
			return err
		}
	}
	return nil
}

// Event throws away what a socket has.
func (c *crowd) Event(fd int, _ uint32) error {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), 0, atOnce, unix.MSG_TRUNC|unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			return nil
		case errno != 0 || n == 0:
			c.lost = fmt.Errorf("a connection has ended after %d bytes (error %d)", c.received[fd], errno)
			return unix.Close(fd)
		default:
			before := c.received[fd]
			c.received[fd] += uint64(n)
			if before < c.target && c.received[fd] >= c.target {
				c.reached++
			}
			if n < atOnce {
				return nil // the socket was emptied; more is another edge
			}
		}
	}
}

// Work answers Until.
func (c *crowd) Work() (bool, error) {
	if c.target == 0 || c.lost == nil && c.reached < len(c.sockets) {
		return false, nil
	}
	c.target = 0
	return false, c.answer(nil)
}

func (c *crowd) answer(err error) error {
	if err == nil {
		err = c.lost
	}
	a := answer{Counts: Counts{Clients: len(c.sockets)}}
	for i, fd := range c.sockets {
		a.Bytes += c.received[fd]
		if i == 0 || c.received[fd] < a.Fewest {
			a.Fewest = c.received[fd]
		}
	}
	if err != nil {
		a.Error = err.Error()
	}
	return c.loop.Answer(a)
}
