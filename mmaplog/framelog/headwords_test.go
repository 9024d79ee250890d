package framelog

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// headWords has the offsets of the words of a head page by name, including those of the first
// ancestor and an unused one.
var headWords = []struct {
	name string
	at   int
}{
	{"magic", 0}, {"version", 8}, {"ID", 16}, {"ID's end", 24}, {"check", 32}, {"boot", 40},
	{"boot's end", 48}, {"lost", 56},
	{"head", 64}, {"frames", 72}, {"marks", 80}, {"unused", 88}, {"floor", 128}, {"synced", 136},
	{"state", 144}, {"gone", 152},
	{"ancestor", 512}, {"ancestor's ID's end", 520}, {"ancestor's end", 528},
	{"lineage's check", 512 + 24*maxAncestors},
}

// TestHeadWords changes each word of the head to zero, to flipped bits, or to an old value. The log
// must open and serve exactly what verifies, and a kept ID must mean the same frames. Reading must
// go on after the newest frame that is left, and the next opening must have no finding.
func TestHeadWords(t *testing.T) {
	now, next := bootID{1}, bootID{2}
	for _, last := range []uint64{30, 150} { // before and after segments were retired
		for _, state := range []uint64{stateOpen, stateClean, stateLeft} {
			if state == stateLeft && last == 30 {
				continue // the word has this value after a close
			}
			if testing.Short() && state != stateOpen {
				continue
			}
			o := testOptions(memoryDir(t))
			o.boot = now
			var pages [][]byte // earlier contents of the head
			keep := func() []byte {
				page, err := os.ReadFile(filepath.Join(o.Dir, headName))
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, page)
				return page
			}
			w, _ := mustOpen(t, o)
			keep()
			for n := uint64(1); n <= last; n += 10 {
				appendNumbered(t, w, n, n+10)
				if n == 1 || n == last/2/10*10+1 {
					drain(w)
					keep()
				}
			}
			must(t, w.Close())
			page := keep()
			asHead(page).State.Store(state)
			head, id := asHead(page).Head.Load(), asHead(page).ID
			if floor := asHead(page).Floor.Load(); (floor > 0) != (last > 100) {
				t.Fatalf("the floor is %d", floor)
			}
			rng := rand.New(rand.NewPCG(last, state))
			for _, word := range headWords {
				values := map[string]uint64{"zero": 0, "all ones": 1<<64 - 1}
				is := binary.LittleEndian.Uint64(page[word.at:])
				for i, old := range pages {
					values[fmt.Sprint("old value ", i)] = binary.LittleEndian.Uint64(old[word.at:])
				}
				high, low := rng.IntN(64), rng.IntN(20) // the second flip keeps the value small
				values["one bit"], values["a low bit"] = is^1<<high, is^1<<low
				for what, value := range values {
					for _, boot := range []bootID{now, next} {
						if boot == next && word.at >= 512 {
							continue
						}
						bad := append([]byte(nil), page...)
						binary.LittleEndian.PutUint64(bad[word.at:], value)
						c := headCase{o: o, page: bad, head: head, id: id, last: last}
						c.o.boot = boot
						// After a crash of the machine the head may be old; the records are read again.
						c.mayEnd = boot == next && state != stateClean
						c.name = fmt.Sprintf("%d frames, state %d, boot %d: %s: %s", last, state, boot[0], word.name,
							what)
						c.check(t)
					}
				}
			}
		}
	}
}

type headCase struct {
	name   string
	o      Options
	page   []byte
	head   uint64
	id     ID
	last   uint64 // number of the newest frame
	mayEnd bool   // before it
}

func (c headCase) check(t *testing.T) {
	t.Helper()
	wrong := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s", c.name, fmt.Sprintf(format, args...))
	}
	from := c.o.Dir
	c.o.Dir += "-copy"
	if err := os.CopyFS(c.o.Dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.o.Dir, headName), c.page, fileMode); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(c.o.Dir)
	serves := func(w *Writer) (first, last uint64) {
		r, err := OpenReader(c.o.Dir)
		if err != nil {
			wrong("%v", err)
			return 0, 0
		}
		defer r.Close()
		if first, last, err = readNumbered(r, r.Floor(), 30_000); err != nil {
			wrong("%v", err)
		}
		if newest := lastNumber(w); last != 0 && newest != last {
			wrong("it serves up to %d, and reading goes on after %d", last, newest)
		}
		return first, last
	}
	w, rec, err := OpenWriter(c.o)
	if err != nil {
		wrong("%v", err)
		return
	}
	defer w.Close()
	if rec.ID == c.id && rec.Head != c.head {
		wrong("it goes on at %d under the ID that had got to %d", rec.Head, c.head)
	}
	if _, last := serves(w); last != c.last && !(c.mayEnd && last < c.last) {
		wrong("it serves up to %d of %d", last, c.last)
	}
	for _, a := range w.head.known().ancestors {
		if a.ID == c.id && a.End > rec.Head {
			wrong("the earlier ID counts up to %d, and the log ended at %d", a.End, rec.Head)
		}
	}
	if s := w.Stats(); s.Synced > s.Head || s.Frames != lastNumber(w) {
		wrong("%+v after frame %d", s, lastNumber(w))
	}
	n := lastNumber(w)
	appendNumbered(t, w, n+1, n+3)
	must(t, w.Close())
	c.o.boot = bootID{9}
	again, after, err := OpenWriter(c.o)
	if err != nil {
		wrong("opened again: %v", err)
		return
	}
	defer again.Close()
	if len(after.Damaged)+len(after.GivenUp) > 0 {
		wrong("opened again: %+v", after)
	}
	if _, last := serves(again); last != n+2 {
		wrong("opened again it serves up to %d of %d", last, n+2)
	}
}
