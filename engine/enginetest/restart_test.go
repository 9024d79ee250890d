package enginetest

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"distributor/engine/simulator"
)

// storm writes small batches of records until it is stopped. It stays below what the frame log
// keeps and what the archiver deletes.
type storm struct {
	archiver *Archiver
	stop     chan struct{}
	done     chan error
	wrote    chan int // the number of records so far
}

// stormPiece is the number of records in a batch, stormPause the pause after one.
const (
	stormPiece = 20
	stormPause = 10 * time.Millisecond
)

func newStorm(a *Archiver) *storm {
	s := &storm{archiver: a, stop: make(chan struct{}), done: make(chan error, 1),
		wrote: make(chan int)}
	go func() {
		pace := time.NewTicker(stormPause)
		defer pace.Stop()
		for total := stormPiece; ; total += stormPiece {
			if err := a.Write(stormPiece); err != nil {
				s.done <- err
				return
			}
			select {
			case s.wrote <- total:
			case <-pace.C:
			case <-s.stop:
				s.done <- nil
				return
			}
		}
	}()
	return s
}

// until waits until n records were written.
func (s *storm) until(t *testing.T, records int) {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case total := <-s.wrote:
			if total >= records {
				return
			}
		case err := <-s.done:
			t.Fatalf("the archiver has ended: %v", err)
		case <-deadline:
			t.Fatalf("%d records were not written within %v", records, patience)
		}
	}
}

func (s *storm) end(t *testing.T) {
	t.Helper()
	close(s.stop)
	if err := within(t, s.done, func() {}); err != nil {
		t.Fatal(err)
	}
}

// TestRestart kills and stops the primary repeatedly during a storm of records with torn writes,
// noise and rotations, which continues while the primary is down. At the end the frame log must
// have every record once and in order. So must collectors that reconnect from their own position.
func TestRestart(t *testing.T) {
	for _, generation := range []simulator.Generation{simulator.Entries, simulator.Bytes,
		simulator.BytesBlank} {
		if testing.Short() && generation != simulator.BytesBlank { // the newest
			continue
		}
		t.Run(string(generation), func(t *testing.T) {
			rounds := 4
			if testing.Short() || RaceEnabled {
				rounds = 2
			}
			rng := rand.New(rand.NewPCG(*seed, 1))
			d := New(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20})
			book := NewBook()
			archiver := NewArchiver(t, ArchiverOptions{
				Dir: d.Logs, Book: book, Seed: *seed, Sizes: []int{80, 150, 400, 6000}, Noise: 0.02,
				Log: simulator.LogOptions{Generation: generation, MaxEntries: 100, MaxBytes: 100 << 10,
					MaxFiles: 1000, BatchLines: 4, Torn: 0.2, TornPause: time.Millisecond / 2},
			})
			d.Start()
			fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 4, Book: book})
			for round := range 2 * rounds {
				s := newStorm(archiver)
				before := 100 + rng.IntN(700)
				s.until(t, before)
				if round%2 == 0 {
					d.Kill()
				} else {
					d.Stop()
				}
				s.until(t, before+rng.IntN(400)) // written while it is down
				d.Start()
				s.until(t, before+400)
				s.end(t)
			}
			fleet.WaitTotal(book.Total())
			ends := fleet.Ends()
			fleet.CheckSame()

			late := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
			late.WaitTotal(book.Total())
			late.CheckSame()
			if n := archiver.Rotations(); n < int64(3*2*rounds) {
				t.Errorf("only %d rotations", n)
			}
			if missing := d.Log(func(l Line) bool {
				return l.Msg == "data log: records may be missing"
			}); len(missing) > 0 {
				t.Errorf("unexpected line in the log: %v", missing[0].Text)
			}
			t.Logf("%d records, %d rotations, %d kills and %d stops; connections ended: %v", book.Total(), archiver.Rotations(), rounds, rounds, ends)
			d.Stop()
		})
	}
}

// TestRecordsWrittenWhileStopped checks that exactly the records that were written since the last
// stop are sent after a start.
func TestRecordsWrittenWhileStopped(t *testing.T) {
	for name, down := range map[string]func(*Distributor){
		"stopped": func(d *Distributor) { d.Stop() },
		"killed":  (*Distributor).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t, nil)
			before := NewBook() // records that must not be sent
			old := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: before, Sizes: []int{100}})
			if err := old.Write(50); err != nil {
				t.Fatal(err)
			}
			d.Start()
			down(d)
			book := NewBook()
			archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
				Sizes: []int{100}, Log: simulator.LogOptions{Generation: simulator.Entries, MaxEntries: 20}})
			if err := archiver.Write(60); err != nil {
				t.Fatal(err)
			}
			d.Start()
			fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
			fleet.WaitTotal(60)
			down(d)
			d.Start()
			if err := archiver.Write(10); err != nil {
				t.Fatal(err)
			}
			fleet.WaitTotal(70)
			fleet.CheckSame()
		})
	}
}

// TestStateRemoved checks that a start without its state is like a first start.
func TestStateRemoved(t *testing.T) {
	t.Parallel()
	d := New(t, nil)
	lost := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: NewBook(), Seed: 7, Sizes: []int{100}})
	d.Start()
	if err := lost.Write(20); err != nil {
		t.Fatal(err)
	}
	Until(t, "the records are in the log", func() bool {
		_, head := Bounds(t, d.URL)
		return head.Offset > 0
	}, nil)
	d.Stop()
	if err := os.RemoveAll(d.Dir + "/state"); err != nil {
		t.Fatal(err)
	}
	d.Start()
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{100}})
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
	if err := archiver.Write(5); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(5)
	fleet.CheckSame()
}
