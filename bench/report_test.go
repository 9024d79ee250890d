package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestArithmetic(t *testing.T) {
	sorted := []float64{1, 2, 3, 4}
	for q, want := range map[float64]float64{0: 1, 0.25: 1, 0.26: 2, 0.5: 2, 0.99: 4, 1: 4} {
		if got := percentile(sorted, q); got != want {
			t.Errorf("percentile %v is %v, not %v", q, got, want)
		}
	}
	if got := ratios([]float64{6, 1}, []float64{3, 4}); !slices.Equal(got, []float64{2, 0.25}) {
		t.Error(got)
	}
	if ratios(nil, sorted) != nil {
		t.Error("a ratio of nothing")
	}
	for v, want := range map[float64]string{
		36557.4: "36557", 12.34: "12.3", 1.125: "1.12", 0.0871: "0.0871",
	} {
		if got := digits(v); got != want {
			t.Errorf("%v is printed as %s, not %s", v, got, want)
		}
	}
}

// The lines of a report are JSON. Its tables are between the marks of a README.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	r, err := newReport(dir, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r.round("fanout-1000", "raw", 1, measurement{Server: 1.5, Extra: map[string]float64{"records": 7}})
	for _, name := range []string{"live, worker", "live, primary + worker", "gws"} {
		r.figure("fanout-1000", name+" : raw, CPU", "×", []float64{1.5, 0.5, 0.875})
	}
	r.figure("fanout-1000", "nothing", "×", nil)
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "20260102T030405Z.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var round struct {
		Kind, Scenario, What string
		Server               float64 `json:"server_cpu"`
		Extra                map[string]float64
	}
	if err := json.Unmarshal([]byte(lines[0]), &round); err != nil || len(lines) != 4 ||
		round.Kind != "round" || round.What != "raw" || round.Server != 1.5 ||
		round.Extra["records"] != 7 {
		t.Error(lines, err)
	}
	readme := filepath.Join(dir, "README.md")
	before := "before\n" + figuresBegin + "old\n" + figuresEnd + "after\n"
	if err := os.WriteFile(readme, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := publish(readme, r.markdown("HEADING")); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(readme)
	for _, want := range []string{
		"before\n<!-- figures -->\nHEADING", "<!-- /figures -->\nafter\n", "| gws | 0.88 (0.50–1.50) |",
		"| `fanout-1000` | live, worker : raw, CPU | ≤ 1.11 | 0.88 (0.50–1.50) × | met |",
		`x-axis ["distributor, workers", "distributor, everything", "gws"]`, "bar [0.88, 0.88, 0.88]",
		"| gws : raw, CPU | 0.88 | 0.50–1.50 | × |",
	} {
		if err != nil || !strings.Contains(string(text), want) || strings.Contains(string(text), "old") {
			t.Errorf("no %q in %s, %v", want, text, err)
		}
	}
	if err := publish(filepath.Join(dir, "20260102T030405Z.jsonl"), ""); err == nil {
		t.Error("figures were put into a file without marks")
	}
}

// Each target is for an existing scenario.
func TestTargets(t *testing.T) {
	for _, target := range targets {
		if _, err := choose(strings.Fields(target.scenarios), false); err != nil {
			t.Error(err)
		}
		better := either(target.least, target.bound+1, target.bound-1)
		if !target.met(target.bound) || !target.met(better) || target.met(2*target.bound-better) {
			t.Errorf("%+v", target)
		}
	}
}

func TestChoose(t *testing.T) {
	names := func(s []scenario) (n []string) {
		for _, s := range s {
			n = append(n, either(s.onDemand, "*", "")+s.name)
		}
		return n
	}
	all, err := choose(nil, false)
	if err != nil || len(all) != len(scenarios) {
		t.Error(names(all), err)
	}
	quick, err := choose(nil, true)
	if err != nil || strings.Contains(strings.Join(names(quick), ""), "*") || len(quick) < 5 {
		t.Error(names(quick), err)
	}
	some, err := choose([]string{"latency-5000", "encode"}, true)
	if got := names(some); err != nil || !slices.Equal(got, []string{"encode", "*latency-5000"}) {
		t.Error(got, err)
	}
	if _, err := choose([]string{"encode", "encde"}, false); err == nil {
		t.Error("a scenario that is not there was chosen")
	}
}

