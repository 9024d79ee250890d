package status

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestEvents(t *testing.T) {
	var out bytes.Buffer
	events := NewEvents()
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	log := slog.New(events.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})))
	log.Debug("fine print")
	log.Info("data log: next log", "file", "receipt-log2.txt")
	log.With("worker", 3).Error("worker lost", "clients", 5)
	for i := range 3 {
		log.Warn("request refused", "reason", "expired", "remote", i)
	}
	log.Warn("request refused", "reason", "full", "remote", 9)
	log.With("worker", 4).Error("worker lost", "clients", 6)
	log.WithGroup("g").With("a", 1).Info("grouped", "b", 2)

	var got []string
	for _, e := range events.Last() {
		if e.Time.IsZero() {
			t.Errorf("no time: %+v", e)
		}
		got = append(got, fmt.Sprintf("%s %s ×%d", e.Level, e.Text, e.Count))
	}
	want := []string{
		"info data log: next log file=receipt-log2.txt ×1",
		"error worker lost worker=3 clients=5 ×1",
		"warn request refused reason=expired remote=2 ×3",
		"warn request refused reason=full remote=9 ×1",
		"error worker lost worker=4 clients=6 ×1",
		"info grouped g.a=1 g.b=2 ×1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if c := events.counts(); c["warn"] != 4 || c["error"] != 2 || len(c) != 2 {
		t.Errorf("%v", c)
	}
	// The log itself decides what it prints.
	if text := out.String(); strings.Contains(text, "next log") ||
		strings.Contains(text, "fine print") || strings.Count(text, "\n") != 6 ||
		!strings.Contains(text, `msg="worker lost" worker=3 clients=5`) {
		t.Errorf("log:\n%s", text)
	}
	level.Set(slog.LevelDebug)
	log.Debug("fine print")
	if !strings.Contains(out.String(), "fine print") || len(events.Last()) != len(want) {
		t.Error("debug goes to the log and is no event")
	}
}

func TestEventsAreBounded(t *testing.T) {
	events := NewEvents()
	handler := events.Handler(slog.DiscardHandler)
	start := time.Now()
	say := func(after time.Duration, text string) {
		if err := handler.Handle(context.Background(), slog.NewRecord(start.Add(after), slog.LevelInfo,
			text, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 * maxEvents {
		say(0, fmt.Sprint("event ", i))
	}
	say(0, "event 290") // moves to the end
	say(2*foldWithin, "event 290")
	last := events.Last()
	if len(last) != maxEvents || last[98].Text != "event 290" || last[98].Count != 2 ||
		last[99].Text != "event 290" || last[99].Count != 1 || last[97].Text != "event 299" {
		t.Errorf("%d %+v", len(last), last[95:])
	}
	say(0, strings.Repeat("é", maxText))
	say(0, "a\xff\u202e\n")
	last = events.Last()
	if long := last[98].Text; len(long) > maxText+3 || !utf8.ValidString(long) ||
		!strings.HasSuffix(long, "é…") {
		t.Errorf("%d bytes: %q", len(long), long)
	}
	if last[99].Text != `a\ufffd\u202e\u000a` {
		t.Errorf("%q", last[99].Text)
	}
}

// Problems of two components are two events, however close in time.
func TestEventsOfComponents(t *testing.T) {
	events := NewEvents()
	log := slog.New(events.Handler(slog.DiscardHandler))
	for _, component := range []string{"progress", "workers", "progress"} {
		log.Warn("health is red", "component", component, "problem", "x")
	}
	last := events.Last()
	if len(last) != 2 || last[0].Count != 1 || last[1].Count != 2 ||
		!strings.Contains(last[1].Text, "component=progress") {
		t.Errorf("%+v", last)
	}
}
