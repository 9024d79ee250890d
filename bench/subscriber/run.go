package subscriber

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"distributor/bench/loop"
)

const (
	// mostTaken is the most bytes that one recv discards: more than a socket holds.
	mostTaken = 1 << 28
	// origins is how many addresses 127.0.1.x the clients use in turn. One address would not have
	// enough ports, because those of closed connections stay in use for a while.
	origins = 200
)

// Run is the child process.
func Run() error {
	l, err := loop.New()
	if err != nil {
		return err
	}
	return loop.Run(l, &crowd{loop: l})
}

// crowd holds the clients.
type crowd struct {
	loop    *loop.Loop
	clients []*client // by descriptor
	all     []*client // that are connected
	lost    error     // of the first connection that was refused or has ended

	target     Target
	prepared   [][]byte // upgrade requests
	joining    int      // clients still to be connected
	connecting int      // clients without an answer
	joined     int      // clients that have begun to connect, ever
	asked      bool     // the parent waits for joining and connecting to be 0

	until   uint64 // bytes that the parent waits for; 0: it does not
	reached int    // clients that have them
}

type client struct {
	fd       int
	request  []byte // nil when it is sent
	upgraded bool
	received uint64
}

func (c *crowd) Command(m command) (err error) {
	switch {
	case m.Prepare != nil:
		for range m.Prepare.Clients {
			request, err := UpgradeRequest(m.Prepare.Target, time.Now())
			if err != nil {
				return err
			}
			c.prepared = append(c.prepared, request)
		}
		return c.answer()
	case m.Connect != nil:
		c.target, c.joining, c.asked = m.Connect.Target, m.Connect.Clients, true
	case m.Until > 0:
		c.until, c.reached = m.Until, 0
		for _, one := range c.all {
			if one.received >= c.until {
				c.reached++
			}
		}
	default:
		return c.answer()
	}
	return nil // Work answers
}

// Work connects the next clients, and answers when the parent's condition is true.
func (c *crowd) Work() (more bool, err error) {
	if c.joining > 0 && c.connecting < max(c.target.AtOnce, 1) && c.lost == nil {
		if err := c.join(); err != nil {
			c.lost = err
		}
		return true, nil
	}
	switch waiting := c.joining + c.connecting; {
	case c.asked && (c.lost != nil || waiting == 0):
		c.asked = false
		return false, c.answer()
	case c.until > 0 && (c.lost != nil || waiting == 0 && c.reached == len(c.all)):
		c.until = 0
		return false, c.answer()
	}
	return false, nil
}

// join begins a connection.
func (c *crowd) join() error {
	c.joining--
	c.joined++
	t, one := c.target, &client{}
	var err error
	switch {
	case t.Bare:
	case len(c.prepared) > 0:
		one.request, c.prepared = c.prepared[0], c.prepared[1:]
	default:
		if one.request, err = UpgradeRequest(t, time.Now()); err != nil {
			return err
		}
	}
	to, err := netip.ParseAddrPort(t.Address)
	if err != nil || !to.Addr().Is4() {
		return fmt.Errorf("address %q: %w", t.Address, err)
	}
	kind := unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	if one.fd, err = unix.Socket(unix.AF_INET, kind, 0); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	for one.fd >= len(c.clients) {
		c.clients = append(c.clients, make([]*client, 64+len(c.clients))...)
	}
	c.clients[one.fd] = one
	c.connecting++
	// The kernel chooses the port at connect, so the port need not be free for all addresses.
	noPort := unix.SetsockoptInt(one.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + c.joined%origins)}}
	if err := errors.Join(noPort, unix.Bind(one.fd, from)); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	server := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	if err := unix.Connect(one.fd, server); err != nil && err != unix.EINPROGRESS {
		return fmt.Errorf("connect: %w", err)
	}
	const events = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff
	return c.loop.Watch(one.fd, events)
}

func (c *crowd) Event(fd int, events uint32) error {
	one := c.clients[fd]
	if one == nil {
		return nil // it has left
	}
	if !one.upgraded {
		done, err := c.connect(one, events)
		if err != nil || !done {
			if err != nil && c.lost == nil {
				c.lost = fmt.Errorf("client %d: %w", len(c.all)+1, err)
			}
			return nil
		}
	}
	c.drain(one)
	return nil
}

// connect continues with a connection; done reports that the client is upgraded and reads.
func (c *crowd) connect(one *client, events uint32) (done bool, err error) {
	if events&unix.EPOLLERR != 0 {
		number, _ := unix.GetsockoptInt(one.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		return false, fmt.Errorf("connect: %w", unix.Errno(number))
	}
	if one.request != nil && events&unix.EPOLLOUT != 0 {
		if n, err := unix.Write(one.fd, one.request); err != nil || n < len(one.request) {
			return false, fmt.Errorf("upgrade: %d bytes written: %v", n, err)
		}
		one.request = nil
	}
	if !c.target.Bare {
		if done, err := c.takeAnswer(one); err != nil || !done {
			return false, err
		}
	} else if events&unix.EPOLLOUT == 0 {
		return false, nil
	}
	c.connecting--
	one.upgraded = true
	if c.target.Leave {
		c.clients[one.fd] = nil
		return false, unix.Close(one.fd)
	}
	c.all = append(c.all, one)
	if c.target.Deaf {
		return false, c.loop.Forget(one.fd)
	}
	return true, nil
}

// takeAnswer takes the answer to an upgrade request from the socket, and nothing that follows it.
func (c *crowd) takeAnswer(one *client) (done bool, err error) {
	var text [4096]byte
	n, err := recv(one.fd, text[:], unix.MSG_PEEK)
	if err == unix.EAGAIN {
		return false, nil
	}
	end := bytes.Index(text[:max(n, 0)], []byte("\r\n\r\n"))
	switch {
	case err != nil || n == 0 || end < 0 && n == len(text):
		return false, fmt.Errorf("upgrade: no answer: %.300q, %v", text[:max(n, 0)], err)
	case end < 0:
		return false, nil // the rest of the answer is another edge
	case !bytes.HasPrefix(text[:], []byte("HTTP/1.1 101 ")):
		return false, fmt.Errorf("upgrade refused: %.300q", text[:n])
	}
	_, err = recv(one.fd, text[:end+4], 0)
	return err == nil, err
}

func recv(fd int, p []byte, flags int) (n int, err error) {
	for {
		if n, _, err = unix.Recvfrom(fd, p, flags); err != unix.EINTR {
			return n, err
		}
	}
}

// drain discards the bytes in a socket.
func (c *crowd) drain(one *client) {
	const flags = unix.MSG_TRUNC | unix.MSG_DONTWAIT
	for {
		n, _, errno := syscall.RawSyscall6(
			syscall.SYS_RECVFROM, uintptr(one.fd), 0, mostTaken, flags, 0, 0)
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			return
		case errno != 0 || n == 0:
			c.lost = fmt.Errorf("a connection has ended after %d bytes (error %d)", one.received, errno)
			c.clients[one.fd] = nil
			_ = unix.Close(one.fd)
			return
		default:
			before := one.received
			one.received += uint64(n)
			if before < c.until && one.received >= c.until {
				c.reached++
			}
			if n < mostTaken {
				return // the socket was emptied; more is another edge
			}
		}
	}
}

func (c *crowd) answer() error {
	a := answer{Counts: Counts{Clients: len(c.all)}}
	for _, one := range c.all {
		a.Bytes += one.received
	}
	if c.lost != nil {
		a.Error = c.lost.Error()
	}
	return c.loop.Answer(a)
}
