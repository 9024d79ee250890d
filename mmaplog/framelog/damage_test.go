package framelog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// madeLog is a closed log of frames 1 to 149, with the ends of all frames from the floor on, and
// its segments.
type madeLog struct {
	o     Options
	id    ID
	ends  []uint64 // of frames first, first+1, …
	first uint64   // number of the first frame that is kept
	head  uint64
	floor uint64
	pairs []pair
	mid   int // a segment in the middle, of many frames
}

func makeLog(t *testing.T) *madeLog {
	t.Helper()
	l := &madeLog{o: testOptions(t.TempDir())}
	l.o.RetainBytes = 6 * minSegmentBytes
	w, _ := mustOpen(t, l.o)
	appendNumbered(t, w, 1, 250)
	r := mustRead(t, l.o.Dir)
	first, last, err := readNumbered(r, r.Floor(), 1<<20)
	if err != nil || last != 249 || r.Floor() == 0 {
		t.Fatal(first, last, err)
	}
	l.first, l.id, l.head, l.floor = first, r.ID(), r.Head(), r.Floor()
	for at := l.floor; at < l.head; {
		end, err := r.FrameEnd(at + 1)
		if err != nil {
			t.Fatal(err)
		}
		l.ends = append(l.ends, end)
		at = end
	}
	w.Close()
	closeReader(t, r)
	l.o.boot = bootID{1} // as after a restart of the machine, so that everything is verified
	if l.pairs, err = listSegments(l.o.Dir); err != nil || len(l.pairs) < 5 {
		t.Fatal(l.pairs, err)
	}
	for l.mid = 1; ; l.mid++ {
		if _, count := l.inSegment(l.mid); count > 10 {
			break
		}
	}
	if l.mid+2 >= len(l.pairs) {
		t.Fatal("no such segment in the middle")
	}
	return l
}

func (l *madeLog) path(segment int, ext string) string {
	return segmentPath(l.o.Dir, l.pairs[segment].base, ext)
}

// inSegment returns the number of the first frame of a segment, and the number of its frames.
// Segment -1 is the last one.
func (l *madeLog) inSegment(i int) (first, count uint64) {
	limit := l.head
	if i+1 < len(l.pairs) {
		limit = l.pairs[i+1].base
	}
	start := l.floor
	for k, end := range l.ends {
		if start >= l.pairs[i].base && start < limit {
			if count == 0 {
				first = l.first + uint64(k)
			}
			count++
		}
		start = end
	}
	return first, count
}

func (l *madeLog) startOf(n uint64) uint64 {
	if n == l.first {
		return l.floor
	}
	return l.ends[n-l.first-1]
}

// change applies f to the content of a file.
func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(content), fileMode); err != nil {
		t.Fatal(err)
	}
}

func flip(at int64) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 0x10; return b }
}

func truncated(to int64) func([]byte) []byte { return func(b []byte) []byte { return b[:to] } }

