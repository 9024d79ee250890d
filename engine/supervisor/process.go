package supervisor

import (
	"os"
	"os/exec"
	"time"

	"distributor/engine/handoff"
	"distributor/engine/ipc"
	"distributor/mmaplog/bell"
)

// process is a worker's process, with our ends of its channel, bell and output.
type process struct {
	cmd    *exec.Cmd
	conn   *handoff.Conn
	bell   *bell.Bell
	output *os.File // read end of its standard output and error
}

// startProcess starts a worker. The calling goroutine must be locked to a thread that outlives the
// worker (ipc.Start).
func startProcess(argv, env []string) (_ *process, err error) {
	p := &process{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	conn, control, err := handoff.Pair()
	if err != nil {
		return nil, err
	}
	p.conn = conn
	defer control.Close()
	ring, wake, err := bell.New()
	if err != nil {
		return nil, err
	}
	p.bell = ring
	defer wake.Close()
	if p.cmd, p.output, err = ipc.Start(argv, env, control, wake); err != nil {
		return nil, err
	}
	return p, nil
}

// kill kills the process. It does nothing after the process's end.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// close closes our ends. It does not wait for the process.
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

// cpuWait is how long the threads of a process have waited for a processor in all, up to a moment.
type cpuWait struct {
	at    time.Time
	total time.Duration
}
