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
	// SaveEvery is how often Save should be called, and SaveFresh how soon after a value from Fresh.
	SaveEvery = 2 * time.Second
	SaveFresh = 200 * time.Millisecond
	// maxKeys is how many keys are remembered, at about 200 bytes each. The limit protects an open
	// distributor, to which any key may connect.
	maxKeys = 200_000

	fileName = "collectors.json"
)

// File returns the file of the positions in dir. The file is synced before it gets its name: after
// a crash of the machine an older file costs repeats, but an empty file would make collectors start
// live and miss records.
func File(dir string) atomicfile.File {
	return atomicfile.File{Path: filepath.Join(dir, fileName), Points: crashpoint.CollectorsCreated}
}

// Store remembers the collectors of one frame log.
type Store struct {
	file   atomicfile.File
	log    string // id of the frame log
	wall   func() time.Time
	passed func() time.Duration // since Open, unaffected by setting the wall clock
	began  int64                // the wall clock at Open, in Unix milliseconds
	fresh  chan struct{}        // see Fresh

	saving sync.Mutex // held while the file is written
	// guards what follows; held for at most one chunk's work, because Confirmed waits for it
	mu      sync.Locker
	window  time.Duration
	known   table
	changed bool
	written int64 // result of set when the file was written
}

// seen is the entry of one collector.
type seen struct {
	Offset uint64 `json:"o"` // everything before this offset is confirmed
	// time of its last sign, in the time of Store.now; in the file, Unix milliseconds
	At int64 `json:"t"`
}

type file struct {
	Log        string          `json:"frameLog"`
	Collectors map[string]seen `json:"collectors"`
}

// Open reads the file in dir. It passes offsets under another id of the frame log through
// translate. The Store works without the file: an error says that the remembered positions are
// lost, and why.
func Open(dir, log string, translate func(log string, offset uint64) uint64,
	window time.Duration) (*Store, error) {
	began := time.Now()
	return open(dir, log, translate, window, time.Now, func() time.Duration {
		return time.Since(began)
	})
}

func open(dir, log string, translate func(log string, offset uint64) uint64,
	window time.Duration, wall func() time.Time, passed func() time.Duration) (*Store, error) {
	s := &Store{
		file: File(dir), log: log, wall: wall, passed: passed,
		began: wall().UnixMilli() - passed().Milliseconds(),
		mu:    &sync.Mutex{}, window: window, known: newTable(maxKeys), fresh: make(chan struct{}, 1),
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
		return s, fmt.Errorf("resume: %s: the collectors' positions are lost, they start live: %w",
			s.file.Path, err)
	}
	for key, k := range f.Collectors {
		if f.Log != log {
			k.Offset = translate(f.Log, k.Offset)
			s.changed = true
		}
		k.At = min(k.At, s.now()) // the clock may have been set back while no process ran
		f.Collectors[key] = k
	}
	keys := slices.SortedFunc(maps.Keys(f.Collectors), func(a, b string) int {
		return cmp.Compare(f.Collectors[a].At, f.Collectors[b].At)
	})
	for _, key := range keys { // the key that was silent for longest first, as in the table
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

// Confirmed records that key has everything before offset, or begins there. An offset older than
// the known one replaces it too: the collector has chosen to begin there again.
func (s *Store) Confirmed(key string, offset uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.window <= 0 {
		return
	}
	was, known := s.known.get(key)
	// The file may have an old time for this key, so that its window ends before the next start.
	fresh := !known || s.now()-was.At > s.window.Milliseconds()/2
	s.known.put(key, seen{offset, s.now()})
	s.changed = true
	if fresh {
		select {
		case s.fresh <- struct{}{}:
		default: // one value is enough
		}
	}
}

// Fresh receives a value when a collector has become known that the file does not have, or whose
// window in the file may soon have passed. A crash would make such a collector start live. For a
// collector that the file has, an older offset only costs repeats.
func (s *Store) Fresh() <-chan struct{} { return s.fresh }

// Offset returns where key continues. ok is false if key is not known or was away for longer than
// the window.
func (s *Store) Offset(key string) (offset uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.known.get(key)
	if !ok || s.over(k) {
		return 0, false
	}
	return k.Offset, true
}

// Save writes the file if anything has changed since the last time. A position that is confirmed
// meanwhile may be in this file or in the next one. After an error the next Save tries again. Then
// a collector that Fresh has reported waits for up to SaveEvery too: Save does not try a failing
// file system more often, and /is-healthy says what a crash would cost meanwhile.
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
	// before the first chunk is copied: later changes are for the next Save
	s.changed, s.written = false, set
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

// now returns a time that advances evenly: setting the wall clock makes no key expire earlier or
// later.
func (s *Store) now() int64 { return s.began + s.passed().Milliseconds() }

// set returns by how much the wall clock was set since Open, rounded to whole seconds: smaller
// differences are normal corrections of the clock.
func (s *Store) set() int64 {
	return (time.Duration(s.wall().UnixMilli()-s.now()) * time.Millisecond).Round(
		time.Second).Milliseconds()
}

// onTheWall returns the known keys with times of the present wall clock, because the next process
// has no other clock to compare with. It holds the lock for one chunk at a time. If a key was
// dropped and returned in a later chunk, the later entry wins.
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

// copyChunk copies the n-th chunk, and reports whether it exists.
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

// forget drops the keys whose window has passed. It holds the lock for one chunk at a time.
func (s *Store) forget() {
	for s.forgetSome() {
	}
}

// forgetSome drops up to a chunk of keys, and reports whether there may be more.
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
