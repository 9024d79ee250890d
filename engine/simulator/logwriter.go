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

// Generation is one of the ways in which archivers have written data logs; see the package doc.
type Generation string

const (
	Entries    Generation = "entries"
	Bytes      Generation = "bytes"
	BytesBlank Generation = "bytes-blank"
)

// LogOptions says where and how one stream's data logs are written. A limit of zero means the
// default of archivers of the generation.
type LogOptions struct {
	Dir        string // made if it does not exist
	Stream     string
	Generation Generation
	MaxEntries int   // records in a log of the generation Entries; default 1000
	MaxBytes   int64 // bytes in a log of the other generations; default 10 MiB
	MaxFiles   int   // highest log number: even, at least 4; default 10 (Entries) or 20
	Fresh      bool  // delete this stream's logs first; else continue the current one
	BatchLines int   // most lines in one write; 0: all that were appended

	Torn      float64       // share of writes, 0 to 1, that are cut in two
	TornPause time.Duration // between the two
	Seed      string        // determines which writes are cut, and where

	// OnWrite is called after each record has been written in full, with the time just before the
	// write that completed it. line is the line in the file without its line end. It is valid only
	// during the call.
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

// LogStats counts what a LogWriter has written.
type LogStats struct {
	Lines     int64 // records and lines that are no records
	Bytes     int64 // of lines, line ends and trailers
	Rotations int64
}

type pendingLine struct {
	start, end int // in buf, without line end
	record     bool
}

// NewLogWriter opens the stream's logs. Like a restarted archiver it continues the log that the
// active file names, and rotates at once if that log is full.
func NewLogWriter(o LogOptions) (*LogWriter, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	w := &LogWriter{
		o: o, n: 1, limit: o.MaxBytes, rng: newRandom("torn:" + o.Stream + ":" + o.Seed),
		pause: time.Sleep,
	}
	if o.Generation == Entries {
		w.limit = int64(o.MaxEntries)
	}
	if err := w.open(); err != nil {
		if w.file != nil {
			_ = w.file.Close() // the first error is returned
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

// measure counts the contents of the log as a restarted archiver does: all line ends, or all bytes.
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

// Append adds a record to what Flush will write. It copies line. If the log is full, it first
// flushes and rotates.
func (w *LogWriter) Append(line []byte) error { return w.append(line, true) }

// AppendNoise adds a line that is no record, such as a damaged one. It is written and counted like
// a record, but OnWrite is not called for it.
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

// Flush writes what was appended, in one write or, if it is torn, in two.
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

// write writes a piece of buf that ends at upTo, and calls OnWrite for the records that are
// complete by then. A record is complete when its first line end is written.
func (w *LogWriter) write(piece []byte, upTo int) error {
	at := time.Now()
	if _, err := w.file.Write(piece); err != nil {
		return fmt.Errorf("simulator: writing %s: %w", w.o.Stream, err)
	}
	w.stats.Bytes += int64(len(piece))
	completed := 0
	for _, p := range w.pending {
		if p.end >= upTo {
			break
		}
		if completed++; p.record && w.o.OnWrite != nil {
			w.o.OnWrite(w.buf[p.start:p.end], at)
		}
	}
	w.pending = w.pending[:copy(w.pending, w.pending[completed:])]
	return nil
}

// Stats returns the current counts. Lines that wait for Flush count in Lines, not in Bytes.
func (w *LogWriter) Stats() LogStats { return w.stats }

// Close writes what was appended and closes the log, without a trailer, like a stopped archiver.
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

// logNames matches the name of every file that an archiver makes for a stream.
func logNames(stream string) *regexp.Regexp {
	name := regexp.QuoteMeta(stream)
	return regexp.MustCompile(`^((old-)?` + name + `-log\d+|active-` + name + `-log)\.txt$`)
}
