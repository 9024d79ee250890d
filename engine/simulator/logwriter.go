package simulator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Generation is one of the ways in which archivers have written data logs; doc.go draws them.
type Generation string

const (
	Entries    Generation = "entries"
	Bytes      Generation = "bytes"
	BytesBlank Generation = "bytes-blank"
)

// LogOptions says where and how one stream's data logs are written. Zero limits stand for what
// archivers of the generation have by default.
type LogOptions struct {
	Dir        string // made if it is not there
	Stream     string
	Generation Generation
	MaxEntries int   // records in a log of the generation Entries; default 1000
	MaxBytes   int64 // bytes in a log of the others; default 10 MiB
	MaxFiles   int   // logs before numbers begin anew: even, at least 4; default 10 (Entries) or 20
	Fresh      bool  // delete this stream's logs first; without it the archiver goes on where it stopped
	BatchLines int   // most lines in one write; 0: all that were appended

	Torn      float64       // share of writes, 0 to 1, that are cut in two
	TornPause time.Duration // between the two
	Seed      string        // decides which, and where

	// OnWrite is called after each record has been written in full, with the time just before the write
	// that completed it. line is what stands in the file, without line end, and valid only during the call.
	OnWrite func(line []byte, at time.Time)
}

// LogWriter writes one stream's data logs as an archiver does. It is not safe for concurrent use.
// After an error it must not be used any more.
type LogWriter struct {
	o     LogOptions
	file  *os.File
	n     int   // number of the log being written
	size  int64 // what the trailer will count: records, or bytes
	limit int64
	rng   *random
	pause func(time.Duration)

	buf     []byte // appended, not yet written: whole lines of this log
	pending []pendingLine

	stats LogStats
}

// LogStats counts what a LogWriter has written since it was made.
type LogStats struct {
	Lines     int64 // records and noise
	Bytes     int64 // of lines, line ends and trailers
	Rotations int64
}

type pendingLine struct {
	start, end int // in buf, without line end
	record     bool
}

// NewLogWriter opens the stream's logs. As a restarted archiver it goes on in the log that the active
// file names, and rotates at once if that is full already.
func NewLogWriter(o LogOptions) (*LogWriter, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	w := &LogWriter{o: o, n: 1, limit: o.MaxBytes, rng: newRandom("torn:" + o.Stream + ":" + o.Seed), pause: time.Sleep}
	if o.Generation == Entries {
		w.limit = int64(o.MaxEntries)
	}
	if err := w.open(); err != nil {
		if w.file != nil {
			_ = w.file.Close() // the first error is the one to tell
		}
		return nil, fmt.Errorf("simulator: opening data logs of %s: %w", o.Stream, err)
	}
	return w, nil
}

func (w *LogWriter) open() error {
	if err := os.MkdirAll(w.o.Dir, 0o755); err != nil {
		return err
	}
	if w.o.Fresh {
		if err := w.removeAll(); err != nil {
			return err
		}
	}
	active, err := os.ReadFile(w.activePath())
	if errors.Is(err, os.ErrNotExist) {
		return w.create()
	}
	if err != nil {
		return err
	}
	digits, ok := strings.CutPrefix(strings.TrimSuffix(string(active), ".txt"), w.o.Stream+"-log")
	if w.n, err = strconv.Atoi(digits); !ok || err != nil || w.n < 1 {
		return fmt.Errorf("%s names no log: %.60q", filepath.Base(w.activePath()), active)
	}
	if w.file, err = os.OpenFile(w.path(w.n), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
		return err
	}
	if w.size, err = w.measure(); err != nil {
		return err
	}
	if w.full() {
		return w.rotate()
	}
	return nil
}

// measure counts what stands in the log, as a restarted archiver counts it: all line ends, or all bytes.
func (w *LogWriter) measure() (int64, error) {
	if w.o.Generation != Entries {
		info, err := w.file.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	var lines int64
	chunk := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(chunk)
		lines += int64(bytes.Count(chunk[:n], []byte("\n")))
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// Append adds a record to what Flush will write; line is copied. Where the log is full it first
// writes what is there and rotates.
func (w *LogWriter) Append(line []byte) error { return w.append(line, true) }

// AppendNoise adds a line that is no record, such as a damaged one: written and counted like the
// others, but not told to OnWrite.
func (w *LogWriter) AppendNoise(line []byte) error { return w.append(line, false) }

func (w *LogWriter) append(line []byte, record bool) error {
	if w.full() {
		if err := w.Flush(); err != nil {
			return err
		}
		if err := w.rotate(); err != nil {
			return fmt.Errorf("simulator: rotating %s: %w", w.o.Stream, err)
		}
	}
	if n := w.o.BatchLines; n > 0 && len(w.pending) >= n {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	start := len(w.buf)
	w.buf = append(w.buf, line...)
	w.pending = append(w.pending, pendingLine{start, len(w.buf), record})
	w.buf = append(w.buf, w.lineEnd()...)
	if w.o.Generation == Entries {
		w.size++
	} else {
		w.size += int64(len(line)) + 1 // archivers do not count the blank line
	}
	w.stats.Lines++
	return nil
}

// Flush writes what was appended, in one write or, for a torn one, two.
func (w *LogWriter) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	done := 0
	if w.rng.chance(w.o.Torn) && len(w.buf) > 1 {
		done = w.rng.between(1, len(w.buf)-1)
		if err := w.write(w.buf[:done], done); err != nil {
			return err
		}
		w.pause(w.o.TornPause)
	}
	if err := w.write(w.buf[done:], len(w.buf)); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	return nil
}

// write writes a piece of buf that ends at upTo, and tells of the records that are complete by then:
// a record is, when its first line end is there.
func (w *LogWriter) write(piece []byte, upTo int) error {
	at := time.Now()
	if _, err := w.file.Write(piece); err != nil {
		return fmt.Errorf("simulator: writing %s: %w", w.o.Stream, err)
	}
	w.stats.Bytes += int64(len(piece))
	told := 0
	for _, p := range w.pending {
		if p.end >= upTo {
			break
		}
		if told++; p.record && w.o.OnWrite != nil {
			w.o.OnWrite(w.buf[p.start:p.end], at)
		}
	}
	w.pending = w.pending[:copy(w.pending, w.pending[told:])]
	return nil
}

// Stats returns the counts up to now; lines that wait for Flush are in Lines, not in Bytes.
func (w *LogWriter) Stats() LogStats { return w.stats }

// Close writes what was appended and closes the log. It ends without a trailer, as an archiver's does.
func (w *LogWriter) Close() error {
	err := w.Flush()
	if closeErr := w.file.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("simulator: closing %s: %w", w.o.Stream, closeErr)
	}
	return err
}

func (w *LogWriter) full() bool { return w.size >= w.limit }

func (w *LogWriter) lineEnd() string {
	if w.o.Generation == BytesBlank {
		return "\n\n"
	}
	return "\n"
}

// logNames matches every file that an archiver makes for a stream.
func logNames(stream string) *regexp.Regexp {
	return regexp.MustCompile(`^((old-)?` + regexp.QuoteMeta(stream) + `-log\d+|active-` + regexp.QuoteMeta(stream) + `-log)\.txt$`)
}
