package logging

import (
	"io"
	"log/slog"
)

// Values of LOG_TO.
const (
	ToStderr = "stderr"
	ToFiles  = "files"
	ToBoth   = "both"
)

// Options configure a log.
type Options struct {
	Level  slog.Leveler // read for every record
	Format string       // "json", or text
	To     string       // ToStderr, ToFiles or ToBoth
	Dir    string       // directory of the files; created by the first line
	Stderr io.Writer    // standard error
}

// Open returns the handler of a log, and a function that ends the log: it prints the held records
// and closes the file.
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
