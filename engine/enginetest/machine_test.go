package enginetest

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distributor/wsproto"
	"distributor/wsproto/collector"
)

// crashMachine leaves the frame log as a crash of the machine would: not closed, and with only its
// beginning surely on disk.
func crashMachine(t testing.TB, d *Distributor) {
	t.Helper()
	d.Kill()
	rebooted(t, d)
	damage(t, d.headFile(), headSynced, make([]byte, 8))
}

// TestMachineCrash checks that the frame log has a new ID after a crash of the machine. Collectors
// with and without a position must continue where they were, as far as their frames are still
// there, and miss no later record.
func TestMachineCrash(t *testing.T) {
	type scene struct {
		d         *Distributor
		archiver  *Archiver
		book      *Book
		tracking  *Fleet
		forgetful *Fleet
		head      wsproto.Position // before the crash
	}
	crash := func(t *testing.T, s *scene, also func(s *scene)) {
		s.d, s.book = New(t, nil), NewBook()
		s.archiver = NewArchiver(t, ArchiverOptions{Dir: s.d.Logs, Book: s.book, Seed: *seed,
			Sizes: []int{100, 3000}})
		s.d.Start()
		s.tracking = NewFleet(t, FleetOptions{URL: s.d.URL, Size: 1, Book: s.book})
		s.forgetful = NewFleet(t, FleetOptions{URL: s.d.URL, Size: 1, Book: s.book, Forgetful: true})
		if err := s.archiver.Write(100); err != nil {
			t.Fatal(err)
		}
		s.tracking.WaitTotal(100)
		s.forgetful.WaitTotal(100)
		// The next start knows only the position of the forgetful collector that the stop saved.
		s.d.Stop()
		s.d.Start()
		if err := s.archiver.Write(20); err != nil {
			t.Fatal(err)
		}
		s.tracking.WaitTotal(120)
		s.forgetful.WaitTotal(120)
		_, s.head = Bounds(t, s.d.URL)
		also(s)
		if err := s.archiver.Write(30); err != nil {
			t.Fatal(err)
		}
		s.d.Start()
		if _, now := Bounds(t, s.d.URL); now.Log == s.head.Log {
			t.Fatal("the frame log has its old ID, want a new one")
		}
		if err := s.archiver.Write(20); err != nil {
			t.Fatal(err)
		}
	}
	mustHaveAll := func(t *testing.T, s *scene) {
		t.Helper()
		s.forgetful.WaitTotal(170)
		s.forgetful.CheckSame()
		late := NewFleet(t, FleetOptions{URL: s.d.URL, Size: 1, Book: s.book})
		late.WaitTotal(170)
		late.CheckSame()
		s.d.Stop()
	}
	t.Run("all was on disk", func(t *testing.T) {
		t.Parallel()
		var s scene
		crash(t, &s, func(s *scene) { crashMachine(t, s.d) })
		s.tracking.WaitTotal(170)
		s.tracking.CheckSame() // each record once
		mustHaveAll(t, &s)
	})
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		var s scene
		crash(t, &s, func(s *scene) {
			crashMachine(t, s.d)
			s.tracking.Stop()
			s.d.Start()
			crashMachine(t, s.d)
		})
		p := MustConnect(t, s.d.URL, PeerOptions{Key: newKey(t), From: s.head.String()})
		Until(t, "it gets what came since", func() bool { return len(p.Texts()) == 50 }, nil)
		mustHaveAll(t, &s)
	})
	t.Run("the end was not on disk", func(t *testing.T) {
		t.Parallel()
		var s scene
		crash(t, &s, func(s *scene) {
			s.tracking.Stop()
			crashMachine(t, s.d)
			damage(t, s.d.segments(t)[0], int64(s.head.Offset)-2000, make([]byte, 2000))
		})
		_, err := Connect(t, s.d.URL, PeerOptions{Key: newKey(t), From: s.head.String()})
		var refused *collector.RefusedError
		var answer struct{ From, Reason string }
		if !errors.As(err, &refused) || refused.Status != http.StatusConflict ||
			json.Unmarshal([]byte(refused.Reason), &answer) != nil || answer.Reason != "from_other_log" {
			t.Fatalf("a collector that had what is lost: %v", err)
		}
		from, err := wsproto.ParsePosition(answer.From)
		if err != nil || from.Offset == 0 || from.Offset >= s.head.Offset {
			t.Fatalf("it may go on at %q: %v", answer.From, err)
		}
		all := MustConnect(t, s.d.URL, PeerOptions{Key: newKey(t), From: "earliest"})
		Until(t, "all records", func() bool { return len(all.Texts()) == 170 }, nil)
		p := MustConnect(t, s.d.URL, PeerOptions{Key: newKey(t), From: answer.From})
		Until(t, "the last record", func() bool {
			texts := p.Texts()
			return len(texts) > 0 && texts[len(texts)-1] == all.Texts()[169]
		}, nil)
		if texts := p.Texts(); len(texts) <= 50 || !slices.Equal(texts, all.Texts()[170-len(texts):]) {
			t.Errorf("got %d records, want the last ones, more than 50", len(texts))
		}
		before := wsproto.Position{Log: s.head.Log, Offset: from.Offset}
		MustConnect(t, s.d.URL, PeerOptions{Key: newKey(t), From: before.String()})
		mustHaveAll(t, &s)
	})
	t.Run("no frame was on disk", func(t *testing.T) {
		t.Parallel()
		d, book := New(t, nil), NewBook()
		archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
			Sizes: []int{100, 3000}})
		d.Start()
		p := MustConnect(t, d.URL, PeerOptions{Key: newKey(t)})
		key := newKey(t)
		forgetful := MustConnect(t, d.URL, PeerOptions{Key: key})
		if err := archiver.Write(20); err != nil {
			t.Fatal(err)
		}
		Until(t, "they have it", func() bool {
			return len(p.Texts()) == 20 && len(forgetful.Texts()) == 20
		}, nil)
		forgetful.Terminate()
		d.Stop()
		if err := os.RemoveAll(filepath.Dir(d.headFile())); err != nil {
			t.Fatal(err)
		}
		d.Start()
		if err := archiver.Write(30); err != nil {
			t.Fatal(err)
		}
		all := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "earliest"})
		Until(t, "all of the new log", func() bool { return len(all.Texts()) == 30 }, nil)
		forgetful = MustConnect(t, d.URL, PeerOptions{Key: key})
		Until(t, "what came meanwhile", func() bool { return len(forgetful.Texts()) == 30 }, nil)
		d.Stop()
	})
}

