package enginetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"distributor/engine/simulator"
)

// ArchiverOptions say what is written and how.
type ArchiverOptions struct {
	Dir   string
	Book  *Book
	Seed  uint64
	Log   simulator.LogOptions // generation, sizes and torn writes; the rest is set here
	Sizes []int                // of the records, in bytes, about; each is as likely
	Noise float64              // share, 0 to 1, of lines between the records that are blank or damaged
}

// Archiver appends records to the data logs of all streams, and enters them
// into the book. It belongs to one goroutine.
type Archiver struct {
	o    ArchiverOptions
	logs [len(simulator.Streams)]*simulator.LogWriter
	rng  *rand.Rand
	n    int // records so far
	line []byte

	rotated [len(simulator.Streams)]int64 // by the logs before the last Reopen
}

// NewArchiver opens the logs; they are there, and empty or as they were left,
// when it returns. They are closed at the end of the test.
func NewArchiver(t testing.TB, o ArchiverOptions) *Archiver {
	t.Helper()
	a := &Archiver{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0))}
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	for i := range a.logs {
		t.Cleanup(func() { _ = a.logs[i].Close() })
	}
	return a
}

func (a *Archiver) open() (err error) {
	for i, stream := range simulator.Streams {
		lo := a.o.Log
		lo.Dir, lo.Stream, lo.Seed = a.o.Dir, stream, fmt.Sprint(a.o.Seed)
		if a.logs[i], err = simulator.NewLogWriter(lo); err != nil {
			return err
		}
	}
	return nil
}

// Reopen ends the archiver and starts it again: it goes on where it was.
func (a *Archiver) Reopen() error {
	if err := a.Close(); err != nil {
		return err
	}
	return a.Resume()
}

// Close ends the archiver, until Resume.
func (a *Archiver) Close() error {
	for i, l := range a.logs {
		a.rotated[i] += l.Stats().Rotations
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Resume starts an archiver that was closed: it goes on where the logs end.
func (a *Archiver) Resume() error { return a.open() }

// Write writes so many records, over all streams, most of them receipts.
func (a *Archiver) Write(records int) error {
	for range records {
		if err := a.write([...]int{0, 1, 1, 1, 2, 2, 2, 2, 2, 2}[a.rng.IntN(10)]); err != nil {
			return err
		}
	}
	return a.flush()
}

// WriteEach writes one record to each stream.
func (a *Archiver) WriteEach() error {
	for stream := range a.logs {
		if err := a.write(stream); err != nil {
			return err
		}
	}
	return a.flush()
}

func (a *Archiver) write(stream int) error {
	a.record()
	a.n++
	if err := a.o.Book.Add(stream, a.line); err != nil {
		return err
	}
	if err := a.logs[stream].Append(a.line); err != nil {
		return err
	}
	if a.o.Noise > 0 && a.rng.Float64() < a.o.Noise {
		return a.logs[stream].AppendNoise([]byte([...]string{"", `{"cut":`, "\xff", `{"a":1}}`}[a.rng.IntN(4)]))
	}
	return nil
}

func (a *Archiver) flush() error {
	var errs []error
	for _, l := range a.logs {
		errs = append(errs, l.Flush())
	}
	return errors.Join(errs...)
}

// record makes up a.line. Every tenth is not canonical.
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

// Rotations counts them over all streams.
func (a *Archiver) Rotations() (n int64) {
	for i := range a.logs {
		n += a.rotations(i)
	}
	return n
}

func (a *Archiver) rotations(stream int) int64 {
	return a.rotated[stream] + a.logs[stream].Stats().Rotations
}
