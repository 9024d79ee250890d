package resume

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// holds counts how often the lock of a Store is held, and the most keys that are dropped under one
// hold.
type holds struct {
	sync.Mutex
	s             *Store
	times, before int
	dropped       int
}

func (h *holds) Lock() {
	h.Mutex.Lock()
	h.times++
	h.before = len(h.s.known.index)
}

func (h *holds) Unlock() {
	h.dropped = max(h.dropped, h.before-len(h.s.known.index))
	h.Mutex.Unlock()
}

// The time that Confirmed may have to wait does not grow with the number of keys.
func TestHolds(t *testing.T) {
	c := &clock{at: time.Now().Truncate(time.Millisecond)}
	s := mustOpen(t, t.TempDir(), "life", c)
	const keys = 20 * chunkSlots
	s.known.most = keys
	for i := range keys {
		s.Confirmed(fmt.Sprint(i), uint64(i))
	}
	h := &holds{s: s}
	s.mu = h
	if s.Confirmed("one more", 1); h.times != 1 || len(s.known.index) != keys {
		t.Errorf("to make room for one, %d holds and %d of %d keys", h.times, len(s.known.index), keys)
	}
	h.times = 0
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	if h.times < keys/chunkSlots {
		t.Errorf("%d chunks are copied in %d holds", keys/chunkSlots, h.times)
	}
	c.at = c.at.Add(2 * time.Minute)
	s.Confirmed("0", 1) // so that there is something to save
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	if h.dropped > chunkSlots || len(s.known.index) != 1 {
		t.Errorf("%d keys are dropped in one hold, %d are left", h.dropped, len(s.known.index))
	}
	for i := range keys {
		s.Confirmed(fmt.Sprint(i), uint64(i))
	}
	if n := len(s.known.chunks); n != keys/chunkSlots {
		t.Errorf("%d chunks for %d keys: what was dropped takes room", n, keys)
	}
	c.at = c.at.Add(time.Second)
	if s.SetWindow(time.Millisecond); h.dropped > chunkSlots || len(s.known.index) != 0 {
		t.Errorf("a new window drops %d keys in one hold, %d are left", h.dropped, len(s.known.index))
	}
}

// At every step a Store equals a plain list of the last signs, whatever a save does meanwhile. For
// each key that was known all the while, the file has a position that the key had meanwhile.
func TestModel(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 10))
	var passed atomic.Int64
	began := time.Now().Truncate(time.Millisecond)
	dir := t.TempDir()
	reopen := func() *Store {
		since := passed.Load()
		s, err := open(dir, "life", translate, time.Minute, func() time.Time {
			return began.Add(time.Duration(passed.Load()))
		},
			func() time.Duration { return time.Duration(passed.Load() - since) })
		if err != nil {
			t.Fatal(err)
		}
		s.known.most = 2 * chunkSlots
		return s
	}
	s := reopen()
	var model []word // the last word at the end
	find := func(key string) int {
		for i := range model {
			if model[i].key == key {
				return i
			}
		}
		return -1
	}
	step := uint64(0)
	for round := range 8 {
		s.Confirmed("begin", 1) // so that there is something to save
		model = append(without(model, "begin"), word{"begin", 1, passed.Load()})
		model = model[max(0, len(model)-s.known.most):]
		known := make(map[string]uint64, len(model))
		for _, w := range model {
			known[w.key] = w.offset
		}
		done := make(chan error, 1)
		go func() { done <- s.Save() }()
		for range 1500 {
			step++
			key := fmt.Sprint(random.IntN(3000))
			switch random.IntN(8) {
			case 0:
				passed.Add(int64(5 * time.Millisecond))
			case 1:
				i, window := find(key), int64(time.Minute)
				want := i >= 0 && passed.Load()-model[i].at <= window
				if got, ok := s.Offset(key); ok != want || ok && got != model[i].offset {
					t.Fatalf("round %d: %s is at %d, %v; known: %v", round, key, got, ok, want)
				}
			default:
				if i := find(key); i >= 0 && passed.Load()-model[i].at > int64(time.Minute) {
					delete(known, key) // it is new: the save may have dropped the old one
				}
				s.Confirmed(key, step)
				model = append(without(model, key), word{key, step, passed.Load()})
				if len(model) > s.known.most {
					delete(known, model[0].key)
					model = model[1:]
				}
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, fileName))
		if err != nil {
			t.Fatal(err)
		}
		var f file
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		for _, w := range model {
			was, all := known[w.key]
			if !all || passed.Load()-w.at > int64(time.Minute) {
				continue
			}
			if k, ok := f.Collectors[w.key]; !ok || k.Offset < was || k.Offset > w.offset {
				t.Fatalf("round %d: %s went from %d to %d, the file has %d, %v", round, w.key, was, w.offset,
					k.Offset, ok)
			}
		}
		if err := s.Save(); err != nil { // has what came meanwhile
			t.Fatal(err)
		}
		if round%2 == 1 {
			s = reopen()
		}
		if round%3 == 2 {
			passed.Add(int64(59 * time.Second))
		}
		s.SetWindow(time.Minute) // forgets
		for len(model) > 0 && passed.Load()-model[0].at > int64(time.Minute) {
			model = model[1:]
		}
		if len(s.known.index) != len(model) {
			t.Fatalf("round %d: %d keys, not %d", round, len(s.known.index), len(model))
		}
		for _, w := range model {
			s.want(t, w.key, w.offset, true)
		}
	}
}

// word is the last sign of a key.
type word struct {
	key    string
	offset uint64
	at     int64
}

func without(words []word, key string) []word {
	for i := range words {
		if words[i].key == key {
			return append(words[:i:i], words[i+1:]...)
		}
	}
	return words
}

// meanwhile calls do once, after the n-th release of the lock.
type meanwhile struct {
	sync.Mutex
	n  int
	do func()
}

func (m *meanwhile) Unlock() {
	m.Mutex.Unlock()
	if m.n--; m.n == 0 {
		m.do()
	}
}

// A position confirmed at any moment of a save is in that file or in the next one.
func TestConfirmedWhileSaving(t *testing.T) {
	c := &clock{at: time.Now().Truncate(time.Millisecond)}
	for n, during := 1, true; during; n++ { // until one save has fewer holds than n
		dir := t.TempDir()
		s := mustOpen(t, dir, "life", c)
		s.Confirmed("a", 1)
		during = false
		s.mu = &meanwhile{n: n, do: func() {
			during = true
			s.Confirmed("a", 2)
			s.Confirmed("b", 3)
		}}
		for range 2 {
			if err := s.Save(); err != nil {
				t.Fatal(err)
			}
			if !during {
				return
			}
		}
		s = mustOpen(t, dir, "life", c)
		s.want(t, "a", 2, true)
		s.want(t, "b", 3, true)
	}
}