// TestFramesPutBack restores frames/ from a copy that is older than checkpoint.json. The log must
// say so, reading must resume after the newest frames in the copy, and no offset may mean two
// frames under one ID.
func TestFramesPutBack(t *testing.T) {
	for name, running := range map[string]bool{"copied while it was stopped": false,
		"copied while it ran": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, book := New(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 64 << 10}), NewBook()
			archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
				Sizes: []int{100, 3000}})
			d.Start()
			forgetful := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book, Forgetful: true})
			if err := archiver.Write(100); err != nil {
				t.Fatal(err)
			}
			forgetful.WaitTotal(100)
			_, head := Bounds(t, d.URL)
			if !running {
				d.Stop()
			}
			frames, backup := filepath.Join(d.Dir, "state", "frames"), filepath.Join(t.TempDir(), "frames")
			if err := os.CopyFS(backup, os.DirFS(frames)); err != nil {
				t.Fatal(err)
			}
			if !running {
				d.Start()
			}
			if err := archiver.Write(100); err != nil {
				t.Fatal(err)
			}
			forgetful.WaitTotal(200)
			_, end := Bounds(t, d.URL)
			d.Stop()
			if err := errors.Join(os.RemoveAll(frames), os.CopyFS(frames, os.DirFS(backup))); err != nil {
				t.Fatal(err)
			}
			d.Start()
			if said := d.Log(func(l Line) bool {
				return strings.Contains(l.Msg, "older than checkpoint.json")
			}); len(said) != 1 || said[0].Level != "ERROR" {
				t.Errorf("the log says %v", said)
			}
			if _, now := Bounds(t, d.URL); now.Log == head.Log {
				t.Error("the frame log has its old ID, want a new one")
			}
			var refused *collector.RefusedError
			if _, err := Connect(t, d.URL, PeerOptions{Key: newKey(t), From: end.String()}); !errors.As(err,
				&refused) || refused.Status != http.StatusConflict {
				t.Errorf("a position beyond what was put back: %v", err)
			}
			MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: head.String()})
			if err := archiver.Write(50); err != nil {
				t.Fatal(err)
			}
			late := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
			late.WaitTotal(250)
			late.CheckSame()
			forgetful.WaitTotal(250)
			forgetful.CheckSame()
			d.Stop()
		})
	}
}