// TestDamage checks the outcome of every kind of damage: which frames are served afterwards, and
// under which ID.
func TestDamage(t *testing.T) {
	type outcome struct {
		first, last      uint64 // frames served; first 0: none
		newID            bool
		damaged, givenUp bool
		trusted          bool
	}
	open := func(t *testing.T, l *madeLog) { // as a killed writer leaves it
		change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
			asHead(b).State.Store(stateOpen)
			return b
		})
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, l *madeLog) outcome
	}{
		{"nothing", func(t *testing.T, l *madeLog) outcome {
			return outcome{first: l.first, last: 249}
		}},
		{"frame in the middle", func(t *testing.T, l *madeLog) outcome {
			n, _ := l.inSegment(l.mid)
			change(t, l.path(l.mid, framesExt), flip(int64(l.startOf(n+3)-l.pairs[l.mid].base)+20))
			return outcome{first: n + 4, last: 249, damaged: true}
		}},
		{"entry's end in the middle", func(t *testing.T, l *madeLog) outcome {
			n, _ := l.inSegment(l.mid)
			change(t, l.path(l.mid, indexExt), flip(pageSize+3*entrySize))
			// the beginning of the next frame is lost too
			return outcome{first: n + 5, last: 249, damaged: true}
		}},
		{"entry's end in the middle, wildly", func(t *testing.T, l *madeLog) outcome {
			n, _ := l.inSegment(l.mid)
			change(t, l.path(l.mid, indexExt), flip(pageSize+3*entrySize+6))
			return outcome{first: n + 5, last: 249, damaged: true}
		}},
		{"entry's source in the middle", func(t *testing.T, l *madeLog) outcome {
			n, _ := l.inSegment(l.mid)
			change(t, l.path(l.mid, indexExt), flip(pageSize+3*entrySize+30))
			return outcome{first: n + 4, last: 249, damaged: true}
		}},
		{"entries zeroed in the middle", func(t *testing.T, l *madeLog) outcome {
			n, _ := l.inSegment(l.mid)
			change(t, l.path(l.mid, indexExt), func(b []byte) []byte {
				clear(b[pageSize+3*entrySize : pageSize+6*entrySize])
				return b
			})
			return outcome{first: n + 7, last: 249, damaged: true}
		}},
		{"last frame", func(t *testing.T, l *madeLog) outcome {
			last := len(l.pairs) - 1
			change(t, l.path(last, framesExt), flip(int64(l.head-l.pairs[last].base)-1))
			return outcome{first: l.first, last: 248, newID: true, givenUp: true}
		}},
		{"last entry's end", func(t *testing.T, l *madeLog) outcome {
			last := len(l.pairs) - 1
			_, count := l.inSegment(last)
			change(t, l.path(last, indexExt), flip(pageSize+int64(count-1)*entrySize))
			return outcome{first: l.first, last: 248, newID: true}
		}},
		{"index header in the middle", func(t *testing.T, l *madeLog) outcome {
			n, _ := l.inSegment(l.mid + 1)
			change(t, l.path(l.mid, indexExt), flip(20))
			return outcome{first: n, last: 249, damaged: true}
		}},
		{"sources in the header of the last segment", func(t *testing.T, l *madeLog) outcome {
			last := len(l.pairs) - 1
			n, _ := l.inSegment(last)
			change(t, l.path(last, indexExt), flip(200))
			return outcome{first: l.first, last: n - 1, newID: true, givenUp: true}
		}},
		{"sealed end in the middle", func(t *testing.T, l *madeLog) outcome {
			change(t, l.path(l.mid, indexExt), flip(64))
			return outcome{first: l.first, last: 249} // repaired from the next segment's name
		}},
		{"frames file truncated", func(t *testing.T, l *madeLog) outcome {
			n, count := l.inSegment(l.mid)
			change(t, l.path(l.mid, framesExt), truncated(int64(l.startOf(n+count-1)-l.pairs[l.mid].base)+5))
			return outcome{first: n + count, last: 249, damaged: true}
		}},
		{"frames file empty", func(t *testing.T, l *madeLog) outcome {
			n, count := l.inSegment(l.mid)
			change(t, l.path(l.mid, framesExt), truncated(0))
			return outcome{first: n + count, last: 249, damaged: true}
		}},
		{"index file truncated", func(t *testing.T, l *madeLog) outcome {
			n, count := l.inSegment(l.mid)
			change(t, l.path(l.mid, indexExt), truncated(pageSize+2*entrySize))
			return outcome{first: n + count, last: 249, damaged: true}
		}},
		{"index file empty", func(t *testing.T, l *madeLog) outcome {
			n, count := l.inSegment(l.mid)
			change(t, l.path(l.mid, indexExt), truncated(0))
			return outcome{first: n + count, last: 249, damaged: true}
		}},
		{"last frames file truncated", func(t *testing.T, l *madeLog) outcome {
			last := len(l.pairs) - 1
			n, _ := l.inSegment(last)
			change(t, l.path(last, framesExt), truncated(int64(l.startOf(n+2)-l.pairs[last].base)+5))
			return outcome{first: l.first, last: n + 1, newID: true, givenUp: true}
		}},
		{"segment missing in the middle", func(t *testing.T, l *madeLog) outcome {
			n, count := l.inSegment(l.mid)
			os.Remove(l.path(l.mid, indexExt))
			os.Remove(l.path(l.mid, framesExt))
			return outcome{first: n + count, last: 249, damaged: true}
		}},
		{"first segment missing", func(t *testing.T, l *madeLog) outcome {
			n, _ := l.inSegment(1)
			os.Remove(l.path(0, indexExt))
			os.Remove(l.path(0, framesExt))
			return outcome{first: n, last: 249, damaged: true}
		}},
		{"index missing in the middle", func(t *testing.T, l *madeLog) outcome {
			n, count := l.inSegment(l.mid)
			os.Remove(l.path(l.mid, indexExt))
			return outcome{first: n + count, last: 249, damaged: true}
		}},
		{"last segment missing", func(t *testing.T, l *madeLog) outcome {
			last := len(l.pairs) - 1
			n, _ := l.inSegment(last)
			os.Remove(l.path(last, indexExt))
			os.Remove(l.path(last, framesExt))
			return outcome{first: l.first, last: n - 1, newID: true}
		}},
		{"all segments missing", func(t *testing.T, l *madeLog) outcome {
			for i := range l.pairs {
				os.Remove(l.path(i, indexExt))
				os.Remove(l.path(i, framesExt))
			}
			return outcome{newID: true}
		}},
		{"segment of nowhere", func(t *testing.T, l *madeLog) outcome {
			os.WriteFile(segmentPath(l.o.Dir, l.head+5000, framesExt), []byte("?"), fileMode)
			os.WriteFile(segmentPath(l.o.Dir, l.head+6000, indexExt), []byte("?"), fileMode)
			return outcome{first: l.first, last: 249}
		}},
		{"head missing", func(t *testing.T, l *madeLog) outcome {
			os.Remove(filepath.Join(l.o.Dir, headName))
			return outcome{first: l.first, last: 249, newID: true}
		}},
		{"head truncated", func(t *testing.T, l *madeLog) outcome {
			change(t, filepath.Join(l.o.Dir, headName), truncated(100))
			return outcome{first: l.first, last: 249, newID: true}
		}},
		{"head of garbage", func(t *testing.T, l *madeLog) outcome {
			change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
				for i := range b {
					b[i] = byte(i*7 + 1)
				}
				return b
			})
			return outcome{first: l.first, last: 249, newID: true}
		}},
		{"ID in the head", func(t *testing.T, l *madeLog) outcome {
			change(t, filepath.Join(l.o.Dir, headName), flip(20))
			return outcome{first: l.first, last: 249, newID: true}
		}},
		{"head offset too low, inside of a frame", func(t *testing.T, l *madeLog) outcome {
			change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
				asHead(b).Head.Store(l.ends[9] + 1)
				return b
			})
			return outcome{first: l.first, last: 249} // repaired from the count of frames
		}},
		{"head offset too high", func(t *testing.T, l *madeLog) outcome {
			change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
				asHead(b).Head.Store(l.head + 77777)
				return b
			})
			return outcome{first: l.first, last: 249, newID: true}
		}},
		{"floor too high", func(t *testing.T, l *madeLog) outcome {
			change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
				asHead(b).Floor.Store(l.head + 1)
				return b
			})
			return outcome{first: l.first, last: 249}
		}},
		{"floor inside of a frame", func(t *testing.T, l *madeLog) outcome {
			change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
				asHead(b).Floor.Store(l.ends[9] + 1)
				return b
			})
			return outcome{first: l.first + 11, last: 249, damaged: true}
		}},
		{"recovery interrupted after the ID was given up", func(t *testing.T, l *madeLog) outcome {
			change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
				asHead(b).State.Store(stateGone)
				asHead(b).Floor.Store(goneFloor)
				return b
			})
			return outcome{first: l.first, last: 249, newID: true}
		}},
		{"machine went down, all was on disk", func(t *testing.T, l *madeLog) outcome {
			open(t, l)
			return outcome{first: l.first, last: 249, newID: true}
		}},
		{"not verified", func(t *testing.T, l *madeLog) outcome {
			l.o.boot = bootID{}
			return outcome{first: l.first, last: 249, trusted: true}
		}},
		{"machine went down, a page was not on disk", func(t *testing.T, l *madeLog) outcome {
			open(t, l)
			last := len(l.pairs) - 1
			n, _ := l.inSegment(last)
			change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
				asHead(b).Synced.Store(l.pairs[last].base)
				return b
			})
			from := int64(l.startOf(n+2) - l.pairs[last].base)
			change(t, l.path(last, framesExt), func(b []byte) []byte { clear(b[from : from+24]); return b })
			return outcome{first: l.first, last: n + 1, newID: true, givenUp: true}
		}},
		{"machine went down, damage below what was synced", func(t *testing.T, l *madeLog) outcome {
			open(t, l)
			n, _ := l.inSegment(l.mid)
			change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
				asHead(b).Synced.Store(l.pairs[l.mid+1].base)
				return b
			})
			change(t, l.path(l.mid, framesExt), flip(int64(l.startOf(n+3)-l.pairs[l.mid].base)+20))
			return outcome{first: n + 4, last: 249, newID: true, damaged: true}
		}},
		{"machine went down, the head on disk is old", func(t *testing.T, l *madeLog) outcome {
			open(t, l)
			n, _ := l.inSegment(l.mid)
			change(t, filepath.Join(l.o.Dir, headName), func(b []byte) []byte {
				asHead(b).Head.Store(l.startOf(n + 3))
				asHead(b).Frames.Store(n + 2)
				asHead(b).Synced.Store(l.pairs[l.mid].base)
				return b
			})
			return outcome{first: l.first, last: n + 2, newID: true}
		}},
		{"all frames zeroed", func(t *testing.T, l *madeLog) outcome {
			for i := range l.pairs {
				change(t, l.path(i, framesExt), func(b []byte) []byte { clear(b); return b })
			}
			return outcome{newID: true, givenUp: true}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := makeLog(t)
			want := c.do(t, l)
			w, rec := mustOpen(t, l.o)
			if (rec.NewID != "") != want.newID || (w.ID() != l.id) != want.newID {
				t.Errorf("new ID: %q", rec.NewID)
			}
			if (len(rec.Damaged) > 0) != want.damaged || (len(rec.GivenUp) > 0) != want.givenUp {
				t.Errorf("damaged %v, given up %v", rec.Damaged, rec.GivenUp)
			}
			if s := w.Stats(); s.Synced > s.Head {
				t.Errorf("synced %d, and the log ends at %d", s.Synced, s.Head)
			}
			r := mustRead(t, l.o.Dir)
			first, last, err := readNumbered(r, r.Floor(), 30_000)
			if err != nil || first != want.first || last != want.last {
				t.Fatalf("serves frames %d to %d, want %d to %d: %v", first, last, want.first, want.last, err)
			}
			verified := rec.Frames == last-first+1 && rec.Bytes == rec.Head-rec.Floor
			if first != 0 && (lastNumber(w) != last || rec.Trusted != want.trusted ||
				verified == want.trusted) {
				t.Errorf("last source %d, recovery %+v", lastNumber(w), rec)
			}
			if first != 0 && !want.newID && rec.Head != l.head {
				t.Errorf("head %d, was %d", rec.Head, l.head)
			}
			// The log can be appended to, and opens again without a finding.
			appendNumbered(t, w, last+1, last+80)
			if _, newest, err := readNumbered(r, r.Floor(), 30_000); err != nil || newest != last+79 {
				t.Fatalf("then serves up to %d: %v", newest, err)
			}
			id, head, floor := w.ID(), w.Head(), w.Floor()
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			mustHoldOnlySegments(t, l.o.Dir)
			_, rec = mustOpen(t, l.o)
			if rec.ID != id || rec.Head != head || rec.Floor != floor ||
				len(rec.Damaged)+len(rec.GivenUp) > 0 {
				t.Errorf("opened again: %+v", rec)
			}
		})
	}
}

