package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report writes a line of JSON for each round, when the round ends, and for each figure. It stores
// the figures for the tables.
type report struct {
	file     *os.File
	progress io.Writer
	figures  []figure
	notes    []string // for readers of the figures
	err      error    // of the first line that could not be written
}

// figure is a value that was measured in several rounds.
type figure struct {
	Scenario string  `json:"scenario"`
	Name     string  `json:"figure"`
	Unit     string  `json:"unit"` // "×" for a ratio
	Median   float64 `json:"median"`
	Min      float64 `json:"min"`
	Max      float64 `json:"max"`
	Rounds   int     `json:"rounds"`
}

// ratios divides a by b, round by round; without values of both it returns nil.
func ratios(a, b []float64) (quotients []float64) {
	for i := range min(len(a), len(b)) {
		quotients = append(quotients, a[i]/b[i])
	}
	return quotients
}

// percentile returns the smallest value that at least the share q of all values does not exceed
// (nearest rank). sorted is in ascending order and not empty.
func percentile(sorted []float64, q float64) float64 {
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9)) // 0.07×100 is a little more than 7
	return sorted[min(max(rank, 1), len(sorted))-1]
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

// note prints a text now, and again with the figures.
func (r *report) note(text string) {
	r.notes = append(r.notes, text)
	r.line("note", map[string]string{"text": text})
	r.say("%s", text)
}

// say prints progress.
func (r *report) say(format string, args ...any) { fmt.Fprintf(r.progress, format+"\n", args...) }

// round writes one measurement and shows it.
func (r *report) round(scenario, way string, n int, m measurement) {
	r.line("round", struct {
		Scenario string `json:"scenario"`
		What     string `json:"what"`
		Round    int    `json:"round"`
		measurement
	}{scenario, way, n, m})
	disturbed := ""
	if m.disturbed() {
		share := 100 * m.Other / m.Seconds
		disturbed = fmt.Sprintf("  DISTURBED: %.0f%% of a CPU went elsewhere", share)
	}
	r.say("  %-16s round %d %-20s %6.2f s  CPU: primary %5.2f  sender %5.2f  generator %5.2f  "+
		"softirq %5.2f  other %5.2f%s",
		scenario, n, way, m.Seconds, m.Primary, m.Server, m.Generator, m.Softirq, m.Other, disturbed)
}

// figure reports a figure with one value a round; without values it reports nothing.
func (r *report) figure(scenario, name, unit string, values []float64) {
	if len(values) == 0 {
		return
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	f := figure{scenario, name, unit, (v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1], n}
	r.figures = append(r.figures, f)
	r.line("figure", f)
}

// find returns the figure of that name.
func (r *report) find(scenario, name string) (figure, bool) {
	i := slices.IndexFunc(r.figures, func(f figure) bool {
		return f.Scenario == scenario && f.Name == name
	})
	if i < 0 {
		return figure{}, false
	}
	return r.figures[i], true
}

// short returns median and range.
func (f figure) short() string {
	if f.Rounds < 2 {
		return digits(f.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", digits(f.Median), digits(f.Min), digits(f.Max))
}

// digits formats a number with three significant digits, or with all digits before the point.
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
