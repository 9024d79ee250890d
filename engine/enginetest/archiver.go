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
}

// NewArchiver opens the logs; they are there, and empty or as they were left,
// when it returns. They are closed at the end of the test.
func NewArchiver(t testing.TB, o ArchiverOptions) *Archiver {
	t.Helper()
	a := &Archiver{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0))}
	for i, stream := range simulator.Streams {
		lo := o.Log
		lo.Dir, lo.Stream, lo.Seed = o.Dir, stream, fmt.Sprint(o.Seed)
		var err error
		if a.logs[i], err = simulator.NewLogWriter(lo); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.logs[i].Close() })
	}
	return a
}

// Write writes so many records, over all streams, most of them receipts.
func (a *Archiver) Write(records int) error {
	for range records {
		stream := [...]int{0, 1, 1, 1, 2, 2, 2, 2, 2, 2}[a.rng.IntN(10)]
		a.record()
		a.n++
		if err := a.o.Book.Add(stream, a.line); err != nil {
			return err
		}
		if err := a.logs[stream].Append(a.line); err != nil {
			return err
		}
		if a.o.Noise > 0 && a.rng.Float64() < a.o.Noise {
			if err := a.logs[stream].AppendNoise([]byte([...]string{"", `{"cut":`, "\xff", `{"a":1}}`}[a.rng.IntN(4)])); err != nil {
				return err
			}
		}
	}
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
	for _, l := range a.logs {
		n += l.Stats().Rotations
	}
	return n
}
