package datalog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// inspectBytes is how much of a log's end Inspect reads: several records of the usual sizes.
const inspectBytes = 256 << 10

// Report is what Inspect reports about a stream's logs.
type Report struct {
	Logs  int   // of this and earlier laps
	Bytes int64 // of all of them

	Active  string    // name of the log that is being written; empty: there is no pointer
	Problem error     // why there is no active log; nil: there is one, or nothing at all yet
	Size    int64     // of the active log, in bytes
	Changed time.Time // when it was last written to
	Ended   bool      // it has its trailer: the next one is about to be begun
	Last    []byte    // its last whole record, nil if none stands in its last 256 KiB

	// Writer is the form of the logs' trailers and blank lines: "entries", "bytes" or
	// "bytes-blank"; empty if they do not tell.
	Writer string

	// Found says that the log of the Position exists. Behind is how many bytes of this log and of
	// later ones come after the Position. Both are set only if the Position was not zero.
	Found  bool
	Behind int64
}

// Inspect reports the state of a stream's logs, and how far a reader at from is behind. It reads
// the directory and some KiB of a few logs, whatever their size, and changes nothing. While a
// writer is rotating, Inspect may miss a log; a Follower does not. The error is one of reading the
// directory.
func Inspect(dir string, s Stream, from Position) (Report, error) {
	entries, err := listLogs(dir, s)
	if err != nil {
		return Report{}, err
	}
	r := Report{Logs: len(entries)}
	for _, e := range entries {
		r.Bytes += e.size
	}
	pointer, err := inspectPointer(dir, s)
	if errors.Is(err, fs.ErrNotExist) && len(entries) == 0 {
		return r, nil
	}
	if r.Problem = err; err == nil {
		r.Active = s.logName(pointer, false)
		arrange(entries, pointer)
		r.Problem = r.inspectActive(dir, pointer)
	}
	r.Writer = writerOf(dir, s, entries)
	if !from.IsZero() {
		r.inspectPosition(dir, s, entries, pointer, from)
	}
	return r, nil
}

func inspectPointer(dir string, s Stream) (uint32, error) {
	var text [256]byte
	n, err := readSmall(filepath.Join(dir, s.pointerName()), text[:])
	if err != nil {
		return 0, err
	}
	pointer, ok := s.parsePointer(text[:n])
	if !ok {
		return 0, fmt.Errorf("datalog: %s names no log: %.80q", s.pointerName(), text[:n])
	}
	return pointer, nil
}

func (r *Report) inspectActive(dir string, pointer uint32) error {
	l, err := openLog(filepath.Join(dir, r.Active), pointer)
	if err != nil {
		return err
	}
	defer l.close()
	r.Size, r.Changed = l.size, l.mtime
	end, err := endOf(l)
	if err != nil {
		return err
	}
	for line := range bytes.SplitSeq(end, []byte{'\n'}) {
		line = chomp(line)
		if isBlank(line) {
			continue
		}
		if r.Ended = isTrailer(line); !r.Ended {
			r.Last = line
		}
	}
	r.Last = bytes.Clone(r.Last)
	return nil
}

// endOf returns the last whole lines of a log.
func endOf(l *logFile) ([]byte, error) {
	b := make([]byte, min(l.size, inspectBytes))
	if err := readAt(l.file, b, l.size-int64(len(b))); err != nil {
		return nil, err
	}
	if int64(len(b)) < l.size { // the first line may be the end of a longer one
		_, b, _ = bytes.Cut(b, []byte{'\n'})
	}
	return b[:bytes.LastIndexByte(b, '\n')+1], nil
}

// writerOf returns the form of the writer's trailers and blank lines, from the newest logs' ends.
func writerOf(dir string, s Stream, entries []entry) string {
	newest := slices.SortedFunc(slices.Values(entries),
		func(a, b entry) int { return b.mtime.Compare(a.mtime) })
	writer := ""
	for _, e := range newest[:min(len(newest), 3)] {
		l, err := openLog(filepath.Join(dir, s.logName(e.number, e.old)), e.number)
		if err != nil {
			continue // renamed since, or not readable, which is reported elsewhere
		}
		end, err := endOf(l)
		l.close()
		if err != nil {
			continue
		}
		lines, blank := 0, 0
		for line := range bytes.Lines(end) {
			line = chomp(bytes.TrimSuffix(line, []byte{'\n'}))
			switch {
			case isBlank(line):
				blank++
				continue
			case isTrailer(line) && bytes.HasPrefix(line, trailerStarts[0]):
				return "entries"
			case isTrailer(line) && writer == "":
				writer = "bytes"
			}
			lines++
		}
		// Each line has its blank one; the last may be on its way.
		if blank > 0 && blank >= lines-1 {
			return "bytes-blank"
		}
	}
	return writer
}

func (r *Report) inspectPosition(
	dir string, s Stream, entries []entry, pointer uint32, from Position,
) {
	for _, e := range entries {
		if e.number != from.Number {
			continue
		}
		l, err := openLog(filepath.Join(dir, s.logName(e.number, e.old)), e.number)
		if err != nil {
			continue
		}
		fits, err := l.matches(from)
		size, id := l.size, l.id
		l.close()
		if err != nil || !fits {
			continue
		}
		ours, _ := placeOf(entries, from.Number, id, pointer)
		r.Found, r.Behind = true, size-int64(from.Offset)
		if pointer > 0 {
			r.Behind += unread(entries, ours)
		}
		return
	}
}
