package succession

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Heir is the process that is to take over, as the elder sees it.
type Heir struct {
	*Conn
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

// Start starts command as the heir to estate, with our environment and standard
// streams. The listeners stay ours as well; admin may be nil.
func Start(command []string, estate Estate, public, admin net.Listener) (*Heir, error) {
	conn, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	files := []*os.File{theirs}
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, l := range []net.Listener{public, admin} {
		if l == nil {
			continue
		}
		f, err := descriptor(l)
		if err != nil {
			conn.Close()
			return nil, err
		}
		files = append(files, f)
	}
	h := &Heir{Conn: conn, cmd: exec.Command(command[0], command[1:]...), ended: make(chan struct{})}
	h.cmd.Env = append(os.Environ(), variable+"=1")
	h.cmd.Stdin, h.cmd.Stdout, h.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	h.cmd.ExtraFiles = files
	if err := h.cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("succession: start: %w", err)
	}
	go func() {
		defer close(h.ended)
		_ = h.cmd.Wait() // ProcessState has it
	}()
	if err := h.Send(Message{Estate: &estate}); err != nil {
		return nil, fmt.Errorf("%w (%s)", err, h.Kill())
	}
	return h, nil
}

// Pid is that of the process.
func (h *Heir) Pid() int { return h.cmd.Process.Pid }

// killWithin is how long Kill waits for the end of the process. A disk that hangs can keep a killed
// process for longer.
const killWithin = 5 * time.Second

// Kill ends the process, if it still runs, and the channel. It tells how the process ended, or that
// it has not ended within killWithin: then it may still hold the locks that it has taken.
func (h *Heir) Kill() string {
	_ = h.cmd.Process.Kill()
	defer h.Close()
	select {
	case <-h.ended:
		return h.cmd.ProcessState.String()
	case <-time.After(killWithin):
		return fmt.Sprintf("killed, but not ended within %v", killWithin)
	}
}

// Ended is closed when the process has ended.
func (h *Heir) Ended() <-chan struct{} { return h.ended }

// descriptor is a duplicate of l's. It is made by hand, since that of File()
// would be made a blocking one on its way to another process, and l with it.
func descriptor(l net.Listener) (*os.File, error) {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("succession: a %T has no descriptor", l)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("succession: descriptor of a listener: %w", err)
	}
	var fd int
	var failed error
	err = raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("succession: descriptor of a listener: %w", err)
	}
	return os.NewFile(uintptr(fd), "listener"), nil
}
