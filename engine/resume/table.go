package resume

const (
	chunkSlots = 1024
	none       = -1 // no slot: an end of the list
	unused     = -2 // as prev: the slot is empty
)

// table holds what is known of each collector, in the order of their last signs. No step takes time
// that grows with the number of collectors: the table grows by a chunk, and never copies
// everything, as a map does.
type table struct {
	// maximum number of collectors; a further one replaces the one that was silent for longest
	most       int
	index      map[string]int32
	chunks     []*chunk
	slots      int32 // number of slots that were ever used
	free       int32 // the first empty slot below slots; its next is the following one
	first, end int32 // the collector that was silent for longest, and the last one that gave a sign
}

// chunk is the unit that Save copies under one hold of the lock.
type chunk [chunkSlots]slot

// slot is one collector's place. A collector keeps its slot as long as it is known: if it moved
// while Save copies the chunks, the file could miss it.
type slot struct {
	key string
	seen
	prev, next int32
}

func newTable(most int) table {
	return table{most: most, index: make(map[string]int32), free: none, first: none, end: none}
}

func (t *table) slot(i int32) *slot { return &t.chunks[i/chunkSlots][i%chunkSlots] }

func (t *table) get(key string) (seen, bool) {
	i, known := t.index[key]
	if !known {
		return seen{}, false
	}
	return t.slot(i).seen, true
}

// put stores k as the newest entry, and makes room for a new key.
func (t *table) put(key string, k seen) {
	i, known := t.index[key]
	if known {
		t.unlink(i)
	} else {
		if len(t.index) >= t.most {
			t.dropOldest()
		}
		i = t.take()
		t.index[key] = i
	}
	*t.slot(i) = slot{key: key, seen: k, prev: t.end, next: none}
	if t.end == none {
		t.first = i
	} else {
		t.slot(t.end).next = i
	}
	t.end = i
}

// take returns an empty slot.
func (t *table) take() int32 {
	if i := t.free; i != none {
		t.free = t.slot(i).next
		return i
	}
	if t.slots%chunkSlots == 0 {
		c := new(chunk)
		for i := range c {
			c[i].prev = unused
		}
		t.chunks = append(t.chunks, c)
	}
	t.slots++
	return t.slots - 1
}

func (t *table) oldest() (seen, bool) {
	if t.first == none {
		return seen{}, false
	}
	return t.slot(t.first).seen, true
}

func (t *table) dropOldest() {
	i := t.first
	delete(t.index, t.slot(i).key)
	t.unlink(i)
	*t.slot(i) = slot{prev: unused, next: t.free}
	t.free = i
}

func (t *table) unlink(i int32) {
	k := t.slot(i)
	if k.prev == none {
		t.first = k.next
	} else {
		t.slot(k.prev).next = k.next
	}
	if k.next == none {
		t.end = k.prev
	} else {
		t.slot(k.next).prev = k.prev
	}
}
