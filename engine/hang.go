package engine

import (
	"fmt"
	"time"
)

// saveWithin is how long a stop waits for STATE_DIR.
const saveWithin = 10 * time.Second

// inTime runs save for a stop, and waits no longer than saveWithin. A disk that hangs keeps save: what
// save uses must not be closed then, and no later save is begun. Nothing is lost by that: the next
// start finds a log that was open, and verifies it.
func (p *primary) inTime(save func() error) error {
	if p.hangs {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- save() }()
	select {
	case err := <-done:
		return err
	case <-time.After(saveWithin):
		p.hangs = true
		return fmt.Errorf("engine: stop: STATE_DIR (%s) is not written within %v: the disk does not answer; "+
			"the next start verifies the frame log and goes on where it ends: look at the kernel's log",
			p.cfg.Load().StateDir, saveWithin)
	}
}
