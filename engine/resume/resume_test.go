package resume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clock is a time that the test advances, and a wall clock that the test sets.
type clock struct {
	at  time.Time
	set time.Duration
}

func (c *clock) wall() time.Time { return c.at.Add(c.set) }

// translate knows one earlier id, whose frames differ from 100 on, and a floor of 50.
func translate(log string, offset uint64) uint64 {
	if log == "earlier life" {
		return min(offset, 100)
	}
	return 50
}

func mustOpen(t *testing.T, dir, log string, c *clock) *Store {
	t.Helper()
	began := c.at
	s, err := open(dir, log, translate, time.Minute, c.wall, func() time.Duration {
		return c.at.Sub(began)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Store) want(t *testing.T, key string, offset uint64, ok bool) {
	t.Helper()
	if got, known := s.Offset(key); got != offset || known != ok {
		t.Errorf("%s: %d %v, want %d %v", key, got, known, offset, ok)
	}
}

func TestWindow(t *testing.T) {
	c := &clock{at: time.Now().Truncate(time.Millisecond)}
	s := mustOpen(t, t.TempDir(), "life", c)
	s.want(t, "a", 0, false)
	s.Confirmed("a", 10)
	c.at = c.at.Add(40 * time.Second)
	s.Confirmed("a", 20)
	s.Confirmed("b", 5)
	c.at = c.at.Add(time.Minute)
	s.want(t, "a", 20, true)
	s.Confirmed("b", 3) // began again from earlier
	c.at = c.at.Add(time.Millisecond)
	s.want(t, "a", 0, false)
	s.want(t, "b", 3, true)
	s.SetWindow(0)
	s.want(t, "b", 0, false)
	s.Confirmed("b", 9)
	s.want(t, "b", 0, false)
}

// Fresh reports a collector that the file does not have, and no other.
func TestFresh(t *testing.T) {
	c, dir := &clock{at: time.Now().Truncate(time.Millisecond)}, t.TempDir()
	s := mustOpen(t, dir, "life", c)
	word := func() bool {
		select {
		case <-s.Fresh():
			return true
		default:
			return false
		}
	}
	s.Confirmed("a", 1)
	s.Confirmed("b", 1)
	if !word() || word() {
		t.Error("not one word of two that are new")
	}
	s.Confirmed("a", 2)
	if word() {
		t.Error("word of one that is known")
	}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, "life", c)
	if s.Confirmed("b", 2); word() {
		t.Error("word of one that is in the file")
	}
	c.at = c.at.Add(2 * time.Minute)
	if err := s.Save(); err != nil { // forgets them
		t.Fatal(err)
	}
	if s.Confirmed("b", 3); !word() {
		t.Error("no word of one that was forgotten")
	}
	// over, and nearly so, in the file
	for _, silent := range []time.Duration{2 * time.Minute, 59 * time.Second} {
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		c.at = c.at.Add(silent)
		if s.Confirmed("b", 4); !word() {
			t.Errorf("no word of one that was silent for %v", silent)
		}
	}
}

func TestSaved(t *testing.T) {
	c, dir := &clock{at: time.Now().Truncate(time.Millisecond)}, t.TempDir()
	s := mustOpen(t, dir, "life", c)
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Fatal("nothing to save, yet saved")
	}
	s.Confirmed("a", 1<<63)
	s.Confirmed("b", 2)
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, "life", c).want(t, "a", 1<<63, true)
	c.at = c.at.Add(time.Minute + time.Millisecond)
	if again := mustOpen(t, dir, "life", c); len(again.known.index) != 0 {
		t.Errorf("kept beyond the window: %v", again.known.index)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%v", files)
	}
}

