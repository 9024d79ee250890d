package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"distributor/engine/config"
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
	Check  string `json:"check"`            // what was looked at: "keys", "data logs: receipt"
	Level  Level  `json:"level"`            //
	Found  string `json:"found"`            // in words, with figures
	Remedy string `json:"remedy,omitempty"` // what the operator can do; empty if all is well
}

// Report is what was found, in a fixed order.
type Report struct {
	Findings []Finding `json:"findings"`
	OK       int       `json:"ok"` // how many findings of each level
	Warnings int       `json:"warnings"`
	Problems int       `json:"problems"`
}

// patience is what a check may take. A file system that does not answer costs
// this, and no more.
const patience = 1500 * time.Millisecond

// visit is what the checks know. A check adds findings under the name that it
// was started with.
type visit struct {
	cfg *config.Config
	now time.Time
}

// check looks at one thing. It must give up when ctx ends, as far as it can.
type check struct {
	name string
	run  func(ctx context.Context, v visit) []Finding
}

// checks in the order of the report. Those after the configuration need one.
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

// Examine looks at everything that a distributor started with src would need.
// It changes nothing, and may run beside one. The error is config.ErrHelp, if
// that was asked for.
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

// runAll runs checks side by side, and returns what they found in their order.
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

// bounded runs the check, and leaves it alone if it does not come to an end:
// a stat on a network that hangs cannot be interrupted.
func (c check) bounded(ctx context.Context, v visit) []Finding {
	done := make(chan []Finding, 1)
	go func() { done <- c.run(ctx, v) }()
	// It notices the end of ctx, and may have something to say all the same.
	stuck := time.NewTimer(patience + patience/10)
	defer stuck.Stop()
	select {
	case f := <-done:
		return f
	case <-stuck.C:
		return []Finding{problem(c.name, "no answer within "+patience.String(), "see whether a disk or network file system hangs (dmesg, mount)")}
	}
}

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

// WriteTo prints the report for people: a line a finding, the remedy under it.
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
		verdict = "it will not work as it is"
	case r.Warnings > 0:
		verdict = "it will work"
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

// size writes bytes as people do.
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

// age writes how long ago something was.
func age(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "just now"
	case d < 48*time.Hour:
		return d.Round(time.Second).String() + " ago"
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
