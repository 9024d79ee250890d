package resume

const (
	chunkSlots = 1024
	none       = -1 // no slot: an end of the list
	unused     = -2 // as prev: nobody is in the slot
)

// table has what is known of each collector, in the order of their last words. No step of it does
// work that grows with their number: it grows by a chunk, never by a copy of all, as the map does.
type table struct {
	most       int // collectors; for a new one beyond them the longest silent goes
	index      map[string]int32
	chunks     []*chunk
	slots      int32 // that were ever used
	free       int32 // the first unused one below slots; next leads on
	first, end int32 // the longest silent, and whose word was the last
}

// chunk is what Save copies at once.
type chunk [chunkSlots]slot

// slot is one collector's place. It stays there as long as it is known: one that moved could pass
// Save on its way through the chunks, and be missing in the file.
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

// put notes the last word of all, and makes room for it.
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

// take finds a slot for a new one.
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
