package enginetest

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"distributor/engine/simulator"
	"distributor/wsproto"
)

// verdict is the independent model: from what was written, the order in which
// the chronicle got it, and what each witness could have told the distributor,
// it says for every connection where it must have begun, and that all from
// there on came, once and in order.
//
//	frame log   |0 ─────────────────────────────────────────────────── head
//	a visit            |begin ── all of it ── end|
//	the next                      |begin ─────────────── end|
//	                              └ repeated ──┘
//
// Where a visit may begin:
//
//	from=<position>   there
//	from=earliest     at the floor
//	from=live         at the head as it was then: not before what the chronicle had
//	                  when it was dialled, not behind what was written after the 101
//	nothing           where the key has begun or what it has confirmed last, not
//	                  before what the primary surely knew; else as from=live. Who
//	                  answers no ping has confirmed all by answering a close frame
//
// One that was cut after it had read a part of what there was begins not far
// before the end of that part (progress).
//
// With a log that keeps little, what is said of a place holds of the floor if
// that is beyond it.
type verdict struct {
	trial       *Trial
	floor, head wsproto.Position // at the end

	repeats int64
	missed  int64
}

// entryOf is one frame.
type entryOf struct {
	item
	end uint64
}

// span is where an offset is, as far as that is known: both ends belong to it.
type span struct{ lo, hi uint64 }

// memory is what the primary may know of a key.
type memory struct {
	nothing bool
	spans   []span // one of these
	sure    uint64 // not before
}

func (v *verdict) judge() error {
	if err := v.chronicle(); err != nil {
		return fmt.Errorf("the chronicle: %w", err)
	}
	if err := v.kept(); err != nil {
		return err
	}
	for _, w := range v.trial.witnesses {
		if err := v.witness(w); err != nil {
			return fmt.Errorf("witness %s (%+v), %w", w.name, w.part, err)
		}
	}
	tally := v.trial.tally
	tally.written.Add(int64(v.trial.book.Total()))
	tally.repeated.Add(v.repeats)
	tally.missed.Add(v.missed)
	for _, w := range v.trial.witnesses {
		tally.delivered.Add(int64(w.got))
		tally.connections.Add(int64(len(w.visits)))
	}
	return nil
}

// chronicle makes the order of what the first witness got, under each ID of the frame log: of each
// stream all records, once. A loss of power cuts the order, and what is read again stands behind
// the cut.
func (v *verdict) chronicle() error {
	var order []entryOf
	seen := 0
	visits := v.trial.chronicle.visits
	for n := range v.trial.epochs {
		e := &v.trial.epochs[n]
		if n > 0 {
			cut := v.trial.epochs[n-1].cut
			kept := v.frames(order, cut)
			if kept < 0 {
				return fmt.Errorf("the power was lost, and the frame log ends at %d: within a frame, or beyond all", cut)
			}
			order = slices.Clone(order[:kept])
		}
		add := func(at uint64, items []item, sizes func(int) uint64) error {
			i := v.frames(order, at)
			if i < 0 {
				return fmt.Errorf("begins at %d, within a frame or beyond %d", at, v.start(order, len(order)))
			}
			for k, it := range items {
				at += sizes(k)
				if entry := (entryOf{it, at}); i+k == len(order) {
					order = append(order, entry)
				} else if order[i+k] != entry {
					return fmt.Errorf("at %d came record %d of %s, and before another one", at, it.n, simulator.Streams[it.stream])
				}
			}
			return nil
		}
		for ; seen < len(visits) && v.epochOf(visits[seen]) == n; seen++ {
			visit := visits[seen]
			at, ok := v.carried(visit.from.Position, n)
			if !ok {
				return fmt.Errorf("connection %d goes on at %v, which was lost", seen+1, visit.from)
			}
			if err := add(at, visit.items, func(k int) uint64 { return uint64(visit.sizes[k]) }); err != nil {
				return fmt.Errorf("connection %d: %w", seen+1, err)
			}
		}
		for k, entry := range e.tail {
			begin := e.tailAt
			if k > 0 {
				begin = e.tail[k-1].end
			}
			if err := add(begin, []item{entry.item}, func(int) uint64 { return entry.end - begin }); err != nil {
				return fmt.Errorf("in the files: %w", err)
			}
		}
		var next [len(simulator.Streams)]int32
		e.order, e.index = order, make(map[item]int)
		for i, entry := range order {
			if entry.n != next[entry.stream] {
				return fmt.Errorf("ID %d: record %d of %s, where %d was due", n+1, entry.n, simulator.Streams[entry.stream], next[entry.stream])
			}
			next[entry.stream]++
			e.index[entry.item] = i
		}
		if n < len(v.trial.epochs)-1 {
			continue
		}
		for i, n := range v.trial.book.Counts() {
			if int(next[i]) != n {
				return fmt.Errorf("%d records of %s, %d were written", next[i], simulator.Streams[i], n)
			}
		}
		if at := v.start(order, len(order)); at != v.head.Offset {
			return fmt.Errorf("it ends at %d, the frame log at %d", at, v.head.Offset)
		}
	}
	if seen < len(visits) {
		return fmt.Errorf("connection %d is under an ID of before", seen+1)
	}
	return nil
}

