package logging

import (
	"io"
	"log/slog"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	fileName = "distributor.log"
	// fileMiB and filesKept bound the disk that the log takes: 704 MiB.
	fileMiB   = 64
	filesKept = 10
)

// file is the log file, and standard error in its place while it does not
// work. Its one user is a slog handler, which writes whole lines, one at a time.
type file struct {
	out    *lumberjack.Logger
	both   bool // standard error gets every line
	stderr io.Writer
	say    *slog.Logger // to standard error, in the log's format

	failing bool
}

func newFile(dir string, stderr io.Writer, say *slog.Logger) *file {
	return &file{
		out: &lumberjack.Logger{Filename: filepath.Join(dir, fileName), MaxSize: fileMiB, MaxBackups: filesKept},
		say: say, stderr: stderr,
	}
}

// Write never fails: there is nobody to tell who could do more about it.
func (f *file) Write(line []byte) (int, error) {
	whole := line
	if f.failing { // a part of the last line may be there
		whole = append([]byte{'\n'}, line...)
	}
	_, err := f.out.Write(whole)
	if was := f.failing; was != (err != nil) {
		f.failing = err != nil
		if f.failing {
			f.say.Error("log file cannot be written; the log goes to standard error until it can", "file", f.out.Filename, "error", err)
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
