// Package loop runs a child process of the benchmark: one thread, one epoll, commands as JSON lines
// on standard input, and a JSON line as the answer to each command that the parent waits for. A
// Role implements the child's work with sockets. Nothing runs beside the loop: no goroutine, no
// garbage collection.
package loop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// eventsAtOnce is how many events one epoll_wait takes.
const eventsAtOnce = 1024

// Role implements the work of a child. Run's goroutine calls all methods; an error ends the child.
type Role[Command any] interface {
	// Command executes a command. If the parent waits, Command or a later method calls Answer once.
	Command(Command) error
	// Event handles the events of a descriptor that was given to Watch.
	Event(fd int, events uint32) error
	// Work is called after events, and again while it reports that there is more to do; the loop
	// takes events in between.
	Work() (more bool, err error)
}

// Loop is what Run gives to a Role.
type Loop struct {
	epoll int
	out   *json.Encoder
}

// New returns the loop of this process. A process has only one.
func New() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("loop: epoll: %w", err)
	}
	return &Loop{epoll: epoll, out: json.NewEncoder(os.Stdout)}, nil
}

// Watch makes Run call Event for these epoll events of fd.
func (l *Loop) Watch(fd int, events uint32) error {
	e := &unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, e); err != nil {
		return fmt.Errorf("loop: watch: %w", err)
	}
	return nil
}

// Forget ends a Watch.
func (l *Loop) Forget(fd int) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
}

// Answer sends the answer to the last command.
func (l *Loop) Answer(v any) error { return l.out.Encode(v) }

// Run works until standard input ends.
func Run[Command any](l *Loop, role Role[Command]) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	if err := l.Watch(0, unix.EPOLLIN); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, eventsAtOnce)
	var input []byte
	for more := false; ; {
		timeout := -1
		if more {
			timeout = 0
		}
		n, err := unix.EpollWait(l.epoll, events, timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("loop: epoll_wait: %w", err)
		}
		for i := range max(n, 0) {
			if fd := int(events[i].Fd); fd != 0 {
				if err := role.Event(fd, events[i].Events); err != nil {
					return err
				}
				continue
			}
			ended, err := commands(&input, role)
			if ended || err != nil {
				return err
			}
		}
		if more, err = role.Work(); err != nil {
			return err
		}
	}
}

// commands reads standard input, and executes the commands of whole lines.
func commands[Command any](input *[]byte, role Role[Command]) (ended bool, err error) {
	var chunk [4096]byte
	n, err := unix.Read(0, chunk[:])
	switch {
	case err == unix.EINTR || err == unix.EAGAIN:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("loop: standard input: %w", err)
	case n == 0:
		return true, nil
	}
	*input = append(*input, chunk[:n]...)
	for {
		line, rest, whole := bytes.Cut(*input, []byte("\n"))
		if !whole {
			return false, nil
		}
		var c Command
		if err := json.Unmarshal(line, &c); err != nil {
			return false, fmt.Errorf("loop: command %.80q: %w", line, err)
		}
		*input = rest
		if err := role.Command(c); err != nil {
			return false, err
		}
	}
}