// frames tells how many frames of an order lie before an offset; -1: it is no border of frames.
func (v *verdict) frames(order []entryOf, at uint64) int {
	if at == v.trial.origin.Offset {
		return 0
	}
	i, ok := slices.BinarySearchFunc(order, at, func(e entryOf, at uint64) int { return cmp.Compare(e.end, at) })
	if !ok {
		return -1
	}
	return i + 1
}

// epochOf tells under which ID of the frame log a visit was: its pings say so, or its life.
func (v *verdict) epochOf(visit *visit) int {
	n := v.epochIn(visit.life)
	for i, e := range v.trial.epochs {
		if len(visit.pings) > 0 && visit.pings[0].at.Log == e.id {
			n = i
		}
	}
	return n
}

// epochIn tells under which ID of the frame log a life was.
func (v *verdict) epochIn(life int) int {
	n := 0
	for n+1 < len(v.trial.epochs) && v.trial.epochs[n+1].first <= life {
		n++
	}
	return n
}

// carried tells which offset a position is under the n-th ID; not ok: its frames were lost, or it
// is under no ID up to that one.
func (v *verdict) carried(p wsproto.Position, n int) (at uint64, ok bool) {
	for i := n; i >= 0; i-- {
		if i < n && p.Offset > v.trial.epochs[i].cut {
			return 0, false
		}
		if v.trial.epochs[i].id == p.Log {
			return p.Offset, true
		}
	}
	return 0, false
}

// moved judges where refusals have sent a witness: to where the frames and the log's part, or to
// the floor if that is beyond.
func (v *verdict) moved(w *Witness) error {
	for _, m := range w.moved {
		from, first, last := m.asked.from.Position, -1, -1
		for i, e := range v.trial.epochs {
			if e.id == from.Log {
				first = i
			}
			if e.id == m.to.Log {
				last = i
			}
		}
		if first < 0 || last <= first {
			return fmt.Errorf("from %v it was sent to %v, an ID that does not come behind", from, m.to)
		}
		at := from.Offset
		for _, e := range v.trial.epochs[first:last] {
			at = min(at, e.cut)
		}
		floor := v.floorUnder(last, m.asked.reached, v.live(last, m.asked).hi)
		if to := m.to.Offset; at == from.Offset || to < max(at, floor.lo) || to > max(at, floor.hi) {
			return fmt.Errorf("from %v it was sent to %v: frames are the same up to %d, and the floor is in %v",
				from, m.to, at, floor)
		}
	}
	return nil
}

// kept judges how much the frame log holds at the end.
func (v *verdict) kept() error {
	last := len(v.trial.epochs) - 1
	floor := v.floorUnder(last, v.head.Offset, v.head.Offset)
	if at := v.floor.Offset; v.floor.Log != v.trial.epochs[last].id || at < floor.lo || at > floor.hi {
		return fmt.Errorf("the frame log began at %v and begins at %v now, with the head at %d: it is to begin in %v",
			v.trial.origin, v.floor, v.head.Offset, floor)
	}
	return nil
}

// floorUnder tells where the floor may be under the n-th ID while the head is from least to most.
// After a loss of power the floor is where it was, or what the disk has of that, until the next
// segment begins.
func (v *verdict) floorUnder(n int, least, most uint64) span {
	p, e := v.trial.plan, v.trial.epochs[n]
	if p.Retain == 0 {
		return span{v.trial.origin.Offset, v.trial.origin.Offset}
	}
	keep, segment := uint64(p.Retain), uint64(p.Settings["FRAME_LOG_SEGMENT_BYTES"].(int))
	floor := span{least - min(least, keep+2*segment), max(most-min(most, keep), e.floor.hi)}
	if floor.lo = max(floor.lo, e.floor.lo); least < e.start+segment {
		floor.lo = e.floor.lo
	}
	return floor
}