// TestReaderOfAnOldIDFails checks that a reader that was open during a recovery which gave up
// committed frames gets an error.
func TestReaderOfAnOldIDFails(t *testing.T) {
	l := makeLog(t)
	r := mustRead(t, l.o.Dir)
	if _, err := r.Frames(l.floor, 5000); err != nil {
		t.Fatal(err)
	}
	last := len(l.pairs) - 1
	change(t, l.path(last, framesExt), flip(int64(l.head-l.pairs[last].base)-1))
	mustOpen(t, l.o)
	for _, from := range []uint64{l.floor, r.Head()} {
		if _, err := r.Frames(from, 5000); !errors.Is(err, ErrReplaced) {
			t.Errorf("Frames(%d): %v", from, err)
		}
		if _, err := r.FrameEnd(from); !errors.Is(err, ErrReplaced) {
			t.Errorf("FrameEnd(%d): %v", from, err)
		}
	}
}

// otherVersion changes the format version in a head or an index, with its check, because the
// version alone would be damage.
func otherVersion(b []byte) []byte {
	b[8]++
	if h := asHead(b); h.Magic == headMagic {
		h.Check = h.check()
	} else {
		asHeader(b).Check = asHeader(b).check()
	}
	return b
}

func TestOtherVersionIsRefused(t *testing.T) {
	for _, file := range []func(l *madeLog) string{
		func(l *madeLog) string { return filepath.Join(l.o.Dir, headName) },
		func(l *madeLog) string { return l.path(1, indexExt) },
	} {
		l := makeLog(t)
		path := file(l)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		change(t, path, otherVersion)
		for range 2 {
			if _, _, err := OpenWriter(l.o); !errors.Is(err, ErrVersion) {
				t.Fatalf("%s: %v", path, err)
			}
		}
		change(t, path, func([]byte) []byte { return before })
		if _, rec := mustOpen(t, l.o); rec.NewID != "" || rec.Head != l.head {
			t.Fatalf("something was changed: %+v", rec)
		}
	}
}

