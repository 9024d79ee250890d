package logging

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"time"
)

const (
	maxLine        = 16 << 10 // bytes of a line that are logged
	linesPerSecond = 200      // enough for the stack dump of a crash; further lines are only counted
)

// Forward logs what a child process writes to its standard output and error, one record per line,
// until the stream ends. Our child processes log JSON; such lines keep their time, level and
// attributes. Any other line is output of the Go runtime, such as a panic with its stacks, or of a
// library. who, such as "worker", names the process in the message of such a line.
func Forward(r io.Reader, log *slog.Logger, who string) {
	in := bufio.NewReaderSize(r, maxLine)
	var second time.Time
	var lines, left int
	for {
		line, cut, err := in.ReadLine()
		if err != nil {
			break
		}
		record, ok := parseLine(line)
		text := ""
		if !ok { // copied, because a later ReadLine overwrites line
			text = string(bytes.TrimSpace(line))
		}
		for cut && err == nil {
			_, cut, err = in.ReadLine()
		}
		if !ok && text == "" {
			continue
		}
		if now := time.Now(); now.Sub(second) >= time.Second {
			sayLeftOut(log, who, left)
			second, lines, left = now, 0, 0
		}
		if lines++; lines > linesPerSecond {
			left++
			continue
		}
		if !ok {
			// The text is in the message, because repeats are recognized by the message.
			log.Error(who + " output: " + text)
		} else if ctx := context.Background(); log.Enabled(ctx, record.Level) {
			_ = log.Handler().Handle(ctx, record) // as slog.Logger does
		}
	}
	sayLeftOut(log, who, left)
}

func sayLeftOut(log *slog.Logger, who string, lines int) {
	if lines > 0 {
		log.Info(who+" says too much: lines left out", "lines", lines)
	}
}
