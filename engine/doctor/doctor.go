package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"distributor/engine/config"
	problems "distributor/engine/problem"
)

// Level says how bad a finding is.
type Level string

// The levels. Only a Problem keeps the distributor from doing its work.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

// A Finding is one line of the report.
type Finding struct {
	Check  string `json:"check"` // what was checked: "keys", "data logs: receipt"
	Level  Level  `json:"level"`
	Found  string `json:"found"`            // a sentence, with figures
	Remedy string `json:"remedy,omitempty"` // what the operator can do; empty if Level is OK
}

// Report holds the findings in a fixed order.
type Report struct {
	Findings []Finding `json:"findings"`
	OK       int       `json:"ok"` // the number of findings of each level
	Warnings int       `json:"warnings"`
	Problems int       `json:"problems"`
}

// patience is how long a check may take. A file system that does not answer delays the report by
// this much.
const patience = 1500 * time.Millisecond

// visit is the input of every check.
type visit struct {
	cfg *config.Config
	now time.Time
}

// check examines one subject. Its run function should return when ctx ends.
type check struct {
	name string
	run  func(ctx context.Context, v visit) []Finding
}

// checks are listed in the order of the report. They need a configuration that could be loaded.
var checks = []check{
	{"keys", keys},
	{"subscribers", subscribers},
	{"directories", directories},
	{"data logs", dataLogs},
	{"clock", clock},
	{"frame log", frameLog},
	{"databases", databases},
	{"port", ports},
	{"descriptors", descriptors},
}

// machineChecks need no configuration.
var machineChecks = []check{
	{"machine", machine},
	{"kernel", kernel},
}

// Examine checks everything that a distributor started with src would need. It changes nothing and
// may run beside a distributor. The error is config.ErrHelp if the arguments ask for help.
func Examine(ctx context.Context, src config.Source) (Report, error) {
	cfg, warnings, err := config.Load(src)
	if errors.Is(err, config.ErrHelp) {
		return Report{}, err
	}
	findings := configuration(cfg, warnings, err)
	todo := machineChecks
	if err == nil {
		todo = append(append([]check{}, checks...), machineChecks...)
	}
	return summarize(append(findings, runAll(ctx, visit{cfg, time.Now()}, todo)...)), nil
}

// runAll runs the checks side by side and returns their findings in the order of todo.
func runAll(ctx context.Context, v visit, todo []check) []Finding {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := make([][]Finding, len(todo))
	var all sync.WaitGroup
	for i, c := range todo {
		all.Go(func() { found[i] = c.bounded(ctx, v) })
	}
	all.Wait()
	var findings []Finding
	for _, f := range found {
		findings = append(findings, f...)
	}
	return findings
}

// bounded runs the check and abandons it if it does not return: a stat on a hanging network file
// system cannot be interrupted.
func (c check) bounded(ctx context.Context, v visit) []Finding {
	done := make(chan []Finding, 1)
	go func() { done <- c.run(ctx, v) }()
	// The extra time lets the check report what it has found when ctx ends.
	stuck := time.NewTimer(patience + patience/10)
	defer stuck.Stop()
	select {
	case f := <-done:
		return f
	case <-stuck.C:
		return []Finding{problem(c.name, "no answer within "+patience.String(),
			problems.HealthCheckHangs.Remedy(nil, ""))}
	}
}

// summarize counts the findings of each level.
func summarize(findings []Finding) Report {
	r := Report{Findings: findings}
	for _, f := range findings {
		switch f.Level {
		case OK:
			r.OK++
		case Warning:
			r.Warnings++
		case Problem:
			r.Problems++
		}
	}
	return r
}

// WriteTo prints the report as text: one line for each finding, with the remedy in the next line.
func (r Report) WriteTo(w io.Writer) (int64, error) {
	var n int64
	print := func(format string, args ...any) (err error) {
		var m int
		m, err = fmt.Fprintf(w, format, args...)
		n += int64(m)
		return err
	}
	for _, f := range r.Findings {
		if err := print("%-8s %s: %s\n", f.Level, f.Check, f.Found); err != nil {
			return n, err
		}
		if f.Remedy != "" {
			if err := print("%-8s → %s\n", "", f.Remedy); err != nil {
				return n, err
			}
		}
	}
	verdict := "all is well"
	switch {
	case r.Problems > 0:
		verdict = "the distributor will not work until the problems are solved"
	case r.Warnings > 0:
		verdict = "the distributor will work"
	}
	return n, print("\n%d ok, %d warnings, %d problems: %s\n", r.OK, r.Warnings, r.Problems, verdict)
}

func fine(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: OK, Found: fmt.Sprintf(format, args...)}
}

func warning(check, found, remedy string) Finding {
	return Finding{Check: check, Level: Warning, Found: found, Remedy: remedy}
}

func problem(check, found, remedy string) Finding {
	return Finding{Check: check, Level: Problem, Found: found, Remedy: remedy}
}

// size formats a number of bytes with a binary unit.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/(1<<10), 0
	for f >= 1<<10 {
		f, unit = f/(1<<10), unit+1
	}
	return fmt.Sprintf("%.3g %ciB", f, units[unit])
}

// age formats how long ago something happened.
func age(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "just now"
	case d < 48*time.Hour:
		return d.Round(time.Second).String() + " ago"
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