// Offsets that were saved under an earlier id of the frame log are translated once.
func TestAnotherLife(t *testing.T) {
	c := &clock{at: time.Now().Truncate(time.Millisecond)}
	for _, life := range []struct {
		of                     string
		within, beyond, unread uint64
	}{{"earlier life", 60, 100, 0}, {"life of nobody", 50, 50, 50}} {
		dir := t.TempDir()
		s := mustOpen(t, dir, life.of, c)
		s.Confirmed("within", 60)
		s.Confirmed("beyond", 1000)
		s.Confirmed("unread", 0)
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // and then as one of the present life
			s = mustOpen(t, dir, "life", c)
			s.want(t, "within", life.within, true)
			s.want(t, "beyond", life.beyond, true)
			s.want(t, "unread", life.unread, true)
			if err := s.Save(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Setting the wall clock by an hour either way changes nothing while the process runs, nor for the
// next process. A clock that is set while no process runs cannot be distinguished from time that
// passes.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		c, dir := &clock{at: time.Now().Truncate(time.Millisecond)}, t.TempDir()
		s := mustOpen(t, dir, "life", c)
		s.Confirmed("a", 10)
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		c.set = step
		s.want(t, "a", 10, true)
		if err := s.Save(); err != nil { // which has no other news
			t.Fatal(err)
		}
		c.at = c.at.Add(30 * time.Second)
		s.want(t, "a", 10, true)
		next := mustOpen(t, dir, "life", c)
		next.want(t, "a", 10, true)
		c.at = c.at.Add(30*time.Second + time.Millisecond)
		s.want(t, "a", 0, false)
		next.want(t, "a", 0, false)
	}
	c, dir := &clock{at: time.Now().Truncate(time.Millisecond)}, t.TempDir()
	s := mustOpen(t, dir, "life", c)
	s.Confirmed("a", 10)
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	c.set = -time.Hour
	s = mustOpen(t, dir, "life", c)
	s.want(t, "a", 10, true)
	c.at = c.at.Add(time.Minute + time.Millisecond)
	s.want(t, "a", 0, false)
}

// A failed Save is tried again, and the Store works in spite of a damaged file.
func TestFaults(t *testing.T) {
	c, dir := &clock{at: time.Now().Truncate(time.Millisecond)}, filepath.Join(t.TempDir(), "later")
	s := mustOpen(t, dir, "life", c)
	s.Confirmed("a", 1)
	if err := s.Save(); err == nil {
		t.Fatal("saved into a directory that is not there")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"", "{", `{"frameLog":"life","collectors":{"a":{"o":-1}}}`,
		"null"} {
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte(damaged), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, "life", translate, time.Minute)
		if damaged != "null" && err == nil {
			t.Errorf("%q was taken", damaged)
		}
		s.Confirmed("a", 7)
		s.want(t, "a", 7, true)
	}
}

func TestBounded(t *testing.T) {
	if testing.Short() {
		t.Skipf("%d keys take seconds", maxKeys)
	}
	c := &clock{at: time.Now().Truncate(time.Millisecond)}
	s := mustOpen(t, t.TempDir(), "life", c)
	for i := range maxKeys + 10 {
		c.at = c.at.Add(time.Microsecond)
		s.Confirmed(fmt.Sprint(i), uint64(i))
	}
	if n := len(s.known.index); n != maxKeys {
		t.Fatalf("%d keys", n)
	}
	s.want(t, fmt.Sprint(maxKeys+9), maxKeys+9, true)
	s.want(t, "10", 10, true)
	s.want(t, "9", 0, false)
	s.known.most++ // as an older release may have saved
	c.at = c.at.Add(time.Millisecond)
	s.Confirmed("one more", 1)
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, filepath.Dir(s.file.Path), "life", c)
	if n := len(s.known.index); n != maxKeys {
		t.Fatalf("%d keys of too many in the file", n)
	}
	s.want(t, "one more", 1, true)
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"frameLog":"life","collectors":{"a":{"o":1,"t":1764000000000}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), b, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, "life", translate, time.Minute)
		if _, known := s.Offset("a"); known && err != nil {
			t.Fatalf("%q: something is known of what cannot be read: %v", b, err)
		}
		s.Confirmed("a", 1)
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		again, err := Open(dir, "life", translate, time.Minute)
		if err != nil {
			t.Fatalf("%q: what was saved is not read again: %v", b, err)
		}
		if at, known := again.Offset("a"); !known || at != 1 {
			t.Fatalf("%q: %d, %v", b, at, known)
		}
		for key := range s.known.index {
			was, knew := s.Offset(key)
			if is, knows := again.Offset(key); (is != was || knows != knew) &&
				strings.ToValidUTF8(key, "") == key {
				t.Fatalf("%q: %q was at %d, %v, and is at %d, %v", b, key, was, knew, is, knows)
			}
		}
	})
}
