package subscriber

import (
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"distributor/bench/loop"
	"distributor/bench/proc"
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
	received []uint64 // by socket
	lost     error    // a connection that has ended

	joining connect // who is still to be connected
	asked   bool    // somebody waits until they are
	target  uint64  // of Until; 0: none is waited for
	reached int     // clients that have it

	past  uint64 // bytes of connections that were given up for another
	again int    // how many those were
}

func (c *crowd) Command(m command) error {
	switch {
	case m.Connect != nil:
		c.joining, c.asked = *m.Connect, true
	case m.Until > 0:
		c.target, c.reached = m.Until, 0
		for _, fd := range c.sockets {
			if c.received[fd] >= c.target {
				c.reached++
			}
		}
	case m.Nice > 0:
		return c.answer(proc.Nice(m.Nice))
	default:
		return c.answer(nil)
	}
	return nil // Work answers
}

// Work connects the next client, in between what those before get; and answers
// when what was asked for is reached.
func (c *crowd) Work() (bool, error) {
	switch {
	case c.joining.Clients > 0:
		if err := c.join(); err != nil {
			c.joining.Clients = 0
			err = fmt.Errorf("client %d: %w", len(c.sockets)+1, err)
			if !c.asked {
				c.lost = err
				return false, nil
			}
			c.asked = false
			return false, c.answer(err)
		}
		if c.joining.Clients--; c.joining.Clients == 0 && c.asked {
			c.asked = false
			if err := c.answer(nil); err != nil {
				return false, err
			}
			for _, fd := range slices.Clone(c.sockets) {
				if c.hasAll(fd) {
					if err := c.leave(fd); err != nil {
						return false, err
					}
				}
			}
		}
		return c.joining.Clients > 0, nil
	case c.target > 0 && (c.lost != nil || c.reached == len(c.sockets)):
		c.target = 0
		return false, c.answer(nil)
	}
	return false, nil
}

func (c *crowd) join() error {
	t := c.joining.Target
	if n := len(t.Positions); n > 0 {
		t.From = t.Positions[(len(c.sockets)+c.again)%n]
	}
	fd, err := dial(t)
	if err != nil {
		return err
	}
	for fd >= len(c.received) {
		c.received = append(c.received, make([]uint64, 64+len(c.received))...)
	}
	c.received[fd] = 0
	c.sockets = append(c.sockets, fd)
	if t.Deaf {
		return nil
	}
	return c.loop.Watch(fd, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET&0xffffffff)
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
			if !c.asked && c.hasAll(fd) { // not before all are connected: as many might leave as join
				return c.leave(fd)
			}
			if n < atOnce {
				return nil // the socket was emptied; more is another edge
			}
		}
	}
}

// hasAll says whether a client is to go and come back.
func (c *crowd) hasAll(fd int) bool {
	return c.joining.Again > 0 && c.received[fd] >= c.joining.Again
}

// leave gives up a connection for a new one, which Work makes.
func (c *crowd) leave(fd int) error {
	c.past += c.received[fd]
	c.again++
	c.joining.Clients++
	c.sockets = slices.DeleteFunc(c.sockets, func(x int) bool { return x == fd })
	return unix.Close(fd)
}

func (c *crowd) answer(err error) error {
	if err == nil {
		err = c.lost
	}
	a := answer{Counts: Counts{Clients: len(c.sockets), Bytes: c.past, Again: c.again}}
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