func (v *verdict) start(order []entryOf, i int) uint64 {
	if i == 0 {
		return v.trial.origin.Offset
	}
	return order[i-1].end
}

// place finds where a visit began and ended, by its messages or its pings, and
// judges that its messages are a part of the order and its pings are true.
func (v *verdict) place(visit *visit) (begin, end uint64, known bool, err error) {
	e := &v.trial.epochs[v.epochOf(visit)]
	first := 0
	if len(visit.items) > 0 {
		first = e.index[visit.items[0]]
		begin, known = v.start(e.order, first), true
		for i, it := range visit.items {
			if first+i >= len(e.order) || e.order[first+i].item != it {
				return 0, 0, false, fmt.Errorf("message %d is record %d of %s: not what comes there in the frame log", i, it.n, simulator.Streams[it.stream])
			}
		}
		end = e.order[first+len(visit.items)-1].end
	} else if len(visit.pings) > 0 {
		begin, known = visit.pings[0].at.Offset, true
		end = begin
	}
	for _, p := range visit.pings {
		want := wsproto.Position{Log: e.id, Offset: begin}
		if p.after > 0 {
			want.Offset = e.order[first+p.after-1].end
		}
		if p.at != want {
			return 0, 0, false, fmt.Errorf("after %d messages a ping says %v, and it is %v", p.after, p.at, want)
		}
	}
	return begin, end, known, nil
}

// witness judges all visits of one witness.
func (v *verdict) witness(w *Witness) error {
	mem, had, met := memory{nothing: true}, v.trial.origin.Offset, false
	history := []span{} // where the key has ever been known to be
	if err := v.moved(w); err != nil {
		return err
	}
	life := 0
	until := func(l int) (err error) {
		for ; life < l && err == nil; life++ {
			mem, err = v.after(w, mem, history, life)
			if n := v.epochIn(life + 1); n != v.epochIn(life) { // the power was lost
				cut := v.trial.epochs[n-1].cut
				for _, spans := range [][]span{mem.spans, history} {
					for i, s := range spans {
						spans[i] = span{min(s.lo, cut), min(s.hi, cut)}
					}
				}
				mem.sure, had = min(mem.sure, cut), min(had, cut)
			}
		}
		return err
	}
	enter := func(attempts ...*visit) { // perhaps it was let in, and has begun where it may, and never heard of it
		for _, a := range attempts {
			for _, s := range v.may(a, mem) {
				mem.spans, history = append(mem.spans, s), append(history, s)
				if a.from != (wsproto.From{}) {
					mem.sure = min(mem.sure, s.lo)
				}
			}
		}
	}
	vain := w.vain
	var due uint64 // where a visit of the life dueIn must begin, or behind it
	var dueIn int
	for i, seen := range w.visits {
		fail := func(err error) error { return fmt.Errorf("connection %d (from=%s): %w", i+1, seen.from, err) }
		var unsure []*visit // attempts of this life or the next one
		for ; len(vain) > 0 && vain[0].after <= i; vain = vain[1:] {
			if err := until(vain[0].life); err != nil {
				return fail(err)
			}
			enter(vain[0])
			if vain[0].unsure {
				unsure = append(unsure, vain[0])
			}
		}
		if err := until(seen.life); err != nil {
			return fail(err)
		}
		enter(unsure...)
		order := v.trial.epochs[v.epochOf(seen)].order
		begin, end, known, err := v.place(seen)
		if err != nil {
			return fail(err)
		}
		may := v.may(seen, mem)
		if seen.unsure {
			may = []span{{0, math.MaxUint64}}
		}
		if known && !slices.ContainsFunc(may, func(s span) bool { return s.lo <= begin && begin <= s.hi }) {
			return fail(fmt.Errorf("begins at %d; it may begin in %v, as the primary may know %+v; it had all up to %d", begin, may, mem, had))
		}
		if known && begin < due && seen.life == dueIn && !seen.unsure && seen.from == (wsproto.From{}) {
			return fail(fmt.Errorf("begins at %d; it has read up to %d, and gets on to %d at least",
				begin, had, due))
		}
		due = 0
		if known && seen.short && w.doubles == 0 && v.trial.plan.Resume {
			due, dueIn = v.progress(seen, begin, end), seen.life
		}
		if known {
			may = []span{{begin, begin}}
			v.repeats += v.between(order, begin, min(had, end))
			if met && begin > had {
				v.missed += v.between(order, had, begin)
			}
			had, met = max(had, end), true
		}
		earlier := mem
		mem = memory{nothing: !v.trial.plan.Resume || seen.unsure, spans: slices.Clone(may)}
		for n, p := range seen.pings {
			if slices.Contains(seen.told, p.at.Offset) {
				mem.spans = append(mem.spans, span{p.at.Offset, p.at.Offset})
			}
			if n < seen.sure {
				mem.sure = p.at.Offset
			}
		}
		if seen.close != nil && len(seen.told) == 0 { // of who answers no ping, the answer to a close frame confirms all
			mem.spans = append(mem.spans, span{end, end})
		}
		history = append(history, mem.spans...)
		if w.doubles > 0 || seen.unsure { // two at a time: which of them was the newer one is not for us to know
			mem.spans, mem.sure = append(mem.spans, earlier.spans...), 0
			mem.nothing = mem.nothing || earlier.nothing
		}
	}
	return nil
}

