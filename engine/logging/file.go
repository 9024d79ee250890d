package logging

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/DeRuina/timberjack"
)

const (
	fileName = "distributor.log"
	// fileMiB and filesKept limit the disk space of the log to 704 MiB.
	fileMiB   = 64
	filesKept = 10
)

// file writes to the log file, or to standard error while the file does not work. Its one user is a
// slog handler, which writes whole lines, one at a time.
type file struct {
	out    *timberjack.Logger
	both   bool // standard error also gets every line
	stderr io.Writer
	say    *slog.Logger // logs to standard error, in the log's format

	failing bool
}

func newFile(dir string, stderr io.Writer, say *slog.Logger) *file {
	path := filepath.Join(dir, fileName)
	// timberjack would make the first file readable for its group. An existing file keeps its
	// permissions, and each following file gets the same. If the file cannot be created, the first
	// Write reports why.
	_ = os.MkdirAll(dir, 0o755)
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err == nil {
		_ = f.Close()
	}
	return &file{
		out: &timberjack.Logger{Filename: path, MaxSize: fileMiB, MaxBackups: filesKept},
		say: say, stderr: stderr,
	}
}

// Write never returns an error, because no caller could do more about it.
func (f *file) Write(line []byte) (int, error) {
	whole := line
	if f.failing { // the file may end with a part of the last line
		whole = append([]byte{'\n'}, line...)
	}
	_, err := f.out.Write(whole)
	if was := f.failing; was != (err != nil) {
		f.failing = err != nil
		if f.failing {
			f.say.Error("log file cannot be written; the log goes to standard error until it can",
				"file", f.out.Filename, "error", err)
		} else {
			f.say.Info("log file can be written again", "file", f.out.Filename)
		}
	}
	if f.both || f.failing {
		_, _ = f.stderr.Write(line)
	}
	return len(line), nil
}

func (f *file) close() { _ = f.out.Close() }
