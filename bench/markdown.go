package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// markdown writes the figures as tables: targets, servers side by side, and all
// the rest folded away.
func (r *report) markdown(w io.Writer, heading string) {
	fmt.Fprintf(w, "%s\n\n", heading)
	for _, n := range r.notes {
		fmt.Fprintf(w, "- %s\n", strings.Join(strings.Fields(n), " "))
	}
	if lines := r.verdicts(); len(lines) > 0 {
		fmt.Fprintf(w, "\n| scenario | figure | target | median (range) | |\n| --- | --- | --- | --- | --- |\n")
		for _, l := range lines {
			fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s |\n", l[0], l[1], l[2], strings.TrimSpace(l[3]+" "+l[4]), l[5])
		}
	}
	r.serverTable(w, "unthrottled, CPU relative to raw `write`", fanouts, func(server, scenario string) string {
		name := server + " : raw, CPU"
		switch server {
		case distributorServer:
			name = "live, worker : raw, CPU"
		case withEncoding:
			name = "live, primary + worker : raw, CPU"
		}
		return r.cell(scenario, name)
	})
	r.serverTable(w, "fixed rate, CPU relative to raw `write`", paces, func(server, scenario string) string {
		name := server + " : raw, CPU"
		switch server {
		case distributorServer:
			name = "worker : raw, CPU"
		case withEncoding:
			name = "primary + worker : raw, CPU"
		}
		return r.cell(scenario, name)
	})
	for _, q := range []string{"p50", "p99"} {
		r.serverTable(w, "append to receipt, "+q+", ms", paces, func(server, scenario string) string {
			if server == distributorServer {
				server = "append to receipt"
			}
			return r.cell(scenario, server+", "+q)
		})
	}
	fmt.Fprintf(w, "\n<details><summary>All figures</summary>\n")
	last := ""
	for _, f := range r.figures {
		if f.Scenario != last {
			fmt.Fprintf(w, "\n| `%s` | median | range | |\n| --- | --- | --- | --- |\n", f.Scenario)
			last = f.Scenario
		}
		fmt.Fprintf(w, "| %s | %s | %s–%s | %s |\n", f.Name, digits(f.Median), digits(f.Min), digits(f.Max), f.Unit)
	}
	fmt.Fprintf(w, "\n</details>\n")
}

// What the tables have beside the peers.
const (
	distributorServer = "**distributor**, workers"
	withEncoding      = "**distributor**, everything"
	rawServer         = "raw"
)

var (
	fanouts = []string{"fanout-1", "fanout-100", "fanout-1000", "fanout-5000"}
	paces   = []string{"latency-100", "latency-1000", "latency-5000"}
)

func (r *report) cell(scenario, name string) string {
	f, ok := r.find(scenario, name)
	if !ok {
		return ""
	}
	return f.short()
}

// serverTable has a row a server and a column a scenario, without what is
// empty.
func (r *report) serverTable(w io.Writer, title string, scenarios []string, cell func(server, scenario string) string) {
	var columns []string
	for _, s := range scenarios {
		if cell(distributorServer, s) != "" {
			columns = append(columns, s)
		}
	}
	if len(columns) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| %s | `%s` |\n|%s\n", title, strings.Join(columns, "` | `"), strings.Repeat(" --- |", 1+len(columns)))
	servers := []string{rawServer, distributorServer, withEncoding}
	for _, p := range peers() {
		servers = append(servers, p.name)
	}
	for _, server := range servers {
		row, some := "| "+server+" |", false
		for _, s := range columns {
			text := cell(server, s)
			some = some || text != ""
			row += " " + text + " |"
		}
		if some {
			fmt.Fprintln(w, row)
		}
	}
}

// Between these lines of README.md stand the figures.
const (
	figuresBegin = "<!-- figures -->\n"
	figuresEnd   = "<!-- /figures -->\n"
	figuresFile  = "figures.svg"
)

// publish puts the figures of this run into a README, and the picture beside
// it.
func (r *report) publish(readme, heading string) error {
	text, err := os.ReadFile(readme)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	before, rest, begins := strings.Cut(string(text), figuresBegin)
	_, after, ends := strings.Cut(rest, figuresEnd)
	if !begins || !ends {
		return fmt.Errorf("publish: %s has no lines %q and %q", readme, figuresBegin, figuresEnd)
	}
	var out strings.Builder
	out.WriteString(before + figuresBegin)
	r.markdown(&out, heading)
	if charts := r.charts(); len(charts) > 0 {
		if err := os.WriteFile(filepath.Join(filepath.Dir(readme), figuresFile), []byte(drawCharts(charts)), 0o644); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	out.WriteString(figuresEnd + after)
	if err := os.WriteFile(readme, []byte(out.String()), 0o644); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// heading says when and on what this was measured, and how well.
func (b *bench) heading(start time.Time, took time.Duration, args []string) string {
	m := machine(b, 0)
	disturbed := "No round that counts was disturbed."
	if b.disturbed > 0 {
		disturbed = fmt.Sprintf("**%d rounds were disturbed by other work (load average %s) and count all the same: take the figures for rough.**", b.disturbed, loadAverage())
	}
	return fmt.Sprintf("%s, `%s` (%v); %d CPUs of %v, Linux %v. Median, range in brackets. %s",
		start.UTC().Format(time.DateOnly), strings.Join(append([]string{"bench"}, args...), " "), took.Round(time.Second), len(b.all), m["model"], m["kernel"], disturbed)
}
