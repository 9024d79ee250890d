package engine

import (
	"sync"

	"distributor/engine/handoff"
	"distributor/engine/succession"
	"distributor/engine/supervisor"
	"distributor/wsproto"
)

// other is the other primary, while there are two: what it is to be told of our
// collectors, and what of its word counts.
type other struct {
	spool *succession.Spool
	heir  bool // it is our heir; else our elder

	mu   sync.Mutex
	ours map[string]bool // keys that have come to us since we took over, and not gone back to the elder
	// asked are keys that the heir has asked us to release, until our connection of them has ended.
	asked map[string]bool
	// turns are for the keys that we have asked the elder to release: closed when it has.
	turns map[string]chan struct{}
	gone  bool // nobody will answer any more
}

func newOther(heir bool) *other {
	return &other{spool: succession.NewSpool(), heir: heir,
		ours: make(map[string]bool), asked: make(map[string]bool), turns: make(map[string]chan struct{})}
}

// reached is told by the supervisor how far a collector is; it must not wait.
func (p *primary) reached(key string, offset uint64, begins bool) {
	o := p.other.Load()
	if o == nil {
		p.collectors.Confirmed(key, offset)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	p.collectors.Confirmed(key, offset)
	if begins {
		o.ours[key] = true
	}
	if o.heir || begins {
		o.spool.Add(succession.Position{Key: key, Offset: offset, Begins: begins})
	}
}

// elsewhere has the elder close its connection of a key that has come to us; the channel is closed
// when it has none any more, and what it knew of the key is ours. It must not wait. nil: there is
// no elder, or the key is not its any more.
func (p *primary) elsewhere(key string) <-chan struct{} {
	o := p.other.Load()
	if o == nil || o.heir {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone || o.ours[key] {
		return nil
	}
	turn := o.turns[key]
	if turn == nil {
		turn = make(chan struct{})
		o.turns[key] = turn
		o.spool.Release(key)
	}
	return turn
}

// ended is told by the supervisor of the end of a connection.
func (p *primary) ended(c supervisor.Client, _ handoff.Closed) {
	if o := p.other.Load(); o != nil && o.heir {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.asked[c.Key] {
			delete(o.asked, c.Key)
			o.spool.Release(c.Key)
		}
	}
}

// release does with a key what the other primary asks for, or waits no longer for its answer.
func (p *primary) release(o *other, key string) {
	o.mu.Lock()
	if o.heir {
		o.asked[key] = true
	} else if turn := o.turns[key]; turn != nil {
		close(turn)
		delete(o.turns, key)
	}
	o.mu.Unlock()
	if !o.heir || p.workers.Displace(key) {
		return // ended tells of it
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asked[key] { // else that was said meanwhile
		delete(o.asked, key)
		o.spool.Release(key)
	}
}

// silent ends the wait for answers: the other primary has gone.
func (o *other) silent() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = true
	for key, turn := range o.turns {
		close(turn)
		delete(o.turns, key)
	}
}

// hear takes what the other primary says of its collectors.
func (p *primary) hear(o *other, m succession.Message) {
	for _, at := range m.Positions {
		if at.Begins {
			p.workers.Disconnect(at.Key, wsproto.DuplicateConnection)
		}
		if !o.heir {
			p.inherit(o, at)
		}
	}
	for _, key := range m.Release {
		p.release(o, key)
	}
}

// inherit remembers where the elder has left a collector, unless that has come
// to us since.
func (p *primary) inherit(o *other, at succession.Position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at.Begins {
		delete(o.ours, at.Key)
	}
	if !o.ours[at.Key] {
		p.collectors.Confirmed(at.Key, at.Offset)
	}
}
