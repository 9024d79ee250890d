package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

const (
	// readyWithin is how long the new process may take to be ready while the old one serves.
	readyWithin = time.Minute
	// servingWithin is how long the new process may take to open what the old one has released,
	// beyond Options.Opening. New records and new collectors wait meanwhile.
	servingWithin = time.Minute
	// endWithin is how long a process may run after the end of its channel.
	endWithin = time.Second
	// saveWithin is how long State.Save may take.
	saveWithin = 10 * time.Second
)

// State is the state that only one process at a time may own: the frame log, and the offsets up to
// which the data logs are read.
type State interface {
	// Save writes the files that the new process will write first. Its error says why STATE_DIR takes
	// no writes, and the remedy. It may hang with the disk.
	Save() error
	// Release stops reading, saves progress and leaves the frame log.
	Release() error
	// TakeBack undoes Release, also a Release that failed halfway. It retries until the file system
	// allows it. It returns an error if no retry can help, or when ctx ends.
	TakeBack(ctx context.Context) error
}

// Options configure a handover. Only Admin may be nil.
type Options struct {
	Command  []string // starts the new process
	Offer    Offer
	Listener *Listener    // the public listener
	Admin    net.Listener // nil: there is none
	State    State
	Relay    *Relay
	// Opening is how long the new process may need to verify what it opens.
	Opening time.Duration
	Log     *slog.Logger
}

var errStopping = errors.New("handover: this process was asked to stop meanwhile")

// Run starts a new process, hands over to it, and returns it. The caller then calls Retire. If the
// handover fails for any reason, Run kills the new process, logs the failure, and returns nil: this
// process continues as before. An error means that it cannot continue.
func Run(ctx context.Context, o Options) (*Successor, error) {
	const failed = "handover failed; this process continues"
	o.Log.Info("handover: starting the binary that is at the path now", "path", o.Command[0])
	s, err := start(o)
	if err != nil {
		o.Log.Error(failed, "error", err)
		return nil, nil
	}
	released, err := s.handOver(ctx, o)
	if err == nil {
		o.Log.Info("handover: the new process has taken over",
			"process", s.Pid(), "pause", time.Since(released))
		return s, nil
	}
	err = fmt.Errorf("%w (process %d: %s)", err, s.Pid(), s.Kill())
	if ctx.Err() != nil {
		o.Log.Warn("handover given up", "error", err)
		return nil, nil
	}
	o.Log.Error(failed, "error", err)
	if released.IsZero() {
		return nil, nil
	}
	o.Relay.detach()
	if err = o.Listener.Resume(); err == nil {
		err = o.State.TakeBack(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("handover: continue after a failure: %w", err)
	}
	return nil, nil
}

// handOver exchanges the messages in the order of the package doc, up to Serving. It returns when
// this process began to release the state; zero: it has released nothing.
func (s *Successor) handOver(ctx context.Context, o Options) (released time.Time, err error) {
	ready := func(m Message) bool { return m.Ready }
	if err := s.await(ctx, readyWithin, ready); err != nil {
		return released, err
	}
	if err := save(ctx, o.State, o.Offer.StateDir); err != nil {
		return released, err
	}
	released = time.Now()
	s.peer = o.Relay.attach(true) // from here on, the new process does not find positions in the file
	if err := o.Listener.Pause(); err != nil {
		return released, fmt.Errorf("handover: stop accepting: %w", err)
	}
	if err := o.State.Release(); err != nil {
		return released, err
	}
	if err := s.Send(Message{Released: true}); errors.Is(err, io.EOF) {
		return released, s.ended()
	} else if err != nil {
		return released, err
	}
	serving := func(m Message) bool { return m.Serving }
	return released, s.await(ctx, servingWithin+o.Opening, serving)
}

// await waits for the expected message of the new process.
func (s *Successor) await(
	ctx context.Context, within time.Duration, expected func(Message) bool,
) error {
	select {
	case m, ok := <-s.Messages():
		switch {
		case !ok:
			return s.ended()
		case !expected(m):
			return errors.New(
				"handover: unexpected message from the new process (incompatible version?)")
		}
		return nil
	case <-time.After(within):
		return fmt.Errorf("handover: the new process was not ready within %v", within)
	case <-ctx.Done():
		return errStopping
	}
}

// ended returns the error for the end of the new process's channel. It first waits for the process
// to end by itself, because Kill would hide how it ended.
func (s *Successor) ended() error {
	select {
	case <-s.exited:
	case <-time.After(endWithin):
	}
	return errors.New("handover: the new process ended; its log lines above say why")
}

// save runs State.Save. While STATE_DIR takes no writes, a handover would stop the stream, so it is
// refused.
func save(ctx context.Context, state State, dir string) error {
	saved := make(chan error, 1)
	go func() { saved <- state.Save() }()
	select {
	case err := <-saved:
		if err != nil {
			return fmt.Errorf("handover: STATE_DIR takes no writes: %w", err)
		}
		return nil
	case <-ctx.Done():
		return errStopping
	case <-time.After(saveWithin):
		return fmt.Errorf("handover: STATE_DIR (%s) takes no writes: progress is not saved after %v: "+
			"look at its disk and at the kernel's log", dir, saveWithin)
	}
}
