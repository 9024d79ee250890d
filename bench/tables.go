package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Rows of the tables of servers, beside the peers.
const (
	rawServer    = "raw"
	workers      = "**distributor**, workers"
	withEncoding = "**distributor**, everything"
)

var (
	fanouts = []string{"fanout-1", "fanout-100", "fanout-1000", "fanout-5000"}
	paces   = []string{"latency-100", "latency-1000", "latency-5000"}
)

// markdown returns the figures as tables: targets, servers side by side, and all others in a folded
// section.
func (r *report) markdown(heading string) string {
	w := &strings.Builder{}
	fmt.Fprintf(w, "%s\n\n", heading)
	for _, n := range r.notes {
		fmt.Fprintf(w, "- %s\n", strings.Join(strings.Fields(n), " "))
	}
	for i, v := range r.verdicts() {
		if i == 0 {
			fmt.Fprint(w, "\n| scenario | figure | target | median (range) | |\n",
				"| --- | --- | --- | --- | --- |\n")
		}
		median := strings.TrimSpace(v.short + " " + v.unit)
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s |\n", v.scenario, v.figure, v.limit, median, v.met)
	}
	r.serverTable(w, "unthrottled, CPU relative to raw `write`", fanouts, func(server string) string {
		return relative(server, "live, ")
	})
	r.serverTable(w, "fixed rate, CPU relative to raw `write`", paces, func(server string) string {
		return relative(server, "")
	})
	for _, q := range []string{"p50", "p99"} {
		r.serverTable(w, "append to receipt, "+q+", ms", paces, func(server string) string {
			return either(server == workers, "append to receipt", server) + ", " + q
		})
	}
	fmt.Fprint(w, "\n<details><summary>All figures</summary>\n")
	last := ""
	for _, f := range r.figures {
		if f.Scenario != last {
			fmt.Fprintf(w, "\n| `%s` | median | range | |\n| --- | --- | --- | --- |\n", f.Scenario)
			last = f.Scenario
		}
		fmt.Fprintf(w, "| %s | %s | %s–%s | %s |\n",
			f.Name, digits(f.Median), digits(f.Min), digits(f.Max), f.Unit)
	}
	fmt.Fprint(w, "\n</details>\n")
	return w.String()
}

// relative returns the name of the figure with a server's CPU time divided by the baseline's.
func relative(server, way string) string {
	switch server {
	case workers:
		server = way + "worker"
	case withEncoding:
		server = way + "primary + worker"
	}
	return server + " : raw, CPU"
}

// serverTable has a row a server and a column a scenario, without what is empty, and a chart of the
// column of 1000 clients. name returns the name of a server's figure.
func (r *report) serverTable(
	w io.Writer, title string, scenarios []string, name func(server string) string,
) {
	cell := func(server, scenario string) string {
		if f, ok := r.find(scenario, name(server)); ok {
			return f.short()
		}
		return ""
	}
	var columns []string
	for _, s := range scenarios {
		if cell(workers, s) != "" {
			columns = append(columns, s)
		}
	}
	if len(columns) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| %s | `%s` |\n|%s\n", title, strings.Join(columns, "` | `"),
		strings.Repeat(" --- |", 1+len(columns)))
	const charted = 1000 // clients
	column := fmt.Sprintf("%s-%d", strings.Split(columns[0], "-")[0], charted)
	var labels, bars []string
	for _, server := range servers() {
		cells := make([]string, len(columns))
		for i, s := range columns {
			cells[i] = cell(server, s)
		}
		if strings.Join(cells, "") != "" {
			fmt.Fprintf(w, "| %s | %s |\n", server, strings.Join(cells, " | "))
		}
		if f, ok := r.find(column, name(server)); ok {
			labels = append(labels, strings.ReplaceAll(server, "*", ""))
			bars = append(bars, digits(f.Median))
		}
	}
	if len(bars) > 2 { // with peers
		fmt.Fprintf(w, "\n```mermaid\nxychart-beta horizontal\n  title \"%s, %d clients\"\n"+
			"  x-axis [\"%s\"]\n  bar [%s]\n```\n", strings.ReplaceAll(title, "`", ""), charted,
			strings.Join(labels, `", "`), strings.Join(bars, ", "))
	}
}

func servers() []string {
	all := []string{rawServer, workers, withEncoding}
	for _, p := range libraries {
		all = append(all, p.name)
	}
	return all
}

// The figures are between these lines of README.md.
const (
	figuresBegin = "<!-- figures -->\n"
	figuresEnd   = "<!-- /figures -->\n"
)

// publish writes tables into a README.
func publish(readme, tables string) error {
	text, err := os.ReadFile(readme)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	before, rest, begins := strings.Cut(string(text), figuresBegin)
	_, after, ends := strings.Cut(rest, figuresEnd)
	if !begins || !ends {
		return fmt.Errorf("publish: %s lacks the line %q or %q", readme, figuresBegin, figuresEnd)
	}
	out := before + figuresBegin + tables + figuresEnd + after
	if err := os.WriteFile(readme, []byte(out), 0o644); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}
