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
	"distributor/mmaplog/framelog"
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
	// stateWithin is how long STATE_DIR may take to be written before a handover.
	stateWithin = 10 * time.Second
	// takeBackEvery is how often taking back the state is tried.
	takeBackEvery = 250 * time.Millisecond
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
		err = p.writable(running)
	}
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
	err = fmt.Errorf("%w (process %d: %s)", err, heir.Pid(), heir.Kill())
	if running.Err() != nil {
		p.log.Warn("upgrade given up", "error", err)
		return nil, reads
	}
	p.log.Error("upgrade failed, this distributor goes on", "error", err)
	if !gave.IsZero() {
		reads.stop()
		reads.plain()
		if reads, err = p.takeBack(running, reload, fail); err != nil {
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
	estate, admin := succession.Estate{
		StateDir: dir, Public: publicAddress(cfg), Activated: p.activated,
		Problems: p.health.sinceWhen(),
	}, net.Listener(nil)
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

// writable writes what the new process will have to write first. While STATE_DIR
// does not take that, a handover would stop the stream, so it is refused.
func (p *primary) writable(running context.Context) error {
	dir := p.cfg.Load().StateDir
	err := p.encoder.Blocked()
	if err == nil {
		saved := make(chan error, 1)
		go func() { saved <- p.checkpoint() }() // a disk that hangs keeps it
		select {
		case err = <-saved:
		case <-running.Done():
			return errStopping
		case <-time.After(stateWithin):
			return fmt.Errorf("engine: handover: STATE_DIR (%s) takes no writes: progress is not saved after %v", dir, stateWithin)
		}
	}
	if err != nil {
		return fmt.Errorf("engine: handover: STATE_DIR takes no writes: %w: %s", err, stateRemedy(err, dir))
	}
	return nil
}

// takeBack is the opposite of letGo. The file system may take no writes just now,
// so it is tried until the state is ours again; meanwhile collectors stay, and
// the HTTP API answers.
func (p *primary) takeBack(running context.Context, reload <-chan os.Signal, fail func(error)) (reading, error) {
	p.other.Store(nil)
	if err := p.logs.Load().close(); err != nil { // as far as letGo has not done it
		p.log.Error("frame log not closed cleanly", "error", err)
	}
	gone := reading{stop: func() {}, plain: func() {}}
	if err := p.listener.open(); err != nil {
		return gone, fmt.Errorf("engine: accept again: %w", err)
	}
	defer p.untaken.Store(nil)
	for {
		progress, err := p.openLogs(p.cfg.Load())
		switch {
		case err == nil:
			p.encoder.Again(p.logs.Load().frames, p.logs.Load().notices, progress)
			return p.read(fail), nil
		case errors.Is(err, errNewLog), errors.Is(err, framelog.ErrVersion):
			return gone, err
		case p.untaken.Swap(&err) == nil:
			p.log.Error("the state cannot be taken back; it is tried again", "error", err)
		}
		select {
		case <-running.Done():
			return gone, errStopping
		case sig := <-reload:
			p.reload(sig)
		case <-p.o.Upgrade:
			p.log.Warn("upgrade refused: the state is not taken back yet")
		case <-time.After(takeBackEvery):
		}
	}
}
