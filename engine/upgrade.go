package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"distributor/engine/succession"
)

const (
	// readyWithin is how long a new process may take to be ready, while we serve
	// on; servingWithin how long it may take to open what we have let go of,
	// while new records and new collectors wait, and perGiB as much more for the
	// frame log to be verified.
	readyWithin   = time.Minute
	servingWithin = time.Minute
	perGiB        = time.Second
	// endWithin of the end of its channel, a process has ended.
	endWithin = time.Second
)

// ended says that the heir has, and leaves it a moment for that: Kill would hide
// how it did.
func ended(heir *succession.Heir) error {
	select {
	case <-heir.Ended():
	case <-time.After(endWithin):
	}
	return errors.New("engine: the new process has ended; its own words are above")
}

var errStopping = errors.New("engine: asked to stop meanwhile")

// upgrade has another process take over, and returns it. If that comes to
// nothing, whatever the reason, there is none left, and we go on as before: the
// returned reading is the one that goes on then.
func (p *primary) upgrade(running context.Context, fail func(error), reload <-chan os.Signal, reads reading) (*succession.Heir, reading) {
	if p.succeeding() {
		p.log.Warn("upgrade refused: the process that handed over to this one has not ended yet")
		return nil, reads
	}
	p.log.Info("upgrade: starting the binary that is there now", "path", p.o.Binary[0])
	heir, err := p.startHeir()
	if err != nil {
		p.log.Error("upgrade failed, this distributor goes on", "error", err)
		return nil, reads
	}
	var gave time.Time // when we let go of the state; zero: it is ours
	err = p.await(running, heir, reload, readyWithin, func(m succession.Message) bool { return m.Ready })
	if err == nil {
		gave = time.Now()
		if err = p.letGo(reads); err == nil {
			err = p.bequeath(heir)
		}
	}
	if err == nil {
		within := servingWithin + time.Duration(p.cfg.Load().FrameLogBytes>>30)*perGiB
		err = p.await(running, heir, reload, within, func(m succession.Message) bool { return m.Serving })
	}
	if err == nil {
		p.log.Info("upgrade: another process has taken over", "process", heir.Pid(), "pause", time.Since(gave))
		return heir, reads
	}
	err = fmt.Errorf("%w (process %d: %v)", err, heir.Pid(), heir.Kill())
	if running.Err() != nil {
		p.log.Warn("upgrade given up", "error", err)
		return nil, reads
	}
	p.log.Error("upgrade failed, this distributor goes on", "error", err)
	if !gave.IsZero() {
		reads.stop()
		reads.plain()
		if reads, err = p.takeBack(fail); err != nil {
			fail(fmt.Errorf("engine: go on after a failed upgrade: %w", err))
		}
	}
	return nil, reads
}

func (p *primary) startHeir() (*succession.Heir, error) {
	cfg := p.cfg.Load()
	dir, err := filepath.Abs(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("engine: STATE_DIR: %w", err)
	}
	estate, admin := succession.Estate{StateDir: dir, Public: publicAddress(cfg)}, net.Listener(nil)
	if p.admin != nil {
		estate.Admin, admin = cfg.AdminAddr, p.admin
	}
	return succession.Start(p.o.Binary, estate, p.listener, admin)
}

// await waits until the heir says the word. Meanwhile we are what we were.
func (p *primary) await(running context.Context, heir *succession.Heir, reload <-chan os.Signal, within time.Duration, word func(succession.Message) bool) error {
	late := time.After(within)
	for {
		select {
		case m, ok := <-heir.Messages():
			switch {
			case ok && word(m):
				return nil
			case ok:
				return errors.New("engine: the new process speaks another language")
			}
			return ended(heir)
		case <-late:
			return fmt.Errorf("engine: the new process does not get on, after %v", within)
		case <-running.Done():
			return errStopping
		case sig := <-reload:
			p.reload(sig)
		case <-p.o.Upgrade:
			p.log.Warn("upgrade refused: another one is under way", "process", heir.Pid())
		}
	}
}

// letGo gives up all that the heir is to have.
func (p *primary) letGo(reads reading) error {
	p.other.Store(newOther(true)) // from here on, what the saved file does not say
	if err := p.listener.shut(); err != nil {
		return fmt.Errorf("engine: stop accepting: %w", err)
	}
	reads.stop()
	reads.plain()
	return errors.Join(p.checkpoint(), p.logs.Load().leave())
}

func (p *primary) bequeath(heir *succession.Heir) error {
	err := heir.Send(succession.Message{Yours: true})
	if errors.Is(err, io.EOF) {
		return ended(heir)
	}
	return err
}

// takeBack is the opposite of letGo.
func (p *primary) takeBack(fail func(error)) (reading, error) {
	p.other.Store(nil)
	if err := p.logs.Load().close(); err != nil { // as far as letGo has not done it
		p.log.Error("frame log not closed cleanly", "error", err)
	}
	gone := reading{stop: func() {}, plain: func() {}}
	progress, err := p.openLogs(p.cfg.Load())
	if err != nil {
		return gone, err
	}
	p.encoder.Again(p.logs.Load().frames, p.logs.Load().notices, progress)
	if err := p.listener.open(); err != nil {
		return gone, fmt.Errorf("engine: accept again: %w", err)
	}
	return p.read(fail), nil
}
