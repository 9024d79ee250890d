package raw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"distributor/bench/loop"
)

// workBytes is how much is sent before events are looked for again.
const workBytes = 2 << 20

// Run is the child process.
func Run() error {
	l, err := loop.New()
	if err != nil {
		return err
	}
	return loop.Run(l, &server{loop: l})
}

type server struct {
	loop     *loop.Loop
	options  Options
	data     []byte // the mapped file
	file     *os.File
	listener int
	clients  []*client // by descriptor
	all      []*client
	ready    []*client // burst: take more, in turn
	sent     Sent

	head     uint64 // paced: end of the newest frame that is due
	sentHead uint64 // what it was when it was last sent to all
}

type client struct {
	fd     int
	cursor uint64 // into data
	full   bool   // the socket took less than it was offered
}

func (s *server) Command(m command) error {
	switch {
	case m.Serve != nil:
		s.options = *m.Serve
		return s.serve()
	case m.Send > 0:
		return s.advance(m.Send)
	default:
		return s.loop.Answer(answer{Sent: s.sent})
	}
}

// serve maps the file and listens.
func (s *server) serve() error {
	var err error
	if s.file, err = os.Open(s.options.File); err != nil {
		return err
	}
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	flags := unix.MAP_SHARED
	if !s.options.Faults {
		flags |= unix.MAP_POPULATE
	}
	if s.data, err = unix.Mmap(int(s.file.Fd()), 0, int(info.Size()), unix.PROT_READ, flags); err != nil {
		return fmt.Errorf("raw: map: %w", err)
	}
	if s.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("raw: socket: %w", err)
	}
	if err := errors.Join(unix.Bind(s.listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(s.listener, 1024)); err != nil {
		return fmt.Errorf("raw: listen: %w", err)
	}
	name, err := unix.Getsockname(s.listener)
	if err != nil {
		return fmt.Errorf("raw: listen: %w", err)
	}
	bound := name.(*unix.SockaddrInet4)
	if err := s.loop.Watch(s.listener, unix.EPOLLIN); err != nil {
		return err
	}
	return s.loop.Answer(answer{Address: netip.AddrPortFrom(netip.AddrFrom4(bound.Addr), uint16(bound.Port)).String()})
}

func (s *server) accept() error {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			return fmt.Errorf("raw: accept: %w", err)
		}
		for fd >= len(s.clients) {
			s.clients = append(s.clients, make([]*client, 64+len(s.clients))...)
		}
		c := &client{fd: fd, cursor: s.head}
		s.clients[fd] = c
		s.all = append(s.all, c)
		// The net/http server and Go's dialers set it too; without it, a small write waits for the one before.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fmt.Errorf("raw: accept: %w", err)
		}
		if err := s.loop.Watch(fd, unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET&0xffffffff); err != nil {
			return err
		}
		if !s.options.Paced {
			s.ready = append(s.ready, c)
		}
	}
}

func (s *server) Event(fd int, events uint32) error {
	if fd == s.listener {
		return s.accept()
	}
	c := s.clients[fd]
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		return s.drop(c)
	}
	if !c.full {
		return nil
	}
	c.full = false
	if s.options.Paced {
		return s.write(c, s.head-c.cursor)
	}
	s.ready = append(s.ready, c)
	return nil
}

// drop forgets a client that has gone: it has all it wanted, or the other end
// notices that it has not.
func (s *server) drop(c *client) error {
	c.full = true // what may still hold it sends nothing
	s.clients[c.fd] = nil
	s.all = slices.DeleteFunc(s.all, func(x *client) bool { return x == c })
	return unix.Close(c.fd)
}

// Work sends a slice to each of those that take more, in turn; or what is due.
func (s *server) Work() (bool, error) {
	for end := s.sent.Bytes + workBytes; len(s.ready) > 0 && s.sent.Bytes < end; {
		c := s.ready[0]
		s.ready = s.ready[1:]
		left := uint64(len(s.data)) - c.cursor
		if err := s.write(c, min(left, uint64(s.options.Slice))); err != nil {
			return false, err
		}
		if !c.full && c.cursor < uint64(len(s.data)) {
			s.ready = append(s.ready, c)
		}
	}
	return len(s.ready) > 0, s.send()
}

// write is one write(2) of n bytes from the client's cursor; or sendfile(2) until
// all is sent or the socket is full, as no EPOLLOUT follows a short one.
func (s *server) write(c *client, n uint64) error {
	for n > 0 && !c.full {
		sent, errno := s.call(c, n)
		switch {
		case errno == 0 && sent == 0:
			return errors.New("raw: send: the file has been cut")
		case errno == 0:
			n -= sent
			c.cursor += sent
			c.full = n > 0 && !s.options.Sendfile
			s.sent.Bytes += sent
			s.sent.Writes++
		case errno == syscall.EAGAIN:
			c.full = true
		case errno != syscall.EINTR:
			return fmt.Errorf("raw: send: %w", errno)
		}
	}
	return nil
}

func (s *server) call(c *client, n uint64) (uint64, syscall.Errno) {
	if s.options.Sendfile {
		from := int64(c.cursor)
		sent, _, errno := syscall.RawSyscall6(syscall.SYS_SENDFILE, uintptr(c.fd), s.file.Fd(), uintptr(unsafe.Pointer(&from)), uintptr(n), 0, 0)
		return uint64(sent), errno
	}
	sent, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(&s.data[c.cursor])), uintptr(n))
	return uint64(sent), errno
}

// advance makes further frames due to every client.
func (s *server) advance(frames int) error {
	for range frames {
		size, err := FrameSize(s.data[s.head:])
		if err != nil {
			return err
		}
		s.head += size
	}
	return nil
}

// send writes to every client what has become due since the last time: one
// frame, unless the machine kept us waiting for longer than the next took.
func (s *server) send() error {
	if s.sentHead == s.head {
		return nil
	}
	s.sentHead = s.head
	for _, c := range s.all {
		if err := s.write(c, s.head-c.cursor); err != nil {
			return err
		}
	}
	return nil
}

// ErrNoFrame is returned where no frame begins, as at the end of the file.
var ErrNoFrame = errors.New("raw: no frame")

// FrameSize is the size of the unmasked WebSocket frame that begins b, header
// and all. It looks at no more than 10 bytes.
func FrameSize(b []byte) (uint64, error) {
	switch {
	case len(b) < 10:
		return 0, ErrNoFrame
	case b[1] < 126:
		return 2 + uint64(b[1]), nil
	case b[1] == 126:
		return 4 + uint64(binary.BigEndian.Uint16(b[2:])), nil
	default:
		return 10 + binary.BigEndian.Uint64(b[2:]), nil
	}
}
