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

const (
	// childEnds is how long a child may take to end after its input has.
	childEnds = 5 * time.Second
	// childAnswers is how long a child may take to answer.
	childAnswers = 5 * time.Minute
)

// Child is another process: this program once more, in the role that its first argument names, or
// another program. A child reads commands in lines, answers in lines, and ends when its input ends,
// so no child remains however the parent ends. One goroutine at a time may use a Child.
type Child struct {
	role    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	errors  bytes.Buffer // its standard error
	closing sync.Once
	err     error // of Close
}

// StartChild starts this program as a child on cpus. The end of ctx kills it.
func StartChild(ctx context.Context, cpus CPUs, role string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("proc: own executable: %w", err)
	}
	return StartProgram(cpus.Command(ctx, self, role), role)
}

// StartProgram starts a program as a child; errors name it by its role.
func StartProgram(cmd *exec.Cmd, role string) (*Child, error) {
	c := &Child{role: role, cmd: cmd}
	cmd.Stderr = &c.errors
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		return nil, fmt.Errorf("proc: start %s: %w", role, err)
	}
	c.in, c.out = in, json.NewDecoder(out)
	return c, nil
}

// PID returns the number of the child's process.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Ask sends the child a command and waits for its answer.
func (c *Child) Ask(question, answer any) error {
	if err := c.Send(question); err != nil {
		return err
	}
	defer time.AfterFunc(childAnswers, func() { _ = c.cmd.Process.Kill() }).Stop()
	if err := c.out.Decode(answer); err != nil {
		return fmt.Errorf("proc: ask %s: %w", c.role, errors.Join(err, c.Close()))
	}
	return nil
}

// Send sends the child a command that it does not answer.
func (c *Child) Send(command any) error {
	line, err := json.Marshal(command)
	if err == nil {
		_, err = c.in.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("proc: send to %s: %w", c.role, errors.Join(err, c.Close()))
	}
	return nil
}

// Close ends the child and waits for its end. A second call does nothing.
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
