package handover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/ipc"
)

// variable tells a process that it is the new one of a handover.
const variable = "DISTRIBUTOR_HEIR"

// The new process's descriptors.
const (
	channelFD = 3 + iota
	publicFD
	adminFD
)

const (
	// offerWithin is how long the old process, which has just started this one, may take to send its
	// offer.
	offerWithin = 10 * time.Second
	// releaseWithin is how long the old process may take to release the state once this one is ready.
	releaseWithin = time.Minute
)

// Predecessor is the old process, as the new one sees it. A nil Predecessor has ended.
type Predecessor struct {
	*conn
	Offer         Offer
	public, admin net.Listener  // until they are taken; admin may be nil
	ended         chan struct{} // closed when the old process has ended
	log           *slog.Logger
}

// Inherit returns nil if no old process has started this one. It must be called before any other
// process is started, because it makes the inherited descriptors private to this process.
func Inherit() (*Predecessor, error) {
	if os.Getenv(variable) == "" {
		return nil, nil
	}
	if err := os.Unsetenv(variable); err != nil {
		return nil, fmt.Errorf("handover: %w", err)
	}
	for fd := channelFD; fd <= adminFD; fd++ {
		unix.CloseOnExec(fd)
	}
	channel, err := ipc.Conn(os.NewFile(channelFD, "old-process"))
	if err != nil {
		return nil, err
	}
	p := &Predecessor{conn: newConn(channel), ended: make(chan struct{})}
	if err := p.receive(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Predecessor) receive() error {
	select {
	case m, ok := <-p.Messages():
		if !ok || m.Offer == nil {
			return errors.New("handover: the old process is gone, or sent an unexpected message " +
				"(incompatible version?)")
		}
		p.Offer = *m.Offer
	case <-time.After(offerWithin):
		return fmt.Errorf("handover: the old process sent no offer within %v", offerWithin)
	}
	var err error
	if p.public, err = listenerOf(publicFD); err == nil && p.Offer.Admin != "" {
		p.admin, err = listenerOf(adminFD)
	}
	return err
}

func listenerOf(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "listener")
	defer f.Close() // FileListener works on a duplicate
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("handover: inherited listener: %w", err)
	}
	return l, nil
}

// TakePublic returns the public listener if address, as it is configured, is the one that the old
// process was configured with; otherwise nil.
func (p *Predecessor) TakePublic(address string) net.Listener {
	return take(&p.public, p.Offer.Public, address)
}

// TakeAdmin does for the admin listener what TakePublic does for the public one.
func (p *Predecessor) TakeAdmin(address string) net.Listener {
	return take(&p.admin, p.Offer.Admin, address)
}

func take(from *net.Listener, theirs, ours string) net.Listener {
	l := *from
	*from = nil
	if l == nil || theirs == ours {
		return l
	}
	_ = l.Close()
	return nil
}

// CheckStateDir returns an error if dir is not the directory that the old process hands over.
func (p *Predecessor) CheckStateDir(dir string) error {
	ours, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("handover: STATE_DIR: %w", err)
	}
	theirs, err := os.Stat(p.Offer.StateDir)
	if err != nil {
		return fmt.Errorf("handover: STATE_DIR of the old process: %w", err)
	}
	if !os.SameFile(ours, theirs) {
		return fmt.Errorf("handover: STATE_DIR is %s, but the old process has %s: restart instead",
			dir, p.Offer.StateDir)
	}
	return nil
}

// AwaitState tells the old process that this one is ready, and waits until the state is released.
func (p *Predecessor) AwaitState(ctx context.Context) error {
	if err := p.Send(Message{Ready: true}); err != nil {
		return fmt.Errorf("handover: tell the old process: %w", err)
	}
	select {
	case m, ok := <-p.Messages():
		if !ok || !m.Released {
			return errors.New("handover: the old process did not release the state")
		}
		return nil
	case <-time.After(releaseWithin):
		return fmt.Errorf("handover: the old process did not release the state within %v", releaseWithin)
	case <-ctx.Done():
		return fmt.Errorf("handover: %w", context.Cause(ctx))
	}
}

// TakeOver tells the old process that this one serves. From then on the two exchange what they have
// to know of each other's collectors, until the old process ends.
func (p *Predecessor) TakeOver(relay *Relay, log *slog.Logger) {
	p.log = log
	peer, relayed := relay.attach(false), make(chan struct{})
	if err := p.Send(Message{Serving: true}); err != nil {
		log.Warn("the old process is gone already", "error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(relayed)
		peer.spool.run(ctx, p.conn)
	}()
	go func() {
		defer close(p.ended)
		for m := range p.Messages() {
			relay.receive(peer, m)
		}
		peer.end()
		cancel()
		<-relayed
		relay.detach()
		p.Close()
		log.Info("the old process has ended")
	}()
}

// Remains reports whether the old process is still there.
func (p *Predecessor) Remains() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Stop has the old process send its collectors away within a time, and waits for its end: what its
// collectors have confirmed by then is known here.
func (p *Predecessor) Stop(within time.Duration) {
	if !p.Remains() {
		return
	}
	if err := p.Send(Message{Stop: &Stop{WithinMS: within.Milliseconds()}}); err != nil {
		return
	}
	select {
	case <-p.ended:
	case <-time.After(within + StopGrace):
		p.log.Warn("the old process has not ended yet")
	}
}
