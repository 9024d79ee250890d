package logging

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"
)

// The primary logs a worker's records as its own, with the worker's number added.
func TestForwardKeepsLines(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)
	say := func(log *slog.Logger) {
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn,
			slog.LevelError, slog.LevelInfo + 2} {
			r := slog.NewRecord(at, level, "a message with \"quotes\"\nand a line break", 0)
			r.AddAttrs(slog.String("text", "ä <&> \x00"), slog.Int64("least", math.MinInt64),
				slog.Uint64("most", math.MaxUint64),
				slog.Float64("f", 0.25), slog.Bool("b", true), slog.Any("error", errors.New("no")),
				slog.String("msg", "an attribute"),
				slog.Any("list", []int{1, 2}), slog.Any("none", nil), slog.Duration("d", time.Second))
			_ = log.Handler().Handle(t.Context(), r)
		}
	}
	for name, format := range map[string]func(*bytes.Buffer) slog.Handler{
		"json": func(w *bytes.Buffer) slog.Handler {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})
		},
		"text": func(w *bytes.Buffer) slog.Handler {
			return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})
		},
	} {
		var worker, direct, forwarded bytes.Buffer
		say(slog.New(slog.NewJSONHandler(&worker, &slog.HandlerOptions{Level: slog.LevelDebug})))
		Forward(&worker, slog.New(format(&forwarded)).With("worker", 3), "worker")
		if name == "json" {
			say(slog.New(slog.NewJSONHandler(&direct,
				&slog.HandlerOptions{Level: slog.LevelDebug})).With("worker", 3))
			if got, want := forwarded.String(),
				direct.String()[strings.Index(direct.String(), "\n")+1:]; got != want {
				t.Errorf("%s: got\n%s want\n%s", name, got, want)
			}
		}
		// debug is below the primary's level
		if lines := strings.Count(forwarded.String(), "\n"); lines != 4 {
			t.Errorf("%s: %d lines:\n%s", name, lines, &forwarded)
		}
	}
}

// A panic is not JSON.
func TestForwardWhatIsNoJSON(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	for _, line := range []string{
		"panic: boom", "\tmain.go:17 +0x25", long, `{"a":1}`,
		`{"time":"2026-03-04T05:06:07Z","level":"INFO","msg":"cut`,
		`{"time":"2026-03-04T05:06:07Z","level":"LOUD","msg":"x"}`,
		`{"time":"soon","level":"INFO","msg":"x"}`,
		`{"time":"2026-03-04T05:06:07Z","level":"INFO","msg":1}`,
		`{"time":"2026-03-04T05:06:07Z","level":"INFO","msg":"x"}{`,
		`{"time":"2026-03-04T05:06:07Z","level":"INFO","msg":"x"`, "{", `{"time"}`,
	} {
		var out bytes.Buffer
		Forward(strings.NewReader("\n \r\n"+line+"\n"),
			slog.New(slog.NewTextHandler(&out, nil)).With("worker", 7), "worker")
		got := out.String()
		if strings.Count(got, "\n") != 1 ||
			!strings.Contains(got, "level=ERROR msg=\"worker output: ") ||
			!strings.Contains(got, "worker=7") || len(got) > 2*maxLine {
			t.Errorf("%.100s: %.200s", line, got)
		}
	}
}

func TestForwardIsBounded(t *testing.T) {
	var out bytes.Buffer
	Forward(strings.NewReader(strings.Repeat("goroutine 1 [running]:\n", 5*linesPerSecond)),
		slog.New(slog.NewTextHandler(&out, nil)), "worker")
	if n := strings.Count(out.String(), "\n"); n > 2*linesPerSecond+2 ||
		!strings.Contains(out.String(), "lines left out") {
		t.Errorf("%d lines", n)
	}
}

// FuzzParseLine checks that parseLine either refuses a line, or returns a record that prints as one
// line and is parsed to the same record again.
func FuzzParseLine(f *testing.F) {
	for _, s := range []string{
		`{"time":"2026-03-04T05:06:07.5Z","level":"WARN+1","msg":"m","a":{"b":[1,null]},"c":-0,"d":1e400,"e":18446744073709551615}`,
		`{"msg":"m","level":"ERROR","time":"2026-03-04T05:06:07+02:00","msg":"\ud800"}`,
		`{"time":null}`, `{`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, ok := parseLine(line)
		if !ok {
			return
		}
		var first, second bytes.Buffer
		if err := slog.NewJSONHandler(&first,
			&slog.HandlerOptions{Level: slog.Level(-1 << 30)}).Handle(t.Context(), r); err != nil {
			t.Skip(err) // a year that JSON cannot say
		}
		if bytes.Count(first.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("%q printed as %q", line, &first)
		}
		again, ok := parseLine(bytes.TrimSuffix(first.Bytes(), []byte("\n")))
		if !ok {
			if bytes.Contains(first.Bytes(), []byte("!ERROR")) || r.Time.IsZero() {
				return
			}
			t.Fatalf("%q, printed as %q, is not read again", line, &first)
		}
		_ = slog.NewJSONHandler(&second,
			&slog.HandlerOptions{Level: slog.Level(-1 << 30)}).Handle(t.Context(), again)
		if first.String() != second.String() {
			t.Fatalf("%q: %s then %s", line, &first, &second)
		}
	})
}

func BenchmarkForward(b *testing.B) {
	line := []byte(`{"time":"2026-03-04T05:06:07.123456789Z","level":"INFO","msg":"client closed","key":"758b1c119412298802cd28dbfa394cdfeecc4074492d60844cc192d632d84de3","reason":"client_closed","code":1000}`)
	b.ReportAllocs()
	for range b.N {
		if _, ok := parseLine(line); !ok {
			b.Fatal(fmt.Errorf("refused"))
		}
	}
}
