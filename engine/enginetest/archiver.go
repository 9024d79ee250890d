package enginetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"distributor/engine/simulator"
	"distributor/mmaplog/datalog"
)

// ArchiverOptions describe what an Archiver writes and how.
type ArchiverOptions struct {
	Dir   string
	Book  *Book
	Seed  uint64
	Log   simulator.LogOptions // generation, sizes, torn writes; NewArchiver sets the rest
	Sizes []int                // approximate sizes of records, in bytes; all equally likely
	Noise float64              // probability, 0 to 1, of a blank or damaged line after a record
}

// Archiver appends records to the data logs of all streams, and adds them to the book. It belongs
// to one goroutine.
type Archiver struct {
	o    ArchiverOptions
	logs datalog.PerStream[*simulator.LogWriter]
	rng  *rand.Rand
	n    int // records so far
	line []byte

	rotated datalog.PerStream[int64] // rotations before the last Close
}

// NewArchiver opens the logs, new or where they were left. They are closed at the end of the test.
func NewArchiver(t testing.TB, o ArchiverOptions) *Archiver {
	t.Helper()
	a := &Archiver{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0))}
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	for _, s := range datalog.Streams {
		t.Cleanup(func() { _ = a.logs[s].Close() })
	}
	return a
}

func (a *Archiver) open() (err error) {
	for _, s := range datalog.Streams {
		lo := a.o.Log
		lo.Dir, lo.Stream, lo.Seed = a.o.Dir, s.String(), fmt.Sprint(a.o.Seed)
		if a.logs[s], err = simulator.NewLogWriter(lo); err != nil {
			return err
		}
	}
	return nil
}

// Reopen restarts the archiver, which continues where the logs end.
func (a *Archiver) Reopen() error {
	if err := a.Close(); err != nil {
		return err
	}
	return a.Resume()
}

// Close stops the archiver until Resume.
func (a *Archiver) Close() error {
	for _, s := range datalog.Streams {
		a.rotated[s] += a.logs[s].Stats().Rotations
		if err := a.logs[s].Close(); err != nil {
			return err
		}
	}
	return nil
}

// Resume starts a closed archiver, which continues where the logs end.
func (a *Archiver) Resume() error { return a.open() }

// Write writes a number of records to random streams, most of them receipts.
func (a *Archiver) Write(records int) error {
	const c, t, r = datalog.Cycle, datalog.OriginalTx, datalog.Receipt
	for range records {
		if err := a.write([...]datalog.Stream{c, t, t, t, r, r, r, r, r, r}[a.rng.IntN(10)]); err != nil {
			return err
		}
	}
	return a.flush()
}

// WriteEach writes one record to each stream.
func (a *Archiver) WriteEach() error {
	for _, s := range datalog.Streams {
		if err := a.write(s); err != nil {
			return err
		}
	}
	return a.flush()
}

func (a *Archiver) write(stream datalog.Stream) error {
	a.record()
	a.n++
	if err := a.o.Book.Add(stream, a.line); err != nil {
		return err
	}
	if err := a.logs[stream].Append(a.line); err != nil {
		return err
	}
	if a.o.Noise > 0 && a.rng.Float64() < a.o.Noise {
		noise := [...]string{"", `{"cut":`, "\xff", `{"a":1}}`}[a.rng.IntN(4)]
		return a.logs[stream].AppendNoise([]byte(noise))
	}
	return nil
}

func (a *Archiver) flush() error {
	var errs []error
	for _, s := range datalog.Streams {
		errs = append(errs, a.logs[s].Flush())
	}
	return errors.Join(errs...)
}

// record sets a.line to a new record. Each tenth record is not canonical JSON.
func (a *Archiver) record() {
	size := a.o.Sizes[a.rng.IntN(len(a.o.Sizes))]
	a.line = fmt.Appendf(a.line[:0], `{"cycle":%d,"n":%d,"pad":"`, a.n/100, a.n)
	for len(a.line) < size-2 {
		a.line = append(a.line, 'a'+byte(a.rng.IntN(26)))
	}
	if a.line = append(a.line, `"}`...); a.n%10 == 0 {
		a.line = append(a.line[:len(a.line)-1], `, "about" : {"dataType":"bi","value":"0F"}}`...)
	}
}

// Rotations returns the number of rotations of all streams.
func (a *Archiver) Rotations() (n int64) {
	for _, s := range datalog.Streams {
		n += a.rotations(s)
	}
	return n
}

func (a *Archiver) rotations(stream datalog.Stream) int64 {
	return a.rotated[stream] + a.logs[stream].Stats().Rotations
}
