package enginetest

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"distributor/mmaplog/datalog"
	"distributor/wsproto"
)

// verdict is the independent model. It uses the written records, the order in which the chronicle
// got them, and what each witness has confirmed. For each connection it computes where it must have
// begun, and checks that everything from there on came once and in order.
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
//	from=live         at the head at that time: not before the chronicle's position when it was
//	                  dialled, not after a record that was written after the 101
//	nothing           where the key began, or what it confirmed last; not before a position that
//	                  the primary surely knew; if nothing is known, as from=live. A collector that
//	                  answers no ping confirms everything by answering a close frame
//
// If a collector was cut after it had read a part of its backlog, its next connection begins not
// far before the end of that part (progress).
//
// If the floor has passed a place, the connection begins at the floor instead.
type verdict struct {
	trial       *Trial
	floor, head wsproto.Position // at the end

	repeats int64
	missed  int64
}

// entryOf is a frame: its record and its end in the frame log.
type entryOf struct {
	item
	end uint64
}

// span is a range of offsets, both ends included.
type span struct{ lo, hi uint64 }

// memory is what the primary may know of a key's position.
type memory struct {
	none  bool   // no position may be known
	spans []span // the position is in one of these
	least uint64 // the position is not before this offset
}

func (v *verdict) check() error {
	if err := v.buildOrders(); err != nil {
		return fmt.Errorf("the chronicle: %w", err)
	}
	if err := v.checkFloor(); err != nil {
		return err
	}
	for _, w := range v.trial.witnesses {
		if err := v.checkWitness(w); err != nil {
			return fmt.Errorf("witness %s (%+v), %w", w.name, w.part, err)
		}
	}
	tally := v.trial.tally
	tally.written.Add(int64(v.trial.book.Total()))
	tally.repeated.Add(v.repeats)
	tally.missed.Add(v.missed)
	for _, w := range v.trial.witnesses {
		tally.delivered.Add(int64(w.messages))
		tally.connections.Add(int64(len(w.visits)))
	}
	return nil
}

// buildOrders computes the order of the frame log under each of its IDs, from the chronicle's
// messages. It checks that each order has all records of each stream once. A loss of power cuts the
// order, and the records that are read again come after the cut.
func (v *verdict) buildOrders() error {
	var order []entryOf
	seen := 0
	visits := v.trial.chronicle.visits
	for n := range v.trial.epochs {
		e := &v.trial.epochs[n]
		if n > 0 {
			cut := v.trial.epochs[n-1].cut
			kept := v.frames(order, cut)
			if kept < 0 {
				return fmt.Errorf("after a loss of power the frame log ends at %d: "+
					"inside a frame or beyond the last one", cut)
			}
			order = slices.Clone(order[:kept])
		}
		add := func(at uint64, items []item, sizes func(int) uint64) error {
			i := v.frames(order, at)
			if i < 0 {
				return fmt.Errorf("begins at %d, inside a frame or beyond %d",
					at, v.start(order, len(order)))
			}
			for k, it := range items {
				at += sizes(k)
				if entry := (entryOf{it, at}); i+k == len(order) {
					order = append(order, entry)
				} else if order[i+k] != entry {
					return fmt.Errorf("at %d: got record %d of %s, earlier another record",
						at, it.n, it.stream)
				}
			}
			return nil
		}
		for ; seen < len(visits) && v.epochOf(visits[seen]) == n; seen++ {
			visit := visits[seen]
			at, ok := v.carried(visit.from.Position, n)
			if !ok {
				return fmt.Errorf("connection %d begins at %v, which was lost", seen+1, visit.from)
			}
			size := func(k int) uint64 { return uint64(visit.sizes[k]) }
			if err := add(at, visit.items, size); err != nil {
				return fmt.Errorf("connection %d: %w", seen+1, err)
			}
		}
		for k, entry := range e.tail {
			begin := e.tailAt
			if k > 0 {
				begin = e.tail[k-1].end
			}
			size := func(int) uint64 { return entry.end - begin }
			if err := add(begin, []item{entry.item}, size); err != nil {
				return fmt.Errorf("in the files: %w", err)
			}
		}
		var next datalog.PerStream[int32]
		e.order, e.index = order, make(map[item]int)
		for i, entry := range order {
			if entry.n != next[entry.stream] {
				return fmt.Errorf("ID %d: got record %d of %s, want %d",
					n+1, entry.n, entry.stream, next[entry.stream])
			}
			next[entry.stream]++
			e.index[entry.item] = i
		}
		if n < len(v.trial.epochs)-1 {
			continue
		}
		counts := v.trial.book.Counts()
		for _, s := range datalog.Streams {
			if int(next[s]) != counts[s] {
				return fmt.Errorf("got %d records of %s, want %d", next[s], s, counts[s])
			}
		}
		if at := v.start(order, len(order)); at != v.head.Offset {
			return fmt.Errorf("it ends at %d, want the head %d", at, v.head.Offset)
		}
	}
	if seen < len(visits) {
		return fmt.Errorf("connection %d is under an earlier ID", seen+1)
	}
	return nil
}

