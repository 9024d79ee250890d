package enginetest

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"sync"
)

// Line is one line of a distributor's log.
type Line struct {
	Level string
	Msg   string
	Attrs map[string]any // numbers are float64
	Text  string         // the whole line
}

// output has the log lines of one run of a distributor. It is safe for concurrent use.
type output struct {
	mu    sync.Mutex
	lines []Line
	more  chan struct{} // closed when there is another line, or when the output has ended
	ended bool
}

// read reads lines until the end of r.
func (o *output) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		o.add(parseLine(lines.Text()), false)
	}
	_, _ = io.Copy(io.Discard, r)
	o.add(Line{}, true)
}

func parseLine(text string) Line {
	l := Line{Text: text}
	if json.Unmarshal([]byte(text), &l.Attrs) == nil {
		l.Level, _ = l.Attrs["level"].(string)
		l.Msg, _ = l.Attrs["msg"].(string)
	}
	return l
}

func (o *output) add(l Line, end bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if end {
		o.ended = true
	} else {
		o.lines = append(o.lines, l)
	}
	close(o.more)
	o.more = make(chan struct{})
}

// since returns the lines from number n on. more is closed when there are further lines.
func (o *output) since(n int) (lines []Line, more <-chan struct{}, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lines[min(n, len(o.lines)):len(o.lines):len(o.lines)], o.more, o.ended
}

// last returns the last n lines, for a failed test.
func (o *output) last(n int) string {
	lines, _, _ := o.since(0)
	var b strings.Builder
	for _, l := range lines[max(0, len(lines)-n):] {
		b.WriteString(l.Text)
		b.WriteByte('\n')
	}
	return b.String()
}

// fault returns the lines of a data race or a panic, or "". No run may have any.
func (o *output) fault() string {
	lines, _, _ := o.since(0)
	for i, l := range lines {
		if strings.Contains(l.Text, "DATA RACE") || strings.Contains(l.Text, "panic: ") ||
			strings.Contains(l.Text, "fatal error: ") {
			var b strings.Builder
			for _, l := range lines[i:min(len(lines), i+60)] {
				b.WriteString(l.Text)
				b.WriteByte('\n')
			}
			return b.String()
		}
	}
	return ""
}