// progress tells how far a visit has brought its collector, if that has answered
// every ping and was behind when it was cut: up to a share of what it has read
// before the end, or a few frames.
func (v *verdict) progress(visit *visit, begin, end uint64) uint64 {
	longest := slices.Max(visit.sizes)
	missing := max((end-begin)/10, 16<<10) + uint64(longest)
	return end - min(end, missing)
}

// may tells where a visit may have begun.
func (v *verdict) may(visit *visit, mem memory) []span {
	n := v.epochOf(visit)
	live := v.live(n, visit)
	floor := v.floorUnder(n, live.lo, live.hi)
	switch visit.from.Start {
	case wsproto.At:
		at, ok := v.carried(visit.from.Position, n)
		if !ok {
			return nil
		}
		return []span{{at, at}}
	case wsproto.Earliest:
		return []span{floor}
	case wsproto.Live:
		return []span{live}
	}
	var out []span
	if mem.nothing {
		out = append(out, live)
	}
	for _, s := range mem.spans {
		if !v.trial.plan.Resume || s.hi < mem.sure {
			continue
		}
		out = append(out, span{max(s.lo, mem.sure), s.hi})
		if v.trial.plan.Retain > 0 && s.lo < floor.hi {
			out = append(out, span{s.lo, floor.hi})
		}
	}
	return out
}

// live tells where the head may have been, under the n-th ID, when a visit began.
func (v *verdict) live(n int, visit *visit) span {
	e := &v.trial.epochs[n]
	live := span{visit.reached, v.start(e.order, len(e.order))}
	for stream, n := range visit.begun {
		if i, ok := e.index[item{uint8(stream), int32(n)}]; ok {
			live.hi = min(live.hi, v.start(e.order, i))
		}
	}
	return live
}

// after is what is known of a key when a life has ended: what its file says,
// which must be something that the key has confirmed, or where it began.
func (v *verdict) after(w *Witness, mem memory, history []span, life int) (memory, error) {
	e := v.trial.ends[life]
	at, ok := e.remembered[w.key.Public().String()]
	for n := 0; n < v.epochIn(life); n++ { // it may be a file of before
		if under := v.trial.epochs[n]; at > under.cut && v.isOf(e.log, n) {
			at = under.cut
		}
	}
	if !v.trial.plan.Resume {
		return memory{nothing: true}, nil
	}
	within := func(spans []span) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return s.lo <= at && at <= s.hi })
	}
	switch {
	case !ok && !e.killed && !mem.nothing:
		return mem, fmt.Errorf("after a stop nothing is remembered of it, and %+v was known", mem)
	case !ok:
		return memory{nothing: true}, nil
	case !e.killed && !mem.nothing && (!within(mem.spans) || at < mem.sure):
		return mem, fmt.Errorf("after a stop %d is remembered of it, and %+v was known", at, mem)
	case !within(history) && w.part.Habit == Plain:
		return mem, fmt.Errorf("%d is remembered of it, which it never confirmed: %v", at, history)
	}
	return memory{spans: []span{{at, at}}, sure: at}, nil
}

// isOf tells whether a file that names an ID of the frame log is of the n-th one or of one before.
func (v *verdict) isOf(log string, n int) bool {
	return slices.ContainsFunc(v.trial.epochs[:n+1], func(e epoch) bool { return fmt.Sprintf("%x", e.id) == log })
}

// between counts the frames of an order from one offset to another.
func (v *verdict) between(order []entryOf, from, to uint64) (n int64) {
	for i := range order {
		if s := v.start(order, i); s >= from && order[i].end <= to {
			n++
		}
	}
	return n
}
