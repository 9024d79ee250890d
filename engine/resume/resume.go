package resume

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"distributor/mmaplog/crashpoint"
)

const (
	// SaveEvery is how often Save is meant to be called.
	SaveEvery = 2 * time.Second
	// maxKeys bounds what an open distributor (any key may connect) can be made
	// to remember: about 200 bytes each.
	maxKeys = 200_000

	fileName = "collectors.json"
)

// Store is the memory of one frame log's collectors.
type Store struct {
	path string
	log  string // id of the frame log's life
	now  func() time.Time

	saving  sync.Mutex // one writer of the file at a time
	mu      sync.Mutex // guards what follows
	window  time.Duration
	seen    map[string]seen
	changed bool
}

// seen is what is known of one collector.
type seen struct {
	Offset uint64 `json:"o"` // everything before it was confirmed
	At     int64  `json:"t"` // Unix milliseconds of its last word
}

type file struct {
	Log        string          `json:"frameLog"`
	Collectors map[string]seen `json:"collectors"`
}

// Open reads the file in dir. The Store works without it: an error says that
// what was remembered is lost, and why.
func Open(dir, log string, window time.Duration) (*Store, error) {
	s := &Store{path: filepath.Join(dir, fileName), log: log, now: time.Now, window: window, seen: make(map[string]seen)}
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	var f file
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		return s, fmt.Errorf("resume: %s: the collectors' positions are lost, they start live: %w", s.path, err)
	}
	if f.Log == log && f.Collectors != nil {
		s.seen = f.Collectors
	}
	s.forget()
	return s, nil
}

// SetWindow changes the window; 0 forgets everything and remembers nothing.
func (s *Store) SetWindow(window time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window = window
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
	if _, known := s.seen[key]; !known && len(s.seen) >= maxKeys {
		s.makeRoom()
	}
	s.seen[key] = seen{offset, s.now().UnixMilli()}
	s.changed = true
}

// Offset tells where key goes on; ok is false for one that is not known, or
// was away for longer than the window.
func (s *Store) Offset(key string) (offset uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.seen[key]
	if !ok || s.over(k) {
		return 0, false
	}
	return k.Offset, true
}

// Save writes the file if anything has changed since the last time.
func (s *Store) Save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	if !s.changed {
		s.mu.Unlock()
		return nil
	}
	s.forget()
	b, err := json.Marshal(file{s.log, s.seen})
	s.changed = false
	s.mu.Unlock()
	if err == nil {
		err = replace(s.path, b)
	}
	if err != nil {
		s.mu.Lock()
		s.changed = true
		s.mu.Unlock()
		return fmt.Errorf("resume: save the collectors' positions: %w", err)
	}
	return nil
}

func (s *Store) over(k seen) bool {
	return s.now().Sub(time.UnixMilli(k.At)) > s.window
}

// forget drops those whose window has passed.
func (s *Store) forget() {
	for key, k := range s.seen {
		if s.over(k) {
			delete(s.seen, key)
			s.changed = true
		}
	}
}

// makeRoom drops the tenth that has been silent for longest, so that it is not
// done for every new key.
func (s *Store) makeRoom() {
	keys := make([]string, 0, len(s.seen))
	for key := range s.seen {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Compare(s.seen[a].At, s.seen[b].At) })
	for _, key := range keys[:max(1, len(keys)/10)] {
		delete(s.seen, key)
	}
}

// replace writes a file aside, always under the same name so that a kill
// leaves one at most, and renames it. It is not synced: after a crash of the
// machine an older one, or none, costs repeats or a live start, and syncing
// every second would cost more.
func replace(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		crashpoint.Pass(crashpoint.CollectorsWritten)
		err = os.Rename(f.Name(), path)
		crashpoint.Pass(crashpoint.CollectorsNamed)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
