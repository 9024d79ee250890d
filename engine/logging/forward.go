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
	maxLine        = 16 << 10 // bytes of a line that are kept
	linesPerSecond = 200      // room for the stack dump of a crash; what is beyond is only counted
)

// Forward puts what a child process writes to its standard output and error into
// the log, a line a record, until the end. Our children log JSON, whose lines keep
// their time, level and attributes. What else comes there is the runtime's last
// words: a panic with its stacks, or what a library could not keep to itself;
// who, such as "worker", says whose.
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
		if !ok { // a later ReadLine overwrites line
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
			// In the message, since repeats are told by it.
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
