package enginetest

import (
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
//	                  before what the primary surely knew; else as from=live
//
// One that was cut after it had read a part of what there was begins not far
// before the end of that part (progress).
//
// With a log that keeps little, what is said of a place holds of the floor if
// that is beyond it.
type verdict struct {
	trial       *Trial
	floor, head wsproto.Position // at the end

	order   []entryOf    // the chronicle
	index   map[item]int // where a record stands in order
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

// chronicle makes the order of what the first witness got: of each stream all
// records, once.
func (v *verdict) chronicle() error {
	var next [len(simulator.Streams)]int32
	at := v.trial.origin.Offset
	v.index = make(map[item]int)
	for c, visit := range v.trial.chronicle.visits {
		for i, it := range visit.items {
			if it.n != next[it.stream] {
				return fmt.Errorf("connection %d: record %d of %s, where %d was due", c+1, it.n, simulator.Streams[it.stream], next[it.stream])
			}
			next[it.stream]++
			at += uint64(visit.sizes[i])
			v.index[it] = len(v.order)
			v.order = append(v.order, entryOf{it, at})
		}
	}
	for i, n := range v.trial.book.Counts() {
		if int(next[i]) != n {
			return fmt.Errorf("%d records of %s, %d were written", next[i], simulator.Streams[i], n)
		}
	}
	if at != v.head.Offset {
		return fmt.Errorf("it ends at %d, the frame log at %d", at, v.head.Offset)
	}
	return nil
}

// kept judges how much the frame log holds at the end.
func (v *verdict) kept() error {
	p := v.trial.plan
	if p.Retain == 0 {
		if v.floor != v.trial.origin {
			return fmt.Errorf("the frame log began at %v and begins at %v now", v.trial.origin, v.floor)
		}
		return nil
	}
	holds := int64(v.head.Offset - v.floor.Offset)
	most := p.Retain + 2*int64(p.Settings["FRAME_LOG_SEGMENT_BYTES"].(int))
	if total := int64(v.head.Offset - v.trial.origin.Offset); holds > most || holds < min(total, p.Retain) {
		return fmt.Errorf("the frame log holds %d bytes of %d, it is to hold %d to %d", holds, total, p.Retain, most)
	}
	return nil
}

func (v *verdict) start(i int) uint64 {
	if i == 0 {
		return v.trial.origin.Offset
	}
	return v.order[i-1].end
}

// place finds where a visit began and ended, by its messages or its pings, and
// judges that its messages are a part of the order and its pings are true.
func (v *verdict) place(visit *visit) (begin, end uint64, known bool, err error) {
	first := 0
	if len(visit.items) > 0 {
		first = v.index[visit.items[0]]
		begin, known = v.start(first), true
		for i, it := range visit.items {
			if first+i >= len(v.order) || v.order[first+i].item != it {
				return 0, 0, false, fmt.Errorf("message %d is record %d of %s: not what comes there in the frame log", i, it.n, simulator.Streams[it.stream])
			}
		}
		end = v.order[first+len(visit.items)-1].end
	} else if len(visit.pings) > 0 {
		begin, known = visit.pings[0].at.Offset, true
		end = begin
	}
	for _, p := range visit.pings {
		want := wsproto.Position{Log: v.trial.origin.Log, Offset: begin}
		if p.after > 0 {
			want.Offset = v.order[first+p.after-1].end
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
	life := 0
	until := func(l int) (err error) {
		for ; life < l && err == nil; life++ {
			mem, err = v.after(w, mem, history, v.trial.ends[life])
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
			v.repeats += v.between(begin, min(had, end))
			if met && begin > had {
				v.missed += v.between(had, begin)
			}
			had, met = max(had, end), true
		}
		earlier := mem
		mem = memory{nothing: !v.trial.plan.Resume || seen.unsure, spans: slices.Clone(may)}
		for n, p := range seen.pings {
			mem.spans = append(mem.spans, span{p.at.Offset, p.at.Offset})
			if n < seen.sure {
				mem.sure = p.at.Offset
			}
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
	live := span{visit.reached, v.head.Offset}
	for stream, n := range visit.begun {
		if i, ok := v.index[item{uint8(stream), int32(n)}]; ok {
			live.hi = min(live.hi, v.start(i))
		}
	}
	floor := span{v.trial.origin.Offset, v.trial.origin.Offset}
	if keep := uint64(v.trial.plan.Retain); keep > 0 {
		floor.hi = max(floor.lo, live.hi-min(live.hi, keep))
		floor.lo = max(floor.lo, visit.reached-min(visit.reached, keep+2*uint64(v.trial.plan.Settings["FRAME_LOG_SEGMENT_BYTES"].(int))))
	}
	switch visit.from.Start {
	case wsproto.At:
		return []span{{visit.from.Position.Offset, visit.from.Position.Offset}}
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

// after is what is known of a key when a life has ended: what its file says,
// which must be something that the key has confirmed, or where it began.
func (v *verdict) after(w *Witness, mem memory, history []span, e ending) (memory, error) {
	at, ok := e.remembered[w.key.Public().String()]
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

// between counts the frames from one offset to another.
func (v *verdict) between(from, to uint64) (n int64) {
	for i := range v.order {
		if s := v.start(i); s >= from && v.order[i].end <= to {
			n++
		}
	}
	return n
}
