package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"distributor/bench/stats"
)

// report is what comes out: a line of JSON for each round as it ends and for
// each figure, and a table of the figures at the end.
type report struct {
	file     *os.File
	progress io.Writer
	figures  []figure
	notes    []string // what a reader of the figures has to know
	err      error    // of the first line that could not be written
}

// figure is one line of the table.
type figure struct {
	Scenario string `json:"scenario"`
	Name     string `json:"figure"`
	Unit     string `json:"unit"` // "×" for a ratio
	stats.Summary
}

// newReport makes dir/<time>.jsonl.
func newReport(dir string, now time.Time, progress io.Writer) (*report, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	file, err := os.Create(filepath.Join(dir, now.UTC().Format("20060102T150405Z")+".jsonl"))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return &report{file: file, progress: progress}, nil
}

// line writes one line of JSON; kind says what it is.
func (r *report) line(kind string, v any) {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = fmt.Fprintf(r.file, "{\"kind\":%q,%s\n", kind, strings.TrimPrefix(string(text), "{"))
	}
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("report: %w", err)
	}
}

// note says something now, and again with the figures.
func (r *report) note(text string) {
	r.notes = append(r.notes, text)
	r.line("note", map[string]string{"text": text})
	r.say("%s", text)
}

// say shows progress.
func (r *report) say(format string, args ...any) { fmt.Fprintf(r.progress, format+"\n", args...) }

// round notes one measurement and shows it.
func (r *report) round(scenario, what string, n int, m measurement, extra map[string]any) {
	r.line("round", struct {
		Scenario string `json:"scenario"`
		What     string `json:"what"`
		Round    int    `json:"round"`
		measurement
		Extra map[string]any `json:"extra,omitempty"`
	}{scenario, what, n, m, extra})
	disturbed := ""
	if m.disturbed() {
		disturbed = fmt.Sprintf("  DISTURBED: %.0f%% of a CPU went elsewhere", 100*m.Other/m.Seconds)
	}
	r.say("  %-16s round %d %-20s %6.2f s  CPU: primary %5.2f  sender %5.2f  generator %5.2f  softirq %5.2f  other %5.2f%s",
		scenario, n, what, m.Seconds, m.Primary, m.Server, m.Generator, m.Softirq, m.Other, disturbed)
}

// figure notes a figure of which there is one value a round.
func (r *report) figure(scenario, name, unit string, values []float64) {
	f := figure{scenario, name, unit, stats.Summarize(values)}
	r.figures = append(r.figures, f)
	r.line("figure", f)
}

func (r *report) table(w io.Writer) {
	width := 0
	for _, f := range r.figures {
		width = max(width, len([]rune(f.Name)))
	}
	last := ""
	for _, f := range r.figures {
		if f.Scenario != last {
			fmt.Fprintf(w, "\n%-*s  %10s  %10s … %-10s\n", width+2, f.Scenario, "median", "min", "max")
			last = f.Scenario
		}
		pad := strings.Repeat(" ", width-len([]rune(f.Name)))
		fmt.Fprintf(w, "  %s%s  %10s  %10s … %-10s %s\n", f.Name, pad, digits(f.Median), digits(f.Min), digits(f.Max), f.Unit)
	}
	fmt.Fprintln(w)
}

// digits prints three significant ones, or all before the point.
func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

func (r *report) close() error {
	err := r.file.Close()
	if r.err != nil {
		return r.err
	}
	return err
}
