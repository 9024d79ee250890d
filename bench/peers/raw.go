package peers

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"distributor/bench/frames"
	"distributor/bench/loop"
)

const (
	// slice is the most bytes that raw passes to a write, as many as the worker's slices.
	slice = 256 << 10
	// workBytes is how many bytes raw sends before it handles events again.
	workBytes = 2 << 20
)

// raw is the baseline: the least that a process can do to deliver the same bytes. It has one
// thread, edge-triggered epoll, and write(2) from a mapped file to every socket that takes more. It
// has no protocol and no pings, and cannot resume. In a burst each client gets the frames as fast
// as it takes them, in slices, the clients in turn; else one write a frame and client.
type raw struct {
	loop     *loop.Loop
	data     []byte // the mapped file
	listener int
	clients  []*rawClient // by descriptor
	all      []*rawClient
	ready    []*rawClient // clients that take more of a burst, in turn
	await    int          // clients that the parent waits for
	bursting bool
	head     uint64 // end of the newest frame that is due
	sentHead uint64 // head when it was last sent to all
}

type rawClient struct {
	fd     int
	cursor uint64 // into data
	full   bool   // the socket took less than it was offered
}

// RunRaw is the process of the baseline.
func RunRaw() error {
	l, err := loop.New()
	if err != nil {
		return err
	}
	return loop.Run(l, &raw{loop: l})
}

func (s *raw) Command(c Command) (err error) {
	switch {
	case c.Serve != "":
		if s.data, err = frames.Map(c.Serve); err != nil {
			return err
		}
		return s.listen()
	case c.Await > 0:
		s.await = c.Await // Work answers
		return nil
	}
	for range c.Burst + c.Send {
		frame, _, _, err := frames.Cut(s.data[s.head:])
		if err != nil {
			return err
		}
		s.head += uint64(len(frame))
	}
	if s.bursting = c.Burst > 0; s.bursting {
		s.sentHead, s.ready = s.head, slices.Clone(s.all)
	}
	return nil
}

func (s *raw) listen() (err error) {
	kind := unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	if s.listener, err = unix.Socket(unix.AF_INET, kind, 0); err != nil {
		return fmt.Errorf("raw: socket: %w", err)
	}
	local := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(unix.Bind(s.listener, local), unix.Listen(s.listener, 1024)); err != nil {
		return fmt.Errorf("raw: listen: %w", err)
	}
	name, err := unix.Getsockname(s.listener)
	if err != nil {
		return fmt.Errorf("raw: listen: %w", err)
	}
	bound := name.(*unix.SockaddrInet4)
	address := netip.AddrPortFrom(netip.AddrFrom4(bound.Addr), uint16(bound.Port))
	return errors.Join(s.loop.Watch(s.listener, unix.EPOLLIN),
		s.loop.Answer(Answer{Address: address.String()}))
}

func (s *raw) accept() error {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			return fmt.Errorf("raw: accept: %w", err)
		}
		for fd >= len(s.clients) {
			s.clients = append(s.clients, make([]*rawClient, 64+len(s.clients))...)
		}
		c := &rawClient{fd: fd, cursor: s.head}
		s.clients[fd] = c
		s.all = append(s.all, c)
		// As net/http does. Without it a small write waits for the one before.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fmt.Errorf("raw: accept: %w", err)
		}
		const events = unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff
		if err := s.loop.Watch(fd, events); err != nil {
			return err
		}
	}
}

func (s *raw) Event(fd int, events uint32) error {
	if fd == s.listener {
		return s.accept()
	}
	c := s.clients[fd]
	switch {
	case events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0:
		// The client has all it wanted, or the other end detects that it has not.
		c.full = true // so that nothing more is sent to it
		s.all = slices.DeleteFunc(s.all, func(x *rawClient) bool { return x == c })
		return unix.Close(fd)
	case !c.full:
		return nil
	}
	c.full = false
	if !s.bursting {
		return s.write(c, s.head-c.cursor)
	}
	s.ready = append(s.ready, c)
	return nil
}

// Work sends a slice to each client that takes more of a burst, in turn; or to every client what
// has become due: one frame, unless the machine kept us waiting for longer than the next took.
func (s *raw) Work() (more bool, err error) {
	if s.await > 0 && len(s.all) >= s.await {
		s.await = 0
		if err := s.loop.Answer(Answer{}); err != nil {
			return false, err
		}
	}
	for sent := 0; len(s.ready) > 0 && sent < workBytes; sent += slice {
		c := s.ready[0]
		s.ready = s.ready[1:]
		if err := s.write(c, min(s.head-c.cursor, slice)); err != nil {
			return false, err
		}
		if !c.full && c.cursor < s.head {
			s.ready = append(s.ready, c)
		}
	}
	if s.sentHead != s.head {
		s.sentHead = s.head
		for _, c := range s.all {
			if err := s.write(c, s.head-c.cursor); err != nil {
				return false, err
			}
		}
	}
	return len(s.ready) > 0, nil
}

// write is one write(2) of n bytes from the client's cursor.
func (s *raw) write(c *rawClient, n uint64) error {
	if n == 0 || c.full {
		return nil
	}
	sent, _, errno := syscall.RawSyscall(syscall.SYS_WRITE,
		uintptr(c.fd), uintptr(unsafe.Pointer(&s.data[c.cursor])), uintptr(n))
	switch errno {
	case 0:
		c.full = uint64(sent) < n
		c.cursor += uint64(sent)
	case syscall.EINTR:
		return s.write(c, n)
	case syscall.EAGAIN:
		c.full = true
	default:
		return fmt.Errorf("raw: send: %w", errno)
	}
	return nil
}
