package succession

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// variable tells a process that it is an heir.
const variable = "DISTRIBUTOR_HEIR"

// The heir's descriptors.
const (
	channelFD = 3 + iota
	publicFD
	adminFD
)

// estateWithin is how long the elder, which has just started us, may take to
// say what there is.
const estateWithin = 10 * time.Second

// Elder is the process that hands over, as the heir sees it.
type Elder struct {
	*Conn
	Estate Estate
	// The listeners, until they are taken. Admin may be nil.
	Public, Admin net.Listener
}

// Inherit returns nil when nobody has started us as an heir. It must be called
// before any other process is started: the descriptors are made ours alone.
func Inherit() (*Elder, error) {
	if os.Getenv(variable) == "" {
		return nil, nil
	}
	if err := os.Unsetenv(variable); err != nil {
		return nil, fmt.Errorf("succession: %w", err)
	}
	for fd := channelFD; fd <= adminFD; fd++ {
		unix.CloseOnExec(fd)
	}
	conn, err := newConn(os.NewFile(channelFD, "elder"))
	if err != nil {
		return nil, err
	}
	e := &Elder{Conn: conn}
	if err := e.receive(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Elder) receive() error {
	select {
	case m, ok := <-e.Messages():
		if !ok || m.Estate == nil {
			return errors.New("succession: the elder has gone, or speaks another language")
		}
		e.Estate = *m.Estate
	case <-time.After(estateWithin):
		return errors.New("succession: the elder says nothing")
	}
	var err error
	if e.Public, err = listenerOf(publicFD); err == nil && e.Estate.Admin != "" {
		e.Admin, err = listenerOf(adminFD)
	}
	return err
}

func listenerOf(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "listener")
	defer f.Close() // FileListener works on a duplicate
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("succession: inherited listener: %w", err)
	}
	return l, nil
}

// TakePublic gives the public listener to who is configured to listen on
// address; nil when it is another's.
func (e *Elder) TakePublic(address string) net.Listener {
	return take(&e.Public, e.Estate.Public, address)
}

// TakeAdmin is TakePublic for the admin listener.
func (e *Elder) TakeAdmin(address string) net.Listener {
	return take(&e.Admin, e.Estate.Admin, address)
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