func TestMeasurementIsTheDifference(t *testing.T) {
	at, s := time.Now(), time.Second
	before := books{at, measurement{
		Primary: 1, Server: 2, Generator: 3, Softirq: 1, Private: 9,
	}, 10 * s}
	after := books{at.Add(4 * s), measurement{
		Primary: 2, Server: 4, Generator: 6, Softirq: 1.5, Private: 7,
	}, 17*s + s/2}
	got := after.since(before)
	if got.Seconds != 4 || got.Primary != 1 || got.Server != 2 || got.Generator != 3 ||
		got.Softirq != 0.5 || got.Other != 1 || got.Private != 7 {
		t.Errorf("%+v", got)
	}
	after.busy = 16 * s // in coarser steps than the others: no time is negative
	if got := after.since(before); got.Other != 0 {
		t.Errorf("%+v", got)
	}
}

func TestTimetable(t *testing.T) {
	at := time.Now()
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	times := timetable{"cycle": {ms(0), ms(3)}, "receipt": {ms(1), ms(2)}}
	a := arrivals{at: map[string][]time.Time{"cycle": {ms(10), ms(20)}, "receipt": {ms(30), ms(40)}}}
	took := times.latencies(&a, ms(1), ms(3))
	slices.Sort(took)
	between := times.between(ms(1), ms(3))
	if times.total() != 4 || between != 2 || !slices.Equal(took, []float64{29, 38}) {
		t.Error(times.total(), between, took)
	}
}

func TestDisturbedRoundsAreRepeated(t *testing.T) {
	const quiet, loud = 0.05, 0.5
	for name, c := range map[string]struct {
		other     []float64 // by round, the last one for all further ones
		late      int       // round from which on there is no time
		kept      []float64
		disturbed int
	}{
		"quiet":             {[]float64{quiet}, 99, []float64{1, 2, 3}, 0},
		"loud warm-up":      {[]float64{loud, quiet}, 99, []float64{1, 2, 3}, 0},
		"loud once":         {[]float64{quiet, quiet, loud, quiet}, 99, []float64{1, 3, 4}, 0},
		"loud":              {[]float64{loud}, 5, []float64{5, 6, 7}, 3},
		"loud from the end": {[]float64{quiet, loud, quiet, quiet, loud}, 0, []float64{1, 2, 3}, 1},
	} {
		b := quietBench(t)
		got, err := b.compare(t.Context(), "s", 3, false, func(turn *turn) {
			b.repeatUntil = time.Now().Add(time.Hour)
			if turn.round >= c.late {
				b.repeatUntil = time.Time{}
			}
			other := c.other[min(turn.round, len(c.other)-1)]
			turn.add("quiet", measurement{Seconds: 1, Server: float64(turn.round)})
			turn.add("way", measurement{Seconds: 1, Other: other})
		})
		if err != nil {
			t.Fatal(name, err)
		}
		kept := got.of("quiet", sender)
		if !slices.Equal(kept, c.kept) || b.disturbed != c.disturbed {
			t.Errorf("%s: kept %v, %d of them disturbed", name, kept, b.disturbed)
		}
	}
}

func quietBench(t *testing.T) *bench {
	r, err := newReport(t.TempDir(), time.Now(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{report: r}
}

// Everything that was started ends with its part of a round. A failure to end fails the run.
func TestRoundsEndWithAFailure(t *testing.T) {
	b := quietBench(t)
	calls := 0
	_, err := b.compare(t.Context(), "s", 3, false, func(turn *turn) {
		turn.measure("one", func() (m measurement, err error) {
			b.started = append(b.started, func() error { return io.ErrUnexpectedEOF })
			calls++
			return m, nil
		})
		turn.measure("another", func() (m measurement, err error) { calls++; return m, nil })
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) || calls != 1 || b.started != nil {
		t.Error(err, calls)
	}
}

// Two programs are measured alternately, and their figures divided.
func TestAgainst(t *testing.T) {
	b := quietBench(t)
	b.binary = "/new"
	var order []string
	one := scenario{name: "s", run: func(_ context.Context, b *bench, name string, _ size) error {
		order = append(order, b.binary)
		b.report.figure(name, "speed", "GB/s", []float64{either(b.binary == "/new", 6.0, 4.0)})
		return nil
	}}
	err := b.against(t.Context(), "/base", 2, []scenario{one}, true)
	f, ok := b.report.find("s", "speed, to the base's")
	if err != nil || !ok || f.Median != 1.5 || f.Rounds != 2 || len(b.report.figures) != 1 ||
		!slices.Equal(order, []string{"/base", "/new", "/base", "/new"}) {
		t.Error(f, order, err)
	}
}
