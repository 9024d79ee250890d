package handover

import (
	"sync"
	"sync/atomic"
)

// Collectors is the interface of a Relay to the collectors of its own process.
type Collectors interface {
	// Confirmed remembers the offset that a collector has confirmed.
	Confirmed(key string, offset uint64)
	// Displace closes the connection of a key because a newer one waits, and reports whether there
	// was one. When it has ended, Relay.Ended is called.
	Displace(key string) bool
	// Disconnect closes the connection of a key, if there is one, because a newer one has begun.
	Disconnect(key string)
}

// Relay passes on the collectors' positions. While there are two processes, it also exchanges them
// with the other process, and decides which of the two knows better. Its exported methods must not
// wait, because the supervisor calls them with its lock held.
type Relay struct {
	collectors Collectors
	peer       atomic.Pointer[peer] // nil: there is no other process
}

// NewRelay returns the relay of a process without another one.
func NewRelay(c Collectors) *Relay { return &Relay{collectors: c} }

// peer is the other process.
type peer struct {
	spool *spool
	isNew bool // the other process is the new one

	mu sync.Mutex // guards the fields below
	// here has the keys whose newest connection is at this process, if it began after the handover.
	here map[string]bool
	// leaving has the keys that the new process has asked for, until their connections have ended.
	leaving map[string]bool
	// awaited has the keys that the old process was asked for. Each channel is closed when the old
	// process has released the key.
	awaited map[string]chan struct{}
	gone    bool // the other process has ended
}

// attach begins the exchange with another process.
func (r *Relay) attach(isNew bool) *peer {
	o := &peer{
		spool: newSpool(), isNew: isNew,
		here: make(map[string]bool), leaving: make(map[string]bool),
		awaited: make(map[string]chan struct{}),
	}
	r.peer.Store(o)
	return o
}

func (r *Relay) detach() { r.peer.Store(nil) }

// Reached records the offset that a collector of this process has reached. begins means that its
// connection begins there.
func (r *Relay) Reached(key string, offset uint64, begins bool) {
	o := r.peer.Load()
	if o == nil {
		r.collectors.Confirmed(key, offset)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	r.collectors.Confirmed(key, offset)
	if begins {
		o.here[key] = true
	}
	if o.isNew || begins {
		o.spool.add(Position{Key: key, Offset: offset, Begins: begins})
	}
}

// Elsewhere has the old process close its connection of a key that has connected to this one. The
// channel is closed when the old process has none any more, and its last position of the key is
// known here. Elsewhere returns nil if there is no old process, or the key has left it already.
func (r *Relay) Elsewhere(key string) <-chan struct{} {
	o := r.peer.Load()
	if o == nil || o.isNew {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone || o.here[key] {
		return nil
	}
	released := o.awaited[key]
	if released == nil {
		released = make(chan struct{})
		o.awaited[key] = released
		o.spool.free(key)
	}
	return released
}

// Ended records the end of a connection of this process.
func (r *Relay) Ended(key string) {
	if o := r.peer.Load(); o != nil && o.isNew {
		o.free(key)
	}
}

// free tells the new process, if it has asked for the key, that the connection here has ended.
func (o *peer) free(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.leaving[key] {
		delete(o.leaving, key)
		o.spool.free(key)
	}
}

// receive handles a message of the other process about collectors.
func (r *Relay) receive(o *peer, m Message) {
	for _, at := range m.Positions {
		if at.Begins {
			r.collectors.Disconnect(at.Key)
		}
		if !o.isNew {
			r.remember(o, at)
		}
	}
	for _, key := range m.Release {
		r.release(o, key)
	}
}

// remember records a position from the old process, unless the key has connected here since.
func (r *Relay) remember(o *peer, at Position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at.Begins {
		delete(o.here, at.Key)
	}
	if !o.here[at.Key] {
		r.collectors.Confirmed(at.Key, at.Offset)
	}
}

// release closes the connection of a key that the new process asks for, or ends the wait for a key
// that the old process has released.
func (r *Relay) release(o *peer, key string) {
	o.mu.Lock()
	if o.isNew {
		o.leaving[key] = true
	} else if released := o.awaited[key]; released != nil {
		close(released)
		delete(o.awaited, key)
	}
	o.mu.Unlock()
	if o.isNew && !r.collectors.Displace(key) {
		o.free(key) // otherwise Ended does
	}
}

// end ends all waits for the other process, because it has ended.
func (o *peer) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = true
	for key, released := range o.awaited {
		close(released)
		delete(o.awaited, key)
	}
}
