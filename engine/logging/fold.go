package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	window    = 10 * time.Second
	printed   = 20   // of the same line in a window
	maxSeries = 1000 // different lines that are told apart in a window
	// sweepEvery is how often ended windows are looked for, while there are any.
	sweepEvery = time.Second
)

// line is what repeats are recognised by. What differs in attributes only is
// the same line: "request refused" of a thousand addresses.
type line struct {
	level   slog.Level
	message string
}

// series is one line's window.
type series struct {
	ends    time.Time
	seen    int  // in this window
	held    int  // of them not printed
	folding bool // the last window was too full: nothing is printed before the end of this one
	last    held // the newest that was not printed
}

// held is a record with the handler that was to print it.
type held struct {
	handler slog.Handler
	record  slog.Record
}

// repeats decides what is printed. It has no clock and does no I/O. Not for
// concurrent use.
type repeats struct {
	series map[line]*series
}

// admit says whether a record is printed now; if not, it is held or counted.
func (r *repeats) admit(h held, now time.Time) bool {
	l := line{h.record.Level, h.record.Message}
	s := r.series[l]
	if s == nil && len(r.series) >= maxSeries {
		l.message = "" // of all others of that level
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

// due returns what is to be printed for windows that have ended: the last
// record held, saying for how many it stands.
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

// folding is a handler that prints what repeats admits.
type folding struct {
	next slog.Handler
	*shared
}

// shared is common to all handlers that came from one by WithAttrs and WithGroup.
type shared struct {
	mu       sync.Mutex // guards repeats and sweeping
	repeats  repeats
	sweeping bool // a sweep will come
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

// flush prints what is held, however long its window still lasts.
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
