package handover

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Successor is the new process, as the old one sees it.
type Successor struct {
	*conn
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	relay  *Relay
	peer   *peer // set when the state is released
	log    *slog.Logger
}

// start starts the new process, with this process's environment and standard streams, and sends it
// the offer. The listeners stay this process's as well.
func start(o Options) (_ *Successor, err error) {
	if o.Offer.StateDir, err = filepath.Abs(o.Offer.StateDir); err != nil {
		return nil, fmt.Errorf("handover: STATE_DIR: %w", err)
	}
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
	for _, l := range []net.Listener{o.Listener, o.Admin} {
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
	cmd := exec.Command(o.Command[0], o.Command[1:]...)
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = files
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("handover: start the new process: %w", err)
	}
	s := &Successor{conn: conn, cmd: cmd, exited: make(chan struct{}), relay: o.Relay, log: o.Log}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // ProcessState has it
	}()
	if err := s.Send(Message{Offer: &o.Offer}); err != nil {
		return nil, fmt.Errorf("%w (%s)", err, s.Kill())
	}
	return s, nil
}

// Pid returns the process's number.
func (s *Successor) Pid() int { return s.cmd.Process.Pid }

// killWithin is how long Kill waits for the end of the process. A disk that hangs can keep a killed
// process for longer.
const killWithin = 5 * time.Second

// Kill ends the process, if it still runs, and the channel. It returns how the process ended, or
// that it has not ended within killWithin: then it may still hold the locks that it has taken.
func (s *Successor) Kill() string {
	_ = s.cmd.Process.Kill()
	defer s.Close()
	select {
	case <-s.exited:
		return s.cmd.ProcessState.String()
	case <-time.After(killWithin):
		return fmt.Sprintf("killed, but not ended within %v", killWithin)
	}
}

// descriptor duplicates the descriptor of l. It does not use File(), because the descriptor from
// File() would be made blocking on its way to another process, and l with it.
func descriptor(l net.Listener) (*os.File, error) {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("handover: a %T has no descriptor", l)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("handover: descriptor of a listener: %w", err)
	}
	var fd int
	var failed error
	err = raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("handover: descriptor of a listener: %w", err)
	}
	return os.NewFile(uintptr(fd), "listener"), nil
}
