package proc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// childEnds is how long a child may take to end after its input has.
const childEnds = 5 * time.Second

// Child is another process: this program once more, in the role that its first
// argument names, or another program. It is told things in lines, answers in
// lines, and ends when its input ends: so none is left over, however we end. One
// goroutine at a time may use it.
type Child struct {
	role    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	errors  bytes.Buffer // its standard error
	closing sync.Once
	err     error // of Close
}

// StartChild starts a child on cpus. The end of ctx kills it.
func StartChild(ctx context.Context, cpus CPUs, role string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("proc: own executable: %w", err)
	}
	return StartProgram(ctx, cpus, role, self, role)
}

// StartProgram starts a program as a child; role is what errors call it.
func StartProgram(ctx context.Context, cpus CPUs, role, path string, args ...string) (c *Child, err error) {
	c = &Child{role: role, cmd: exec.CommandContext(ctx, path, args...)}
	c.cmd.Stderr = &c.errors
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("proc: start %s: %w", role, err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("proc: start %s: %w", role, err)
	}
	c.out = json.NewDecoder(out)
	if err := StartOn(c.cmd, cpus); err != nil {
		return nil, fmt.Errorf("proc: start %s: %w", role, err)
	}
	return c, nil
}

// PID of the child's process.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Ask tells the child something and waits for its answer.
func (c *Child) Ask(question, answer any) error {
	if err := c.Tell(question); err != nil {
		return err
	}
	if err := c.out.Decode(answer); err != nil {
		return fmt.Errorf("proc: ask %s: %w", c.role, errors.Join(err, c.Close()))
	}
	return nil
}

// Tell tells the child something that it does not answer.
func (c *Child) Tell(something any) error {
	line, err := json.Marshal(something)
	if err == nil {
		_, err = c.in.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("proc: tell %s: %w", c.role, errors.Join(err, c.Close()))
	}
	return nil
}

// Close ends the child and waits until it has. Calling it again does nothing.
func (c *Child) Close() error {
	c.closing.Do(func() {
		_ = c.in.Close()
		kill := time.AfterFunc(childEnds, func() { _ = c.cmd.Process.Kill() })
		defer kill.Stop()
		if err := c.cmd.Wait(); err != nil {
			c.err = fmt.Errorf("%s: %w: %s", c.role, err, bytes.TrimSpace(c.errors.Bytes()))
		}
	})
	return c.err
}