// frames returns how many frames of an order end at or before an offset; -1: the offset is no frame
// boundary.
func (v *verdict) frames(order []entryOf, at uint64) int {
	if at == v.trial.origin.Offset {
		return 0
	}
	i, ok := slices.BinarySearchFunc(order, at, func(e entryOf, at uint64) int {
		return cmp.Compare(e.end, at)
	})
	if !ok {
		return -1
	}
	return i + 1
}

// epochOf returns the number of the frame log's ID during a visit, from its pings or its life.
func (v *verdict) epochOf(visit *visit) int {
	n := v.epochIn(visit.life)
	for i, e := range v.trial.epochs {
		if len(visit.pings) > 0 && visit.pings[0].at.Log == e.id {
			n = i
		}
	}
	return n
}

// epochIn returns the number of the frame log's ID during a life.
func (v *verdict) epochIn(life int) int {
	n := 0
	for n+1 < len(v.trial.epochs) && v.trial.epochs[n+1].first <= life {
		n++
	}
	return n
}

// carried translates a position to an offset under the n-th ID. ok is false if its frames were
// lost, or if its ID is not one of the first n.
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

// checkMoves checks where refusals have sent a witness: to the offset up to which the logs of both
// IDs are equal, or to the floor if that is beyond.
func (v *verdict) checkMoves(w *Witness) error {
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
			return fmt.Errorf("from %v it was sent to %v, whose ID is not a later one", from, m.to)
		}
		at := from.Offset
		for _, e := range v.trial.epochs[first:last] {
			at = min(at, e.cut)
		}
		floor := v.floorUnder(last, m.asked.leastHead, v.headAtStart(last, m.asked).hi)
		if to := m.to.Offset; at == from.Offset || to < max(at, floor.lo) || to > max(at, floor.hi) {
			return fmt.Errorf("from %v it was sent to %v: frames are the same up to %d, and the floor is in %v",
				from, m.to, at, floor)
		}
	}
	return nil
}

// checkFloor checks the floor of the frame log at the end.
func (v *verdict) checkFloor() error {
	last := len(v.trial.epochs) - 1
	floor := v.floorUnder(last, v.head.Offset, v.head.Offset)
	if at := v.floor.Offset; v.floor.Log != v.trial.epochs[last].id || at < floor.lo || at > floor.hi {
		return fmt.Errorf("the floor is %v, want it in %v; it was %v, the head is %d",
			v.floor, floor, v.trial.origin, v.head.Offset)
	}
	return nil
}

// floorUnder returns where the floor may be under the n-th ID while the head is between least and
// most. After a loss of power the floor stays where it was, or where the disk has it, until the
// next segment begins.
func (v *verdict) floorUnder(n int, least, most uint64) span {
	p, e := v.trial.plan, v.trial.epochs[n]
	if p.Retain == 0 {
		return span{v.trial.origin.Offset, v.trial.origin.Offset}
	}
	keep, segment := uint64(p.Retain), uint64(p.Settings["FRAME_LOG_SEGMENT_BYTES"].(int))
	floor := span{
		lo: least - min(least, keep+2*segment),
		hi: max(most-min(most, keep), e.floor.hi),
	}
	if floor.lo = max(floor.lo, e.floor.lo); least < e.start+segment {
		floor.lo = e.floor.lo
	}
	return floor
}

