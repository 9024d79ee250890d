package simulator

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"
)

// archiver is one run. It makes records in pieces, and gives them to logs, manifest and databases.
type archiver struct {
	o     Options
	world *World
	mix   *Mix
	rng   *random // chooses the records that are odd
	rate  float64 // records a second, all streams

	logs      [len(Streams)]*LogWriter // nil for streams that are not written
	manifest  *os.File
	databases *Databases

	start time.Time
	total int64
	count [len(Streams)]int64
	odd   [oddKinds]int64

	// The current piece. Its memory is reused for the next.
	text  []byte
	lines []line
	notes []byte // for the manifest
}

// line is one line of the current piece. Its two spans are in archiver.text.
type line struct {
	stream    int
	from, to  int  // the line as it is written
	canonical int  // start of the record's canonical text; -1: no record
	end       int  // end of that text
	unstored  bool // it has no row in the databases
}

func openArchiver(o Options) (*archiver, error) {
	a := &archiver{
		o: o, mix: NewMix(o.Rates[0], o.Rates[1], o.Rates[2]), rng: newRandom("odd:" + o.Seed),
		start: time.Now(),
	}
	for _, r := range o.Rates {
		a.rate += r
	}
	if err := a.open(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *archiver) open() (err error) {
	if a.o.Databases != "" {
		if a.databases, err = OpenDatabases(a.o.Databases, a.o.Log.Fresh); err != nil {
			return err
		}
	}
	first := a.o.FirstCycle
	last, start, err := a.databases.lastCycle()
	if err != nil {
		return err
	}
	if first == 0 {
		first = last + 1
	}
	a.world = NewWorld(a.o.Seed, first)
	a.world.shardKeys = a.o.ShardKeys
	if first == last+1 {
		a.world.start = start
	}

	if a.o.Manifest != "" {
		mode := os.O_APPEND
		if a.o.Log.Fresh {
			mode = os.O_TRUNC
		}
		a.manifest, err = os.OpenFile(a.o.Manifest, os.O_WRONLY|os.O_CREATE|mode, 0o644)
		if err != nil {
			return fmt.Errorf("simulator: opening the manifest: %w", err)
		}
	}
	for i, stream := range Streams {
		if a.o.Rates[i] == 0 {
			continue
		}
		lo := a.o.Log
		lo.Dir, lo.Stream, lo.Seed = a.o.Dir, stream, a.o.Seed
		if hook := a.o.OnWrite; hook != nil {
			lo.OnWrite = func(line []byte, at time.Time) { hook(stream, line, at) }
		}
		if a.logs[i], err = NewLogWriter(lo); err != nil {
			return err
		}
	}
	return nil
}

// piece writes at most n records, and returns how many. It writes the manifest first, so that after
// a crash the manifest has every record that a log has.
func (a *archiver) piece(n int64) (int64, error) {
	made := a.makeUp(n)
	if a.manifest != nil {
		a.notes = a.notes[:0]
		for _, l := range a.lines {
			if l.canonical >= 0 {
				a.notes = appendNote(a.notes, Streams[l.stream], a.text[l.canonical:l.end])
			}
		}
		if _, err := a.manifest.Write(a.notes); err != nil {
			return 0, fmt.Errorf("simulator: writing the manifest: %w", err)
		}
	}
	for _, l := range a.lines {
		write := a.logs[l.stream].Append
		if l.canonical < 0 {
			write = a.logs[l.stream].AppendNoise
		}
		if err := write(a.text[l.from:l.to]); err != nil {
			return 0, err
		}
	}
	for _, log := range a.logs {
		if log == nil {
			continue
		}
		if err := log.Flush(); err != nil {
			return 0, err
		}
	}
	a.total += made
	return made, a.store()
}

// store puts the piece's records into the databases.
func (a *archiver) store() error {
	if a.databases == nil {
		return nil
	}
	for _, l := range a.lines {
		if l.canonical < 0 || l.unstored {
			continue
		}
		if err := a.databases.Add(Streams[l.stream], a.text[l.canonical:l.end]); err != nil {
			return err
		}
	}
	return a.databases.Commit()
}

// makeUp fills text and lines with at most n records that carry the current time.
func (a *archiver) makeUp(n int64) (made int64) {
	a.text, a.lines = a.text[:0], a.lines[:0]
	now := time.Now().UnixMilli()
	for ; made < n && len(a.text) < pieceBytes; made++ {
		stream := a.mix.next()
		a.count[stream]++
		l := line{stream: stream, from: len(a.text)}
		a.text = a.world.Append(a.text, Streams[stream], now)
		l.to = len(a.text)
		l.canonical, l.end = l.from, l.to
		if a.o.Odd == (Odd{}) {
			a.lines = append(a.lines, l)
			continue
		}
		if a.makeOdd(l, made+1 < n) {
			made++
		}
	}
	return made
}

// makeOdd adds the line l, at random changed or followed by others. It tells whether one of the
// others is a record, which is possible only if fits is set.
func (a *archiver) makeOdd(l line, fits bool) (another bool) {
	var again line
	if Streams[l.stream] == Receipt {
		if a.isOdd(oddRefused) {
			from := len(a.text)
			a.text = appendWithout(a.text, a.text[l.from:l.to], applyTime)
			l = a.unstored(l.stream, from)
		} else if another = fits && a.isOdd(oddRepeated); another {
			again = a.repeat(l)
		}
	}
	if a.isOdd(oddTrailer) {
		from := len(a.text)
		a.text = appendMember(a.text, a.text[l.from:l.to], "memo", a.rng.trailerMemo())
		l.from, l.to = from, len(a.text)
		l.canonical, l.end = l.from, l.to
	}
	if a.isOdd(oddNonCanonical) {
		from := len(a.text)
		a.text = appendNonCanonical(a.text, a.text[l.from:l.to])
		l.from, l.to = from, len(a.text)
	}
	a.lines = append(a.lines, l)
	if a.isOdd(oddDamaged) {
		broken := line{
			stream: l.stream, from: l.from, to: a.rng.between(l.from+1, l.to-1), canonical: -1,
		}
		a.lines = append(a.lines, broken)
	}
	if a.isOdd(oddBlank) {
		a.lines = append(a.lines, line{stream: l.stream, canonical: -1})
	}
	if another {
		a.lines = append(a.lines, again)
		a.count[l.stream]++
	}
	return another
}

// applyTime is a member of the receipts that the archiver stores; refused receipts lack it.
const applyTime = "applyTimestamp"

// repeat makes the line that the archiver logs when it gets the receipt l a second time. It logs
// that one before it deletes executionShardKey.
func (a *archiver) repeat(l line) line {
	record := appendWithout(nil, a.text[l.from:l.to], applyTime)
	from := len(a.text)
	if a.o.ShardKeys {
		a.text = append(a.text, record...)
	} else {
		a.text = appendMember(a.text, record, shardKey, storedShardKey(record))
	}
	return a.unstored(l.stream, from)
}

// unstored returns the line of a record without a row. The record is the end of the text from from
// on.
func (a *archiver) unstored(stream, from int) line {
	end := len(a.text)
	return line{stream: stream, from: from, to: end, canonical: from, end: end, unstored: true}
}

func (a *archiver) isOdd(k oddKind) bool {
	if !a.rng.chance(*a.o.Odd.share(k)) {
		return false
	}
	a.odd[k]++
	return true
}

// noteDigits is how many hex digits of a record's SHA-256 a manifest holds.
const noteDigits = 24

func appendNote(dst []byte, stream string, record []byte) []byte {
	sum := sha256.Sum256(record)
	dst = append(append(dst, stream...), ' ')
	dst = hex.AppendEncode(dst, sum[:noteDigits/2])
	return append(dst, '\n')
}

func (a *archiver) summary() Summary {
	s := Summary{
		Generation: cmp.Or(a.o.Log.Generation, BytesBlank), Seed: a.o.Seed,
		Seconds: time.Since(a.start).Seconds(),
		Records: map[string]int64{}, Rotations: map[string]int64{}, Total: a.total,
	}
	for i, log := range a.logs {
		if log != nil {
			s.Records[Streams[i]] = a.count[i]
			s.Rotations[Streams[i]] = log.Stats().Rotations
			s.Bytes += log.Stats().Bytes
		}
	}
	if a.o.Odd != (Odd{}) {
		s.Odd = map[string]int64{}
		for k := range oddKinds {
			s.Odd[oddNames[k]] = a.odd[k]
		}
	}
	if s.Seconds > 0 {
		s.PerSecond = float64(s.Total) / s.Seconds
	}
	return s
}

func (a *archiver) close() error {
	var errs []error
	for _, log := range a.logs {
		if log != nil {
			errs = append(errs, log.Close())
		}
	}
	if a.manifest != nil {
		errs = append(errs, a.manifest.Close())
	}
	return errors.Join(append(errs, a.databases.Close())...)
}
