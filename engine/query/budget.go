package query

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
)

// budget bounds what slow clients can make the primary hold: the memory of bodies that are arriving
// and of answers that are not read yet, and connections to the query process. What does not fit
// waits, in the order of arrival; a claim that does not fit yet lets later ones pass.
//
// An address may hold as much as is still free: half of the budget if it is alone, half of the rest
// beside another one. So an address that reads nothing does not shut the others out. Loopback
// addresses have no limit, because a proxy there may serve many clients.
type budget struct {
	mu    sync.Mutex // guards the fields below
	max   int64
	taken int64
	by    map[netip.Addr]int64 // taken by address; zero values are deleted
	queue list.List            // of *claim
}

// claim waits for an amount.
type claim struct {
	from    netip.Addr
	n       int64
	granted chan struct{} // closed when n has been taken
}

func (b *budget) limit(max int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.max = max
	b.grant()
}

// take takes n for an address, if n fits. Then the caller must give it back.
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

// wait is take, but waits until n fits, as long as ctx lasts. It returns false when ctx has ended,
// and at once if n is more than the whole budget.
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
	b.grant() // something may have been given back since take
	b.mu.Unlock()
	select {
	case <-c.granted:
		return true
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-c.granted: // at the same moment
		return true
	default:
	}
	b.queue.Remove(place)
	return false
}

// grant takes amounts for the waiting claims that fit.
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

func (b *budget) giveBack(from netip.Addr, n int64) {
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
