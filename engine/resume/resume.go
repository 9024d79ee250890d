package resume

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"distributor/engine/atomicfile"
	"distributor/mmaplog/crashpoint"
)

const (
	// SaveEvery is how often Save is meant to be called, and SaveFresh how soon
	// after a word from Fresh.
	SaveEvery = 2 * time.Second
	SaveFresh = 200 * time.Millisecond
	// maxKeys bounds what an open distributor (any key may connect) can be made
	// to remember: about 200 bytes each.
	maxKeys = 200_000

	fileName = "collectors.json"
)

// File is where the positions in dir are. It is synced before it gets its name: after a crash of the
// machine an older file costs repeats, but an empty one would have collectors begin live, and miss
// what came meanwhile.
func File(dir string) atomicfile.File {
	return atomicfile.File{Path: filepath.Join(dir, fileName), Points: crashpoint.CollectorsCreated}
}

// Store is the memory of one frame log's collectors.
type Store struct {
	file   atomicfile.File
	log    string // id of the frame log's life
	wall   func() time.Time
	passed func() time.Duration // since Open, whatever the wall clock was set to meanwhile
	began  int64                // the wall clock at Open, in Unix milliseconds
	fresh  chan struct{}        // see Fresh

	saving  sync.Mutex  // one writer of the file at a time
	mu      sync.Locker // guards what follows; Confirmed waits for it, so no hold does more than a chunk's work
	window  time.Duration
	known   table
	changed bool
	written int64 // how far the wall clock had been set when the file was written
}

// seen is what the file has of one collector.
type seen struct {
	Offset uint64 `json:"o"` // everything before it was confirmed
	At     int64  `json:"t"` // time of its last word, as Store.now has it; in the file, Unix milliseconds
}

type file struct {
	Log        string          `json:"frameLog"`
	Collectors map[string]seen `json:"collectors"`
}

// Open reads the file in dir. Offsets of another life of the log than the
// present one are what translate makes of them. The Store works without the
// file: an error says that what was remembered is lost, and why.
func Open(dir, log string, translate func(log string, offset uint64) uint64, window time.Duration) (*Store, error) {
	began := time.Now()
	return open(dir, log, translate, window, time.Now, func() time.Duration { return time.Since(began) })
}

func open(dir, log string, translate func(log string, offset uint64) uint64, window time.Duration, wall func() time.Time, passed func() time.Duration) (*Store, error) {
	s := &Store{
		file: File(dir), log: log, wall: wall, passed: passed, began: wall().UnixMilli() - passed().Milliseconds(),
		mu: &sync.Mutex{}, window: window, known: newTable(maxKeys), fresh: make(chan struct{}, 1),
	}
	b, err := os.ReadFile(s.file.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	var f file
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		return s, fmt.Errorf("resume: %s: the collectors' positions are lost, they start live: %w", s.file.Path, err)
	}
	for key, k := range f.Collectors {
		if f.Log != log {
			k.Offset = translate(f.Log, k.Offset)
			s.changed = true
		}
		k.At = min(k.At, s.now()) // the clock may have been set back while nothing ran
		f.Collectors[key] = k
	}
	keys := slices.SortedFunc(maps.Keys(f.Collectors), func(a, b string) int {
		return cmp.Compare(f.Collectors[a].At, f.Collectors[b].At)
	})
	for _, key := range keys { // the longest silent first: that is the order of the table
		s.known.put(key, f.Collectors[key])
	}
	s.forget()
	return s, nil
}

// SetWindow changes the window; 0 forgets everything and remembers nothing.
func (s *Store) SetWindow(window time.Duration) {
	s.mu.Lock()
	s.window = window
	s.mu.Unlock()
	s.forget()
}

// Confirmed notes that key has everything before offset, or begins there. An older offset than
// the one known is news too: the collector has chosen to begin there again.
func (s *Store) Confirmed(key string, offset uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.window <= 0 {
		return
	}
	was, known := s.known.get(key)
	// The file may have it as of long ago, so that its window ends before the next start.
	fresh := !known || s.now()-was.At > s.window.Milliseconds()/2
	s.known.put(key, seen{offset, s.now()})
	s.changed = true
	if fresh {
		select {
		case s.fresh <- struct{}{}:
		default: // one word is enough
		}
	}
}

// Fresh has a value when a collector has become known that the file does not
// have, or may soon count as over: a crash would have it begin live, where an older
// offset of one that the file has costs repeats only.
func (s *Store) Fresh() <-chan struct{} { return s.fresh }

// Offset tells where key goes on; ok is false for one that is not known, or
// was away for longer than the window.
func (s *Store) Offset(key string) (offset uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.known.get(key)
	if !ok || s.over(k) {
		return 0, false
	}
	return k.Offset, true
}

// Save writes the file if anything has changed since the last time. What is confirmed meanwhile may
// be in it or not: it is for the next one. What an error has kept from being saved is for the next
// one as well. A collector that Fresh has told of then waits for up to SaveEvery too: a file system
// that fails is not tried more often, and /is-healthy says what a crash would cost meanwhile.
func (s *Store) Save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	set := s.set()
	unchanged := !s.changed && set == s.written
	s.mu.Unlock()
	if unchanged {
		return nil
	}
	s.forget()
	s.mu.Lock()
	s.changed, s.written = false, set // before the first is copied: what comes from here on is news
	s.mu.Unlock()
	b, err := json.Marshal(file{s.log, s.onTheWall(set)})
	if err == nil {
		err = s.file.Write(b)
	}
	if err != nil {
		s.mu.Lock()
		s.changed = true
		s.mu.Unlock()
		return fmt.Errorf("resume: save the collectors' positions: %w", err)
	}
	return nil
}

// now is a time that goes on evenly: a wall clock that is set costs nobody its
// place, and gives nobody more time.
func (s *Store) now() int64 { return s.began + s.passed().Milliseconds() }

// set is by how much the wall clock was set since Open, in whole seconds: less
// than that is its being kept right.
func (s *Store) set() int64 {
	return (time.Duration(s.wall().UnixMilli()-s.now()) * time.Millisecond).Round(time.Second).Milliseconds()
}

// onTheWall is what is known with the times that the wall clock has for them now:
// the next process has nothing else to go by. One chunk is copied for each hold of the lock. Of a
// key that was dropped and came back in a chunk further on, the later stays.
func (s *Store) onTheWall(set int64) map[string]seen {
	shown := make(map[string]seen)
	var c chunk
	for n := 0; s.copyChunk(n, &c); n++ {
		for i := range c {
			if k := &c[i]; k.prev != unused {
				shown[k.key] = seen{k.Offset, k.At + set}
			}
		}
	}
	return shown
}

// copyChunk copies the n-th chunk, and tells whether there is one.
func (s *Store) copyChunk(n int, to *chunk) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == len(s.known.chunks) {
		return false
	}
	*to = *s.known.chunks[n]
	return true
}

func (s *Store) over(k seen) bool {
	return s.now()-k.At > s.window.Milliseconds()
}

// forget drops those whose window has passed, a chunk's worth for each hold of the lock.
func (s *Store) forget() {
	for s.forgetSome() {
	}
}

// forgetSome tells whether there may be more.
func (s *Store) forgetSome() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range chunkSlots {
		if k, any := s.known.oldest(); !any || !s.over(k) {
			return false
		}
		s.known.dropOldest()
		s.changed = true
	}
	return true
}
