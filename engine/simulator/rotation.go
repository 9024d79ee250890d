package simulator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// rotate ends the log and begins the next, in the order in which archivers do it: trailer, end of
// the file, renames of old logs, new file, active file.
func (w *LogWriter) rotate() error {
	unit := "bytes"
	if w.o.Generation == Entries {
		unit = "entries"
	}
	n, err := fmt.Fprintf(w.file, "End: Number of %s: %d%s", unit, w.size, w.lineEnd())
	w.stats.Bytes += int64(n)
	if err != nil {
		return err
	}
	if err := w.file.Close(); err != nil {
		return err
	}
	w.size = 0
	w.n++
	w.stats.Rotations++

	// At the middle of the numbers the upper half is retired, at the highest number the lower half.
	// So a number that is used again is a new file, and half of the logs exist at any time.
	half := w.o.MaxFiles / 2
	switch {
	case w.n == half:
		err = w.retire(half+1, w.o.MaxFiles, false)
	case w.n == w.o.MaxFiles:
		err = w.retire(1, half, true)
	case w.n > w.o.MaxFiles:
		w.n = 1
	}
	if err != nil {
		return err
	}
	return w.create()
}

// retire deletes the old-… logs, and renames the logs numbered from…to. Without always it does
// nothing if there are no old-… logs, because then the upper half has not been written yet.
func (w *LogWriter) retire(from, to int, always bool) error {
	old, err := w.listed("old-" + w.o.Stream + "-log")
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(filepath.Join(w.o.Dir, name)); err != nil {
			return err
		}
	}
	if len(old) == 0 && !always {
		return nil
	}
	for n := from; n <= to; n++ {
		err := os.Rename(w.path(n), filepath.Join(w.o.Dir, "old-"+filepath.Base(w.path(n))))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// create makes the log w.n and writes its name to the active file. The active file is truncated
// first, so a reader can find it empty.
func (w *LogWriter) create() error {
	file, err := os.OpenFile(w.path(w.n), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	w.file = file
	return os.WriteFile(w.activePath(), []byte(filepath.Base(w.path(w.n))), 0o644)
}

func (w *LogWriter) removeAll() error {
	ours := logNames(w.o.Stream)
	names, err := w.listed("")
	if err != nil {
		return err
	}
	for _, name := range names {
		if ours.MatchString(name) {
			if err := os.Remove(filepath.Join(w.o.Dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed returns the names in the directory that begin with prefix.
func (w *LogWriter) listed(prefix string) ([]string, error) {
	entries, err := os.ReadDir(w.o.Dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (w *LogWriter) path(n int) string {
	return filepath.Join(w.o.Dir, fmt.Sprintf("%s-log%d.txt", w.o.Stream, n))
}

func (w *LogWriter) activePath() string {
	return filepath.Join(w.o.Dir, "active-"+w.o.Stream+"-log.txt")
}