// start returns where frame i of an order starts; len(order): where the order ends.
func (v *verdict) start(order []entryOf, i int) uint64 {
	if i == 0 {
		return v.trial.origin.Offset
	}
	return order[i-1].end
}

// place returns where a visit began and ended, from its messages or its pings. It checks that the
// messages are a part of the order and that the pings have the right positions. known is false if
// the visit had neither messages nor pings.
func (v *verdict) place(visit *visit) (begin, end uint64, known bool, err error) {
	e := &v.trial.epochs[v.epochOf(visit)]
	first := 0
	if len(visit.items) > 0 {
		first = e.index[visit.items[0]]
		begin, known = v.start(e.order, first), true
		for i, it := range visit.items {
			if first+i >= len(e.order) || e.order[first+i].item != it {
				return 0, 0, false, fmt.Errorf("message %d is record %d of %s: "+
					"the frame log has another record there", i, it.n, it.stream)
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
			return 0, 0, false, fmt.Errorf("after %d messages a ping has %v, want %v",
				p.after, p.at, want)
		}
	}
	return begin, end, known, nil
}

// checkWitness checks all visits of one witness.
func (v *verdict) checkWitness(w *Witness) error {
	mem, had, met := memory{none: true}, v.trial.origin.Offset, false
	history := []span{} // all positions of the key that the primary may ever have known
	if err := v.checkMoves(w); err != nil {
		return err
	}
	life := 0
	until := func(l int) (err error) {
		for ; life < l && err == nil; life++ {
			mem, err = v.afterLife(w, mem, history, life)
			if n := v.epochIn(life + 1); n != v.epochIn(life) { // the power was lost
				cut := v.trial.epochs[n-1].cut
				for _, spans := range [][]span{mem.spans, history} {
					for i, s := range spans {
						spans[i] = span{min(s.lo, cut), min(s.hi, cut)}
					}
				}
				mem.least, had = min(mem.least, cut), min(had, cut)
			}
		}
		return err
	}
	// An attempt without an answer may have been accepted, and so may have set a position.
	enter := func(attempts ...*visit) {
		for _, a := range attempts {
			for _, s := range v.mayBegin(a, mem) {
				mem.spans, history = append(mem.spans, s), append(history, s)
				if a.from != (wsproto.From{}) {
					mem.least = min(mem.least, s.lo)
				}
			}
		}
	}
	unanswered := w.unanswered
	var due uint64 // a visit of the life dueIn must begin here or later
	var dueIn int
	for i, seen := range w.visits {
		fail := func(err error) error {
			return fmt.Errorf("connection %d (from=%s): %w", i+1, seen.from, err)
		}
		var unsure []*visit // attempts of this life or the next one
		for ; len(unanswered) > 0 && unanswered[0].after <= i; unanswered = unanswered[1:] {
			attempt := unanswered[0]
			if err := until(attempt.life); err != nil {
				return fail(err)
			}
			enter(attempt)
			if attempt.unsure {
				unsure = append(unsure, attempt)
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
		may := v.mayBegin(seen, mem)
		if seen.unsure {
			may = []span{{0, math.MaxUint64}}
		}
		allowed := func(s span) bool { return s.lo <= begin && begin <= s.hi }
		if known && !slices.ContainsFunc(may, allowed) {
			return fail(fmt.Errorf("begins at %d, want it in %v; the primary may know %+v; "+
				"the witness had all up to %d", begin, may, mem, had))
		}
		if known && begin < due && seen.life == dueIn && !seen.unsure &&
			seen.from == (wsproto.From{}) {
			return fail(fmt.Errorf("begins at %d, want at least %d; it has read up to %d",
				begin, due, had))
		}
		due = 0
		if known && seen.cutAtQuota && w.duplicates == 0 && v.trial.plan.Resume {
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
		mem = memory{none: !v.trial.plan.Resume || seen.unsure, spans: slices.Clone(may)}
		for n, p := range seen.pings {
			if slices.Contains(seen.ponged, p.at.Offset) {
				mem.spans = append(mem.spans, span{p.at.Offset, p.at.Offset})
			}
			if n < seen.surePings {
				mem.least = p.at.Offset
			}
		}
		// If a witness answers no ping, its answer to a close frame confirms everything.
		if seen.close != nil && len(seen.ponged) == 0 {
			mem.spans = append(mem.spans, span{end, end})
		}
		history = append(history, mem.spans...)
		// Of two connections at a time, the verdict cannot know which was the newer one.
		if w.duplicates > 0 || seen.unsure {
			mem.spans, mem.least = append(mem.spans, earlier.spans...), 0
			mem.none = mem.none || earlier.none
		}
	}
	return nil
}

// progress returns the least offset at which the next visit must begin, if the collector answered
// every ping and was behind when it was cut: the end of what it has read, minus a tenth of that or
// a few frames.
func (v *verdict) progress(visit *visit, begin, end uint64) uint64 {
	longest := slices.Max(visit.sizes)
	missing := max((end-begin)/10, 16<<10) + uint64(longest)
	return end - min(end, missing)
}

// mayBegin returns where a visit may have begun.
func (v *verdict) mayBegin(visit *visit, mem memory) []span {
	n := v.epochOf(visit)
	live := v.headAtStart(n, visit)
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
	if mem.none {
		out = append(out, live)
	}
	for _, s := range mem.spans {
		if !v.trial.plan.Resume || s.hi < mem.least {
			continue
		}
		out = append(out, span{max(s.lo, mem.least), s.hi})
		if v.trial.plan.Retain > 0 && s.lo < floor.hi {
			out = append(out, span{s.lo, floor.hi})
		}
	}
	return out
}

// headAtStart returns where the head may have been, under the n-th ID, when a visit began.
func (v *verdict) headAtStart(n int, visit *visit) span {
	e := &v.trial.epochs[n]
	live := span{visit.leastHead, v.start(e.order, len(e.order))}
	for _, s := range datalog.Streams {
		if i, ok := e.index[item{s, int32(visit.recordsBefore[s])}]; ok {
			live.hi = min(live.hi, v.start(e.order, i))
		}
	}
	return live
}

// afterLife returns what is known of a key when a life has ended: the position in collectors.json.
// It checks that the key has confirmed this position or begun there.
func (v *verdict) afterLife(w *Witness, mem memory, history []span, life int) (memory, error) {
	e := v.trial.ends[life]
	at, ok := e.remembered[w.key.Public().String()]
	for n := 0; n < v.epochIn(life); n++ { // the file may be from before a loss of power
		if under := v.trial.epochs[n]; at > under.cut && v.isOf(e.log, n) {
			at = under.cut
		}
	}
	if !v.trial.plan.Resume {
		return memory{none: true}, nil
	}
	within := func(spans []span) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return s.lo <= at && at <= s.hi })
	}
	switch {
	case !ok && !e.killed && !mem.none:
		return mem, fmt.Errorf("after a stop no position is saved, want one in %+v", mem)
	case !ok:
		return memory{none: true}, nil
	case !e.killed && !mem.none && (!within(mem.spans) || at < mem.least):
		return mem, fmt.Errorf("after a stop the position %d is saved, want one in %+v", at, mem)
	case !within(history) && w.part.Habit == Plain:
		return mem, fmt.Errorf("the position %d is saved, want one that was confirmed: %v",
			at, history)
	}
	return memory{spans: []span{{at, at}}, least: at}, nil
}

// isOf reports whether a file's ID of the frame log is one of the first n+1.
func (v *verdict) isOf(log string, n int) bool {
	return slices.ContainsFunc(v.trial.epochs[:n+1], func(e epoch) bool {
		return fmt.Sprintf("%x", e.id) == log
	})
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
