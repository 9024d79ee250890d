package engine

import (
	"sync"

	"distributor/engine/succession"
	"distributor/wsproto"
)

// other is the other primary, while there are two: what it is to be told of our
// collectors, and what of its word counts.
type other struct {
	spool *succession.Spool
	heir  bool // it is our heir; else our elder

	mu   sync.Mutex
	ours map[string]bool // keys that have come to us since we took over, and not gone back to the elder
}

func newOther(heir bool) *other {
	return &other{spool: succession.NewSpool(), heir: heir, ours: make(map[string]bool)}
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

// hear takes what the other primary says of its collectors.
func (p *primary) hear(o *other, positions []succession.Position) {
	for _, at := range positions {
		if at.Begins {
			p.workers.Disconnect(at.Key, wsproto.DuplicateConnection)
		}
		if !o.heir {
			p.inherit(o, at)
		}
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
