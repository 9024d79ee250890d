package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"distributor/engine/handoff"
	"distributor/mmaplog/bell"
)

// process is a worker as the system sees it, with our ends of what ties us to
// it.
type process struct {
	cmd    *exec.Cmd
	conn   *handoff.Conn
	bell   *bell.Bell
	output *os.File // read end of its standard output and error
}

// startProcess starts a worker. The calling goroutine must be locked to a
// thread that outlives the worker: PR_SET_PDEATHSIG is bound to the thread
// that forks.
func startProcess(argv, env []string) (_ *process, err error) {
	p := &process{}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
		if err != nil {
			p.close()
		}
	}()
	conn, control, err := handoff.Pair()
	if err != nil {
		return nil, err
	}
	p.conn, theirs = conn, append(theirs, control)
	ring, wake, err := bell.New()
	if err != nil {
		return nil, err
	}
	p.bell, theirs = ring, append(theirs, wake)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("supervisor: pipe: %w", err)
	}
	p.output, theirs = r, append(theirs, w)

	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append([]string{}, env...) // not nil, which would inherit ours
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.ExtraFiles = []*os.File{control, wake}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // a terminal's Ctrl-C is for the primary, which then drains
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("supervisor: start worker: %w", err)
	}
	return p, nil
}

// kill is harmless after the process's end.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// close gives up our ends. The process, if it lives, is not waited for.
func (p *process) close() {
	if p.conn != nil {
		_ = p.conn.Close()
	}
	if p.bell != nil {
		p.bell.Close()
	}
	if p.output != nil {
		_ = p.output.Close()
	}
}
