package storm

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"distributor/bench/loop"
	"distributor/bench/subscriber"
)

// Run is the child process.
func Run() error {
	l, err := loop.New()
	if err != nil {
		return err
	}
	return loop.Run(l, &crowd{loop: l, waiting: make(map[int]*client)})
}

type crowd struct {
	loop     *loop.Loop
	options  Options
	address  netip.AddrPort
	requests [][]byte

	running bool
	begun   time.Time
	next    int             // request
	waiting map[int]*client // by descriptor
	result  Result
}

// client is one that has no answer yet.
type client struct {
	request []byte // nil when it is sent
	answer  []byte
}

func (c *crowd) Command(m command) (err error) {
	switch {
	case m.Sign != nil:
		c.options = *m.Sign
		if c.address, err = netip.ParseAddrPort(c.options.Address); err != nil {
			return fmt.Errorf("storm: %w", err)
		}
		for range c.options.Clients {
			request, err := subscriber.UpgradeRequest(c.options.Target, time.Now())
			if err != nil {
				return err
			}
			c.requests = append(c.requests, request)
		}
		return c.loop.Answer(Result{})
	default:
		c.running, c.begun = true, time.Now()
		return nil // Work answers
	}
}

// Work has as many wait as may.
func (c *crowd) Work() (bool, error) {
	if !c.running {
		return false, nil
	}
	for len(c.waiting) < c.options.AtOnce && c.next < len(c.requests) {
		if err := c.knock(); err != nil {
			return false, err
		}
	}
	if len(c.waiting) > 0 {
		return false, nil
	}
	c.running = false
	c.result.Seconds = time.Since(c.begun).Seconds()
	return false, c.loop.Answer(c.result)
}

// origins are how many addresses the clients come from.
const origins = 200

func (c *crowd) knock() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("storm: socket: %w", err)
	}
	// The port is chosen when it connects, so that it need not be free everywhere.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("storm: socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + c.next%origins)}}); err != nil {
		return fmt.Errorf("storm: bind: %w", err)
	}
	c.waiting[fd] = &client{request: c.requests[c.next]}
	c.next++
	to := &unix.SockaddrInet4{Addr: c.address.Addr().As4(), Port: int(c.address.Port())}
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		return c.over(fd, fmt.Sprintf("connect: %v", err))
	}
	return c.loop.Watch(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET&0xffffffff)
}

func (c *crowd) Event(fd int, events uint32) error {
	w := c.waiting[fd]
	if w == nil {
		return nil // it has its answer, and stays
	}
	if w.request != nil && events&unix.EPOLLOUT != 0 {
		if n, err := unix.Write(fd, w.request); err != nil || n < len(w.request) {
			return c.over(fd, fmt.Sprintf("%d of %d bytes written: %v", n, len(w.request), err))
		}
		w.request = nil
	}
	for {
		var chunk [2048]byte
		n, err := unix.Read(fd, chunk[:])
		switch {
		case err == unix.EAGAIN:
			if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
				return c.over(fd, "the connection failed")
			}
			return nil
		case err == unix.EINTR:
			continue
		case err != nil || n == 0:
			return c.over(fd, fmt.Sprintf("closed after %.300q: %v", w.answer, err))
		}
		w.answer = append(w.answer, chunk[:n]...)
		if bytes.Contains(w.answer, []byte("\r\n\r\n")) {
			if bytes.HasPrefix(w.answer, []byte("HTTP/1.1 101 ")) {
				return c.over(fd, "")
			}
			return c.over(fd, fmt.Sprintf("%.300q", w.answer))
		}
	}
}

// over is told of the end of a wait; refusal is "" for an upgrade.
func (c *crowd) over(fd int, refusal string) error {
	delete(c.waiting, fd)
	if refusal == "" {
		c.result.Upgraded++
		if c.options.Stay {
			return nil
		}
	} else {
		c.result.Refused++
		if c.result.First == "" {
			c.result.First = refusal
		}
	}
	return unix.Close(fd)
}
