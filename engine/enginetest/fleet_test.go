package enginetest

import (
	"fmt"
	"testing"
	"time"
)

// TestFleet checks that a thousand collectors on four workers get the same messages, byte for byte
// and in order, while a worker is killed. The kill must cut the collectors of that worker only, and
// they must continue from where they were.
func TestFleet(t *testing.T) {
	size, records, perWorker := 1000, 10_000, 300
	switch {
	case RaceEnabled:
		size, records, perWorker = 100, 2000, 30
	case testing.Short():
		size, records, perWorker = 200, 4000, 60
	}
	d := New(t, Settings{"MAX_CLIENTS_PER_CHILD": perWorker})
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed, Sizes: []int{64}})
	d.Start()
	began := time.Now()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: size, Book: book})
	connected := time.Since(began)

	if err := archiver.Write(records / 10); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(book.Total())
	workers := d.Workers()
	if want := (size + perWorker - 1) / perWorker; len(workers) != want {
		t.Fatalf("%d workers, want %d", len(workers), want)
	}
	served := make(map[*Process]int)
	for _, w := range workers {
		served[w] = connections(w.Pid, d.Port)
	}
	victim := workers[0]
	for _, w := range workers {
		if served[w] > served[victim] {
			victim = w
		}
	}
	if served[victim] != perWorker {
		t.Fatalf("collectors by worker: %v, want %d on the fullest", served, perWorker)
	}

	began = time.Now()
	before := fleet.Sum()
	if err := archiver.Write(records - records/10); err != nil {
		t.Fatal(err)
	}
	fleet.WaitSum(before + int64(size)*int64(records-records/10)/2)
	victim.Kill(t)
	fleet.WaitTotal(records)
	took := time.Since(began)
	fleet.CheckSame()

	// A collector that had everything in its socket buffer may notice the end last.
	Until(t, "the killed worker's collectors have noticed", func() bool {
		return fleet.Cut() >= perWorker
	}, func() string { return fmt.Sprint(fleet.Ends()) })
	if cut := fleet.Cut(); cut != perWorker {
		t.Errorf("%d collectors were cut, want the %d of the killed worker: %v", cut, perWorker, fleet.Ends())
	}
	if !victim.Gone(0) {
		t.Error("the killed worker is still listed")
	}
	lost := d.WaitLog("worker lost", func(l Line) bool { return l.Msg == "worker lost" })
	if fmt.Sprint(lost.Attrs["clients"]) != fmt.Sprint(perWorker) {
		t.Errorf("the log counts other clients: %s", lost.Text)
	}
	t.Logf("%d collectors on %d workers connected in %v; %d records each; the last %d, with a worker of %d collectors killed half-way, in %v: %.2f million messages a second in all",
		size, len(workers), connected.Round(time.Millisecond), records, records-records/10, perWorker,
		took.Round(time.Millisecond),
		float64(size)*float64(records-records/10)/took.Seconds()/1e6)
	d.Stop()
}
