package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	var progress, table bytes.Buffer
	r, err := newReport(t.TempDir(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), &progress)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(r.file.Name(), "/20260102T030405Z.jsonl") {
		t.Error(r.file.Name())
	}
	r.round("s", "raw", 1, measurement{Seconds: 2, Server: 1.5, Other: 0.1}, map[string]any{"records": 7})
	r.round("s", "live", 1, measurement{Seconds: 2, Other: 0.3}, nil)
	r.figure("s", "worker : raw", "×", []float64{1.5, 0.5, 0.875})
	r.table(&table)
	if err := r.close(); err != nil {
		t.Fatal(err)
	}

	if lines := strings.Split(progress.String(), "\n"); strings.Contains(lines[0], "DISTURBED") || !strings.Contains(lines[1], "DISTURBED: 15%") {
		t.Error(progress.String())
	}
	if text := table.String(); !strings.Contains(text, "0.88        0.50 … 1.50       ×") {
		t.Error(text)
	}
	text, err := os.ReadFile(r.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for line := range strings.Lines(string(text)) {
		var v struct {
			Kind, Scenario, What, Figure string
			Round                        int
			Server                       float64 `json:"server_cpu"`
			Median, Min, Max             float64
			Extra                        map[string]int
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		kinds = append(kinds, v.Kind)
		switch {
		case v.Scenario != "s", v.What == "raw" && (v.Server != 1.5 || v.Round != 1 || v.Extra["records"] != 7),
			v.Kind == "figure" && (v.Figure != "worker : raw" || v.Median != 0.875 || v.Min != 0.5 || v.Max != 1.5):
			t.Error(line)
		}
	}
	if !slices.Equal(kinds, []string{"round", "round", "figure"}) {
		t.Error(kinds)
	}
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{36557.4: "36557", 99.96: "100.0", 12.34: "12.3", 1.125: "1.12", 0.0871: "0.0871", 0.25: "0.25"} {
		if got := digits(v); got != want {
			t.Errorf("%v is printed as %s, not %s", v, got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	names := func(s []scenario) (n []string) {
		for _, s := range s {
			n = append(n, s.name)
		}
		return n
	}
	all, err := choose(nil, false)
	if got := names(all); err != nil || len(got) != len(scenarios) {
		t.Error(got, err)
	}
	quick, err := choose(nil, true)
	starred := []string{"latency-5000", "fanout-5000", "compressed-100", "compressed-1000", "sendfile"}
	if got := names(quick); err != nil || len(got) != len(all)-len(starred) || slices.ContainsFunc(got, func(n string) bool { return slices.Contains(starred, n) }) {
		t.Error(got, err)
	}
	some, err := choose([]string{"latency-5000", "encode"}, true)
	if got := names(some); err != nil || !slices.Equal(got, []string{"encode", "latency-5000"}) {
		t.Error(got, err)
	}
	if _, err := choose([]string{"encode", "encde"}, false); err == nil {
		t.Error("a scenario that is not there was chosen")
	}
}

func TestMeasurementIsTheDifference(t *testing.T) {
	at := time.Now()
	s := time.Second
	before := books{at: at, primary: s, server: 2 * s, generator: 3 * s, softirq: s, busy: 10 * s, user: s, system: 2 * s, private: 9}
	after := books{at: at.Add(4 * s), primary: 2 * s, server: 4 * s, generator: 6 * s, softirq: s + s/2, busy: 17*s + s/2, user: s + s/2, system: 3*s + s/2, private: 7}
	want := measurement{Seconds: 4, Primary: 1, Server: 2, Generator: 3, Softirq: 0.5, Other: 1, User: 0.25, Private: 7}
	if got := after.since(before); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	// The books of CPUs are kept in coarser steps: no time is negative.
	after.busy = 16 * s
	if got := after.since(before); got.Other != 0 {
		t.Errorf("%+v", got)
	}
}

func TestWatch(t *testing.T) {
	at := time.Now()
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	w := watch{}
	w.appended("cycle", ms(0))
	w.appended("receipt", ms(1))
	w.appended("receipt", ms(2))
	w.appended("cycle", ms(3))
	a := arrivals{at: map[string][]time.Time{"cycle": {ms(10), ms(20)}, "receipt": {ms(30), ms(40)}}}
	if w.total() != 4 || w.between(ms(1), ms(3)) != 2 {
		t.Error(w.total(), w.between(ms(1), ms(3)))
	}
	took := w.latencies(&a, ms(1), ms(3))
	slices.Sort(took)
	if !slices.Equal(took, []time.Duration{29 * time.Millisecond, 38 * time.Millisecond}) {
		t.Error(took)
	}
}

func TestRoundsRepeatsTheDisturbed(t *testing.T) {
	const quiet, loud = 0.05, 0.5
	for name, c := range map[string]struct {
		other     []float64 // by round, the last one for all further ones
		late      int       // round from which on there is no time
		kept      []int
		disturbed int
	}{
		"quiet":             {[]float64{quiet}, 99, []int{1, 2, 3}, 0},
		"loud warm-up":      {[]float64{loud, quiet}, 99, []int{1, 2, 3}, 0},
		"loud once":         {[]float64{quiet, quiet, loud, quiet}, 99, []int{1, 3, 4}, 0},
		"loud":              {[]float64{loud}, 5, []int{5, 6, 7}, 3},
		"loud from the end": {[]float64{quiet, loud, quiet, quiet, loud}, 0, []int{1, 2, 3}, 1},
	} {
		b := &bench{report: &report{progress: io.Discard}}
		var kept []int
		err := b.rounds(t.Context(), 3, func(round int) (func(), []measurement, error) {
			b.repeatUntil = time.Now().Add(time.Hour)
			if round >= c.late {
				b.repeatUntil = time.Time{}
			}
			other := c.other[min(round, len(c.other)-1)]
			return func() { kept = append(kept, round) }, []measurement{{Seconds: 1}, {Seconds: 1, Other: other}}, nil
		})
		if err != nil || !slices.Equal(kept, c.kept) || b.disturbed != c.disturbed {
			t.Errorf("%s: kept %v, %d of them disturbed, %v", name, kept, b.disturbed, err)
		}
	}
}

// A single round of what needs no warm-up is the only one.
func TestSteadyRounds(t *testing.T) {
	for n, want := range map[int][]int{1: {1}, 2: {0, 1, 2}} {
		b := &bench{report: &report{progress: io.Discard}}
		var rounds []int
		if err := b.steadyRounds(t.Context(), n, func(round int) (func(), []measurement, error) {
			rounds = append(rounds, round)
			return func() {}, nil, nil
		}); err != nil || !slices.Equal(rounds, want) {
			t.Error(n, rounds, err)
		}
	}
}

func TestRoundsEndWithAFailure(t *testing.T) {
	b := &bench{report: &report{progress: io.Discard}}
	calls := 0
	err := b.rounds(t.Context(), 3, func(int) (func(), []measurement, error) {
		calls++
		b.finish(func() error { return io.ErrUnexpectedEOF })
		return func() { t.Error("a failed round was kept") }, nil, nil
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) || calls != 1 {
		t.Error(err, calls)
	}
}