// TestTruncatedUnderTheReader checks that a file that is truncated while it is mapped causes an
// error and does not end the process.
func TestTruncatedUnderTheReader(t *testing.T) {
	l := makeLog(t)
	r := mustRead(t, l.o.Dir)
	from := l.pairs[1].base
	for _, at := range []uint64{from, l.pairs[2].base} {
		if _, err := r.Frames(at, 5000); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(l.path(1, indexExt), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Frames(from, 6000); !errors.Is(err, ErrDamaged) {
		t.Errorf("Frames: %v", err)
	}
	if _, err := r.FrameEnd(from + 1); !errors.Is(err, ErrDamaged) {
		t.Errorf("FrameEnd: %v", err)
	}
	if _, err := r.Meta(from + 1); !errors.Is(err, ErrDamaged) {
		t.Errorf("Meta: %v", err)
	}
	if _, err := r.Frames(l.pairs[2].base, 6000); err != nil {
		t.Errorf("another segment: %v", err)
	}
}

func TestDamageNamesFileAndOffset(t *testing.T) {
	l := makeLog(t)
	n, _ := l.inSegment(l.mid)
	start, end := l.startOf(n+3), l.ends[n+3-l.first]
	change(t, l.path(l.mid, framesExt), flip(int64(start-l.pairs[l.mid].base)))
	_, rec := mustOpen(t, l.o)
	want := Damage{File: filepath.Base(l.path(l.mid, framesExt)), Start: start, End: end,
		What: mismatch}
	if len(rec.Damaged) != 1 || rec.Damaged[0] != want {
		t.Errorf("%v, want %v", rec.Damaged, want)
	}
}
