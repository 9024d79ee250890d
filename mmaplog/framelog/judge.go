package framelog

import "fmt"

// stretch is a part of the log that is good as a whole, or bad as a whole.
type stretch struct {
	start, end uint64
	bad        string // why it is bad; empty: it is good
	base       uint64 // of its segment
}

// Damage is a part of the log that was committed and is no longer served.
type Damage struct {
	File       string // name of the frames file it belongs to; this file may be missing
	Start, End uint64 // logical offsets
	What       string
}

func (d Damage) String() string {
	return fmt.Sprintf("%s: offsets %d to %d: %s", d.File, d.Start, d.End, d.What)
}

const mismatch = "frames and index do not match, or are missing"

// stretches joins the results of verification into one gapless sequence. It begins at the floor and
// goes to the end, if the end is known.
func stretches(segments []*scanned, e expected) []stretch {
	var all []stretch
	at := e.floor
	add := func(base, to uint64, bad string) {
		if to <= at {
			return
		}
		if n := len(all); n > 0 && all[n-1].base == base && (all[n-1].bad == "") == (bad == "") {
			all[n-1].end = to
		} else {
			all = append(all, stretch{at, to, bad, base})
		}
		at = to
	}
	for _, s := range segments {
		if s.limit <= e.floor {
			continue
		}
		add(s.base, s.base, "segment is missing")
		if s.problem != nil {
			end := s.limit
			if end == unknown {
				end = at + 1 // the length is unknown, and the part is cut anyway
			}
			add(s.base, end, s.problem.Error())
			continue
		}
		for _, r := range s.runs {
			add(s.base, r.end, r.bad)
		}
	}
	if e.end != unknown {
		add(e.end, e.end, "segment is missing")
	}
	return all
}

// verdict says which part of a log is served.
type verdict struct {
	head, floor uint64
	cut         []Damage // committed, and given up at the end
	damaged     []Damage // below the new floor
}

// judge decides what is served. A bad place below the durable offset is damage: the floor rises
// above it. The log ends before a bad place above the durable offset, and before bad places at the
// very end.
func judge(all []stretch, e expected) verdict {
	v := verdict{floor: e.floor, head: e.floor}
	keep := 0
	for keep < len(all) && (all[keep].bad == "" || all[keep].end <= e.durable) {
		keep++
	}
	for keep > 0 && all[keep-1].bad != "" {
		keep--
	}
	for i, s := range all {
		if i < keep {
			v.head = s.end
		}
		if s.bad == "" {
			if i >= keep {
				v.cut = append(v.cut, s.damage("comes after a place that is not on disk"))
			}
			continue
		}
		if i < keep {
			v.floor = s.end
			v.damaged = append(v.damaged, s.damage(s.bad))
		} else {
			v.cut = append(v.cut, s.damage(s.bad))
		}
	}
	return v
}

func (s stretch) damage(what string) Damage {
	return Damage{
		File: fmt.Sprintf("%016x%s", s.base, framesExt), Start: s.start, End: s.end, What: what,
	}
}
