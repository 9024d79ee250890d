package logging

import (
	"io"
	"log/slog"
)

// Where lines go: the values of LOG_TO.
const (
	ToStderr = "stderr"
	ToFiles  = "files"
	ToBoth   = "both"
)

// Options say what a log is like.
type Options struct {
	Level  slog.Leveler // asked for every record
	Format string       // "json", or text
	To     string       // ToStderr, ToFiles or ToBoth
	Dir    string       // of the files; made when the first line comes
	Stderr io.Writer    // standard error
}

// Open returns the handler of a log, and what ends it: that prints what is
// still held back and closes the file.
func Open(o Options) (handler slog.Handler, closeLog func()) {
	stderr := format(o.Stderr, o.Format, o.Level)
	if o.To == ToStderr {
		h := newFolding(stderr)
		return h, h.flush
	}
	out := newFile(o.Dir, o.Stderr, slog.New(stderr))
	out.both = o.To == ToBoth
	h := newFolding(format(out, o.Format, o.Level))
	return h, func() {
		h.flush()
		out.close()
	}
}

func format(w io.Writer, format string, level slog.Leveler) slog.Handler {
	w = escaping{w}
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}
