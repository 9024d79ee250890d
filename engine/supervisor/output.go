package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"time"
)

const (
	maxLine        = 4 << 10 // bytes of a line that are kept
	linesPerSecond = 200     // room for the stack dump of a crash; what is beyond is only counted
)

// forward puts what a worker writes to its standard output and error into the
// log, a line a record, until the end.
func forward(r io.Reader, log *slog.Logger) {
	in := bufio.NewReaderSize(r, maxLine)
	var second time.Time
	var lines, left int
	for {
		line, cut, err := in.ReadLine()
		if err != nil {
			break
		}
		// A later ReadLine overwrites line.
		text, level := string(line), lineLevel(line)
		for cut && err == nil {
			_, cut, err = in.ReadLine()
		}
		if now := time.Now(); now.Sub(second) >= time.Second {
			sayLeftOut(log, left)
			second, lines, left = now, 0, 0
		}
		if lines++; lines > linesPerSecond {
			left++
			continue
		}
		log.Log(context.Background(), level, "worker says", "line", text)
	}
	sayLeftOut(log, left)
}

func sayLeftOut(log *slog.Logger, lines int) {
	if lines > 0 {
		log.Warn("worker says too much: lines left out", "lines", lines)
	}
}

// lineLevel is the level of a line as slog's text and JSON handlers write it;
// what else appears there is the runtime's last words.
func lineLevel(line []byte) slog.Level {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelError} {
		if bytes.Contains(line, []byte("level="+level.String())) || bytes.Contains(line, []byte(`"level":"`+level.String())) {
			return level
		}
	}
	return slog.LevelWarn
}
