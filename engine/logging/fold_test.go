package logging

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// quiet removes the time, so that lines can be compared.
func quiet(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
}

// console is a writer that several goroutines may use.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

// take returns what was written since the last take.
func (c *console) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.text.Reset()
	return c.text.String()
}

func TestRepeatsAreFolded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out console
		log := slog.New(newFolding(quiet(&out)))
		said := func(want ...string) {
			t.Helper()
			synctest.Wait()
			got := out.take()
			if joined := strings.Join(want, ""); got != joined {
				t.Errorf("got\n%swant\n%s", got, joined)
			}
		}
		for i := range 100 {
			log.With("part", "a").Error("no disk", "n", i)
			log.Info("no disk")
		}
		log.Error("another")
		var first string
		for i := range printed {
			first += fmt.Sprintf("level=ERROR msg=\"no disk\" part=a n=%d\nlevel=INFO msg=\"no disk\"\n", i)
		}
		said(first, "level=ERROR msg=another\n")

		time.Sleep(window + sweepEvery)
		synctest.Wait()
		if got := out.take(); !strings.Contains(got,
			"level=ERROR msg=\"no disk\" part=a n=99 repeated=80\n") ||
			!strings.Contains(got, "level=INFO msg=\"no disk\" repeated=80\n") ||
			strings.Count(got, "\n") != 2 {
			t.Errorf("summary:\n%s", got)
		}

		// While the repetition continues there is one line per window, and no other.
		for range 50 {
			log.Warn("no disk")
		}
		said(strings.Repeat("level=WARN msg=\"no disk\"\n", printed))
		time.Sleep(window + sweepEvery)
		said("level=WARN msg=\"no disk\" repeated=30\n")
		for range 50 {
			log.Warn("no disk")
		}
		said()
		time.Sleep(window + sweepEvery)
		said("level=WARN msg=\"no disk\" repeated=50\n")

		// When the line has become rare, it is printed at once again, and nothing is held.
		log.Warn("no disk")
		said()
		time.Sleep(window + sweepEvery)
		said("level=WARN msg=\"no disk\" repeated=1\n")
		log.Warn("no disk")
		said("level=WARN msg=\"no disk\"\n")
		time.Sleep(window + sweepEvery)
		said()
	})
}

// Closing the log prints the held records.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := newFolding(quiet(&out))
		for range printed + 3 {
			slog.New(h).Info("x")
		}
		h.flush()
		if got := out.String(); strings.Count(got, "\n") != printed+1 ||
			!strings.HasSuffix(got, "level=INFO msg=x repeated=3\n") {
			t.Error(got)
		}
		time.Sleep(3 * window) // the sweep ends by itself
	})
}

// Ever new messages do not grow memory or disk without bound.
func TestManyDifferentLines(t *testing.T) {
	r := repeats{make(map[line]*series)}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	admitted := 0
	for i := range 100 * maxSeries {
		if r.admit(held{record: slog.NewRecord(noon, slog.LevelError, fmt.Sprint("line ", i), 0)}, noon) {
			admitted++
		}
	}
	if admitted != maxSeries+printed || len(r.series) != maxSeries+1 {
		t.Errorf("%d printed, %d kept", admitted, len(r.series))
	}
	if got := r.due(noon.Add(window - 1)); len(got) != 0 {
		t.Errorf("%d before the end of the window", len(got))
	}
	got := r.due(noon.Add(window))
	if len(got) != 1 || len(r.series) != 1 {
		t.Errorf("%d due, %d left", len(got), len(r.series))
	}
	if r.due(noon.Add(2 * window)); len(r.series) != 0 {
		t.Errorf("%d left", len(r.series))
	}
}

// No line is lost or counted twice while several goroutines log (for -race).
func TestEachLineCountsOnce(t *testing.T) {
	var out bytes.Buffer
	h := newFolding(quiet(&out))
	var writers sync.WaitGroup
	const each = 500
	for i := range 8 {
		log := slog.New(h).With("writer", i)
		writers.Go(func() {
			for range each {
				log.Info("hello")
			}
		})
	}
	writers.Wait()
	h.flush()
	total := 0
	for l := range strings.Lines(out.String()) {
		n := 1
		if _, s, ok := strings.Cut(l, "repeated="); ok {
			fmt.Sscan(s, &n)
		}
		total += n
	}
	if total != 8*each {
		t.Errorf("%d of %d lines:\n%s", total, 8*each, &out)
	}
}

func BenchmarkPrinted(b *testing.B) {
	log := slog.New(newFolding(slog.NewTextHandler(discard{}, nil)))
	b.ReportAllocs()
	for i := range b.N {
		if i%printed == 0 {
			log = slog.New(newFolding(slog.NewTextHandler(discard{}, nil)))
		}
		log.Info("request refused", "reason", "x")
	}
}

func BenchmarkFolded(b *testing.B) {
	log := slog.New(newFolding(slog.NewTextHandler(discard{}, nil)))
	b.ReportAllocs()
	for range b.N {
		log.Info("request refused", "reason", "x")
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
