package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	window    = 10 * time.Second
	printed   = 20   // equal lines printed in a window
	maxSeries = 1000 // different lines that are counted apart in a window
	// sweepEvery is how often ended windows are looked for while windows exist.
	sweepEvery = time.Second
)

// line identifies a repeat. Records that differ only in attributes are the same line: "request
// refused" for a thousand addresses.
type line struct {
	level   slog.Level
	message string
}

// series is the window of one line.
type series struct {
	ends    time.Time
	seen    int  // records in this window
	held    int  // records in this window that were not printed
	folding bool // the last window had too many: print nothing before this one ends
	last    held // the newest record that was not printed
}

// held is a record with the handler that was to print it.
type held struct {
	handler slog.Handler
	record  slog.Record
}

// repeats decides which records are printed. It has no clock and does no I/O. It is not safe for
// concurrent use.
type repeats struct {
	series map[line]*series
}

// admit reports whether a record is printed now. If not, the record is held or counted.
func (r *repeats) admit(h held, now time.Time) bool {
	l := line{h.record.Level, h.record.Message}
	s := r.series[l]
	if s == nil && len(r.series) >= maxSeries {
		l.message = "" // stands for all other messages of that level
		s = r.series[l]
	}
	if s == nil {
		s = &series{ends: now.Add(window)}
		r.series[l] = s
	}
	s.seen++
	if !s.folding && s.seen <= printed {
		return true
	}
	s.held++
	s.last = held{h.handler, h.record.Clone()}
	return false
}

// due returns the records to print for windows that have ended: the last held record of each, with
// the number of records that it stands for.
func (r *repeats) due(now time.Time) []held {
	var out []held
	for l, s := range r.series {
		if now.Before(s.ends) {
			continue
		}
		if s.held > 0 {
			s.last.record.AddAttrs(slog.Int("repeated", s.held))
			out = append(out, s.last)
		}
		if s.seen <= printed {
			delete(r.series, l)
			continue
		}
		*s = series{ends: now.Add(window), folding: true}
	}
	return out
}

// folding is a handler that prints the records that repeats admits.
type folding struct {
	next slog.Handler
	*shared
}

// shared is the common state of all handlers that WithAttrs and WithGroup made from one handler.
type shared struct {
	mu       sync.Mutex // guards repeats and sweeping
	repeats  repeats
	sweeping bool // a sweep is scheduled
}

func newFolding(next slog.Handler) *folding {
	return &folding{next, &shared{repeats: repeats{make(map[line]*series)}}}
}

func (f *folding) Enabled(ctx context.Context, level slog.Level) bool {
	return f.next.Enabled(ctx, level)
}
func (f *folding) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &folding{f.next.WithAttrs(attrs), f.shared}
}
func (f *folding) WithGroup(name string) slog.Handler {
	return &folding{f.next.WithGroup(name), f.shared}
}

func (f *folding) Handle(ctx context.Context, r slog.Record) error {
	f.mu.Lock()
	print := f.repeats.admit(held{f.next, r}, time.Now())
	if !f.sweeping {
		f.sweeping = true
		time.AfterFunc(sweepEvery, f.sweep)
	}
	f.mu.Unlock()
	if !print {
		return nil
	}
	return f.next.Handle(ctx, r)
}

func (s *shared) sweep() {
	s.mu.Lock()
	due := s.repeats.due(time.Now())
	if s.sweeping = len(s.repeats.series) > 0; s.sweeping {
		time.AfterFunc(sweepEvery, s.sweep)
	}
	s.mu.Unlock()
	printAll(due)
}

// flush prints the held records, even if their windows have not ended.
func (s *shared) flush() {
	s.mu.Lock()
	due := s.repeats.due(time.Now().Add(window))
	s.mu.Unlock()
	printAll(due)
}

func printAll(due []held) {
	for _, h := range due {
		_ = h.handler.Handle(context.Background(), h.record) // as slog.Logger does
	}
}
