package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrOptions is wrapped by every error about an invalid option.
var ErrOptions = errors.New("simulator: impossible option")

// Options configure Run.
type Options struct {
	Dir        string // of the data logs
	Databases  string // directory of the five databases; empty: none
	Seed       string // equal seeds give equal records, except their times
	FirstCycle int64  // counter of the first cycle record; 0: one more than the databases hold, or 0
	ShardKeys  bool   // receipts have executionShardKey, as all but the newest archivers log them

	// Rates are records a second, for each of Streams. All 0: the standard mix, as fast as possible.
	// With Unpaced they are weights only.
	Rates   [len(Streams)]float64
	Unpaced bool

	Duration time.Duration // 0: no end
	Count    int64         // records; 0: no end
	Batch    time.Duration // interval of writes; default 50 ms

	Log LogOptions // of every stream; Run sets Dir, Stream, Seed and OnWrite
	// Manifest is the file to which a line is added for each record: its stream, and 24 hex digits of
	// its SHA-256. Empty: none.
	Manifest string
	Odd      Odd

	// OnWrite is called after a record is in its log, by the goroutine that called Run, so it must be
	// quick. See LogOptions.OnWrite.
	OnWrite func(stream string, line []byte, at time.Time)
	// Progress is called about once a second, by the same goroutine.
	Progress func(Summary)
}

// Spread returns the rates of the standard mix at a total of records a second, for the named
// streams.
func Spread(total float64, streams ...string) (rates [len(Streams)]float64) {
	weights := StandardMix().weight
	var sum float64
	for i, s := range Streams {
		if !slices.Contains(streams, s) {
			weights[i] = 0
		}
		sum += weights[i]
	}
	for i := range rates {
		if sum > 0 {
			rates[i] = total * weights[i] / sum
		}
	}
	return rates
}

func (o *Options) complete() error {
	if o.Rates == [len(Streams)]float64{} {
		o.Rates, o.Unpaced = Spread(1, Streams[:]...), true
	}
	for i, r := range o.Rates {
		if !(r >= 0 && r <= 1e9) {
			return fmt.Errorf("%w: a rate of %v %s records a second", ErrOptions, r, Streams[i])
		}
	}
	for k := range oddKinds {
		if err := share("odd "+oddNames[k]+" records", *o.Odd.share(k)); err != nil {
			return err
		}
	}
	switch {
	case o.Dir == "":
		return fmt.Errorf("%w: no directory for the data logs", ErrOptions)
	case o.Duration < 0:
		return fmt.Errorf("%w: a duration of %v", ErrOptions, o.Duration)
	case o.Count < 0:
		return fmt.Errorf("%w: a count of %d", ErrOptions, o.Count)
	case o.Batch < 0 || o.Batch > time.Minute:
		return fmt.Errorf("%w: a batch every %v: at most one a minute", ErrOptions, o.Batch)
	case o.FirstCycle < 0:
		return fmt.Errorf("%w: first cycle %d", ErrOptions, o.FirstCycle)
	}
	o.Batch = cmp.Or(o.Batch, 50*time.Millisecond)
	check := o.Log // the rest is checked before anything is opened
	check.Dir, check.Stream = o.Dir, Receipt
	return check.complete()
}

func (o *LogOptions) complete() error {
	o.Generation = cmp.Or(o.Generation, BytesBlank)
	files := 20
	switch o.Generation {
	case Entries:
		files = 10
	case Bytes, BytesBlank:
	default:
		return fmt.Errorf("%w: generation %q: it must be %s, %s or %s",
			ErrOptions, o.Generation, Entries, Bytes, BytesBlank)
	}
	o.MaxEntries = cmp.Or(o.MaxEntries, 1000)
	o.MaxBytes = cmp.Or(o.MaxBytes, 10<<20)
	o.MaxFiles = cmp.Or(o.MaxFiles, files)
	switch {
	case o.Dir == "":
		return fmt.Errorf("%w: no directory for the data logs", ErrOptions)
	case !slices.Contains(Streams[:], o.Stream):
		return fmt.Errorf("%w: stream %q: it is one of %v", ErrOptions, o.Stream, Streams)
	case o.MaxEntries < 1:
		return fmt.Errorf("%w: %d records in a log", ErrOptions, o.MaxEntries)
	case o.MaxBytes < 1:
		return fmt.Errorf("%w: %d bytes in a log", ErrOptions, o.MaxBytes)
	case o.MaxFiles < 4 || o.MaxFiles%2 != 0:
		// An archiver retires logs by halves. With other numbers it would continue a log that has ended.
		return fmt.Errorf("%w: a highest log number of %d: it must be even and at least 4",
			ErrOptions, o.MaxFiles)
	case o.BatchLines < 0:
		return fmt.Errorf("%w: %d lines in a write", ErrOptions, o.BatchLines)
	case o.TornPause < 0 || o.TornPause > time.Minute:
		return fmt.Errorf("%w: a pause of %v within a write: at most a minute",
			ErrOptions, o.TornPause)
	}
	return share("torn writes", o.Torn)
}

func share(what string, v float64) error {
	if !(v >= 0 && v <= 1) { // NaN too
		return fmt.Errorf("%w: a share of %v of %s: it is 0 to 1", ErrOptions, v, what)
	}
	return nil
}
