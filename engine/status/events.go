package status

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"distributor/engine/logging"
)

const (
	// maxEvents is how many events are kept.
	maxEvents = 100
	// foldWithin is how long after the last occurrence a repeated event counts as the same one.
	foldWithin = time.Minute
	// maxText is the maximum length of an event's text, in bytes.
	maxText = 400
)

// telling lists the attributes that say what a line is about. Lines with the same message that
// differ only in other attributes (figures, addresses) are the same event.
var telling = []string{
	"stream", "worker", "reason", "failure", "key", "change", "signal", "line", "component",
}

// Events keeps the last log lines from info on. Its methods may be called from any goroutine.
type Events struct {
	mu     sync.Mutex // guards all that follows
	last   []entry    // oldest first
	logged Counts
}

type entry struct {
	Event
	about string
}

// NewEvents returns an Events without any event.
func NewEvents() *Events { return &Events{logged: Counts{"warn": 0, "error": 0}} }

// Handler returns a handler that keeps events and passes every record on to next if next is enabled
// for it.
func (e *Events) Handler(next slog.Handler) slog.Handler { return &tee{events: e, next: next} }

// Last returns the events, newest last.
func (e *Events) Last() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Event, len(e.last))
	for i, one := range e.last {
		out[i] = one.Event
	}
	return out
}

func (e *Events) counts() Counts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Counts{"warn": e.logged["warn"], "error": e.logged["error"]}
}

func (e *Events) add(one entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if one.Level != "info" {
		e.logged[one.Level]++
	}
	same := func(former entry) bool {
		return former.about == one.about && former.Level == one.Level &&
			one.Time.Sub(former.Time) < foldWithin
	}
	if i := slices.IndexFunc(e.last, same); i >= 0 {
		one.Count += e.last[i].Count
		e.last = slices.Delete(e.last, i, i+1)
	}
	if len(e.last) == maxEvents {
		e.last = slices.Delete(e.last, 0, 1)
	}
	e.last = append(e.last, one)
}

// tee is the slog.Handler that keeps events.
type tee struct {
	events *Events
	next   slog.Handler
	text   string // attributes of WithAttrs, as in an event
	about  string // the telling attributes among them
	group  string // prefix of WithGroup: "a.b."
}

func (t *tee) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || t.next.Enabled(ctx, level)
}

func (t *tee) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		text, about := strings.Builder{}, strings.Builder{}
		text.WriteString(r.Message + t.text)
		about.WriteString(r.Message + t.about)
		r.Attrs(func(a slog.Attr) bool {
			t.write(&text, &about, a)
			return true
		})
		t.events.add(entry{Event{r.Time.Round(0), levelName(r.Level), clip(text.String()), 1},
			about.String()})
	}
	if !t.next.Enabled(ctx, r.Level) {
		return nil
	}
	return t.next.Handle(ctx, r)
}

func (t *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	text, about := strings.Builder{}, strings.Builder{}
	for _, a := range attrs {
		t.write(&text, &about, a)
	}
	more := *t
	more.next, more.text, more.about = t.next.WithAttrs(attrs), t.text+text.String(),
		t.about+about.String()
	return &more
}

func (t *tee) WithGroup(name string) slog.Handler {
	more := *t
	more.next = t.next.WithGroup(name)
	if name != "" {
		more.group += name + "."
	}
	return &more
}

func (t *tee) write(text, about *strings.Builder, a slog.Attr) {
	if a.Equal(slog.Attr{}) {
		return
	}
	part := fmt.Sprintf(" %s%s=%v", t.group, a.Key, a.Value.Resolve())
	text.WriteString(part)
	if slices.Contains(telling, a.Key) {
		about.WriteString(part)
	}
}

func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warn"
	}
	return "info"
}

// clip makes all characters of a text visible and shortens the text.
func clip(text string) string {
	text = logging.Visible(text)
	if len(text) > maxText {
		cut := maxText
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return text
}
