package query

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
)

// budget bounds what clients can make us hold by being slow: the memory of bodies that are on their
// way and of answers that are not read yet, and connections to the query process. What has no room
// waits, in the order of arrival but for what does not fit yet.
//
// An address may hold as much as is still free: half when it is alone, half of what is left beside
// another. So one that reads nothing does not shut the others out. Loopback is a proxy, maybe, and
// speaks for many.
type budget struct {
	mu    sync.Mutex // guards all below
	max   int64
	taken int64
	by    map[netip.Addr]int64 // none is 0
	queue list.List            // of *claim
}

// claim is for an amount that is waited for.
type claim struct {
	from    netip.Addr
	n       int64
	granted chan struct{} // closed when they have been taken
}

func (b *budget) limit(max int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.max = max
	b.grant()
}

// take takes n for an address, if there is room. They must be given back.
func (b *budget) take(from netip.Addr, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fits(from, n) {
		return false
	}
	b.add(from, n)
	return true
}

func (b *budget) fits(from netip.Addr, n int64) bool {
	free := b.max - b.taken
	return n <= free && (b.by[from]+n <= free || from.IsLoopback())
}

// wait is take, but waits for room as long as ctx lasts. It reports false then, and at once if
// there never is that much.
func (b *budget) wait(ctx context.Context, from netip.Addr, n int64) bool {
	if b.take(from, n) {
		return true
	}
	c := &claim{from, n, make(chan struct{})}
	b.mu.Lock()
	if n > b.max {
		b.mu.Unlock()
		return false
	}
	place := b.queue.PushBack(c)
	b.grant() // something may have been given back in between
	b.mu.Unlock()
	select {
	case <-c.granted:
		return true
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-c.granted: // in this moment
		return true
	default:
	}
	b.queue.Remove(place)
	return false
}

// grant takes what there is room for, for those who wait.
func (b *budget) grant() {
	for place := b.queue.Front(); place != nil && b.taken < b.max; {
		c := place.Value.(*claim)
		next := place.Next()
		if b.fits(c.from, c.n) {
			b.add(c.from, c.n)
			b.queue.Remove(place)
			close(c.granted)
		}
		place = next
	}
}

func (b *budget) give(from netip.Addr, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(from, -n)
	b.grant()
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
