package query

import (
	"net/netip"
	"sync"
)

// budget bounds the memory that clients can make us hold by being slow: bodies that are on their way, answers that are
// not read yet. Nobody waits for it: what has no room is refused.
//
// An address may hold as much as is still free: half when it is alone, half of what is left beside another. So one that
// reads nothing does not shut the others out. Loopback is a proxy, maybe, and speaks for many.
type budget struct {
	mu    sync.Mutex // guards all below
	max   int64
	taken int64
	by    map[netip.Addr]int64 // none is 0
}

func (b *budget) limit(max int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.max = max
}

// take takes n bytes for an address, if there is room. They must be given back.
func (b *budget) take(from netip.Addr, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := b.max - b.taken
	if n > free || b.by[from]+n > free && !from.IsLoopback() {
		return false
	}
	b.add(from, n)
	return true
}

func (b *budget) give(from netip.Addr, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(from, -n)
}

func (b *budget) add(from netip.Addr, n int64) {
	if b.by == nil {
		b.by = make(map[netip.Addr]int64)
	}
	b.taken += n
	if b.by[from] += n; b.by[from] == 0 {
		delete(b.by, from)
	}
}

func (b *budget) held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken
}
