package metrics

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"distributor/engine/config"
)

// These tests check what the documents and deploy/ say about the code: every name exists, and every
// reason is explained.

const (
	operations = "../../docs/OPERATIONS.md"
	alerts     = "../../deploy/alerts.yml"
	dashboard  = "../../deploy/grafana-dashboard.json"
	unit       = "../../deploy/distributor.service"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// series returns the names that can be queried, each with its labels, including Prometheus' own
// names.
func series(t *testing.T) map[string][]string {
	t.Helper()
	target := []string{"job", "instance"}
	known := map[string][]string{"up": target}
	for line := range strings.Lines(read(t, "testdata/metrics.golden")) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		name, kind := parts[0], parts[1]
		labels := slices.Concat(target, strings.Split(parts[2], ","))
		if kind == "histogram" || kind == "summary" {
			known[name+"_sum"], known[name+"_count"] = labels, labels
		}
		switch kind {
		case "histogram":
			known[name+"_bucket"] = append(labels, "le")
		default:
			known[name] = labels
		}
	}
	return known
}

var (
	quoted   = regexp.MustCompile(`"[^"]*"`)
	grouping = regexp.MustCompile(`\b(?:by|on|ignoring|without|group_left|group_right) ?\(([^)]*)\)`)
	window   = regexp.MustCompile(`\[[^\]]*\]`)
	selected = regexp.MustCompile(`([a-z_][a-z0-9_]*)(?:\{([^}]*)\}|)( *\(|)`)
	matcher  = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)`)
)

// wrongIn returns the parts of an expression that do not exist in a distributor. It knows as much
// of PromQL as our expressions use.
func wrongIn(expression string, known map[string][]string) (wrong []string) {
	text := window.ReplaceAllString(quoted.ReplaceAllString(expression, ""), "")
	var names, wanted []string
	for _, g := range grouping.FindAllStringSubmatch(text, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if label = strings.TrimSpace(label); label != "" {
				wanted = append(wanted, label)
			}
		}
	}
	for _, m := range selected.FindAllStringSubmatch(grouping.ReplaceAllString(text, ""), -1) {
		name, matchers, call := m[1], m[2], m[3] != ""
		if call || slices.Contains([]string{"and", "or", "unless"}, name) {
			continue
		}
		labels, ok := known[name]
		if !ok {
			wrong = append(wrong, "metric "+name)
			continue
		}
		names = append(names, name)
		for _, l := range matcher.FindAllStringSubmatch(matchers, -1) {
			if !slices.Contains(labels, l[1]) {
				wrong = append(wrong, "label "+l[1]+" of "+name)
			}
		}
	}
	for _, label := range wanted {
		if !slices.ContainsFunc(names,
			func(name string) bool { return slices.Contains(known[name], label) }) {
			wrong = append(wrong, "label "+label)
		}
	}
	if len(names) == 0 {
		wrong = append(wrong, "no metric at all")
	}
	return wrong
}

func TestWrongIn(t *testing.T) {
	known := series(t)
	for expression, want := range map[string]string{
		`distributor_healthy{job=~"$job"} == 0`: "",
		`histogram_quantile(0.9, sum by (le, job) (rate(distributor_send_latency_seconds_bucket{le!="x"}[5m])))`: "",
		`distributor_clients / on (job, instance) group_left () process_max_fds > 0 and up{job="d"}`:             "",
		`rate(distributor_send_latency_seconds[5m]) > up`:                                                        "metric distributor_send_latency_seconds",
		`rate(distributor_healthy_bucket[5m]) > up`:                                                              "metric distributor_healthy_bucket",
		`distributor_wealthy == 0 or distributor_healthy`:                                                        "metric distributor_wealthy",
		`sum by (stream) (distributor_healthy)`:                                                                  "label stream",
		`distributor_healthy{stream="x"}`:                                                                        "label stream of distributor_healthy",
		`sum by (instance) (distributor_records_total{reason="x"})`:                                              "label reason of distributor_records_total",
		`vector(1)`: "no metric at all",
	} {
		if got := strings.Join(wrongIn(expression, known), ", "); got != want {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}

var named = regexp.MustCompile(`\bdistributor_[a-z0-9_]+`)

func TestMetricsThatAreNamed(t *testing.T) {
	known := series(t)
	for _, path := range []string{operations, alerts, dashboard} {
		found := named.FindAllString(read(t, path), -1)
		if len(found) == 0 {
			t.Errorf("%s names none", path)
		}
		for _, name := range found {
			if known[name] == nil {
				t.Errorf("%s: there is no %s", path, name)
			}
		}
	}
	all := read(t, dashboard)
	for _, f := range families {
		if !strings.Contains(all, f.name) {
			t.Errorf("%s is not on the dashboard", f.name)
		}
	}
}

// rule is one alert as it is formatted in the file: four blanks, "- alert:", and so on.
var rule = regexp.MustCompile(`(?m)^      - alert: (\w+)\n        expr: (?:>-\n((?:          .*\n)+)|(.+)\n)(?:        for: \d+m\n)?` +
	`        labels: \{severity: (?:critical|warning)\}\n        annotations:\n          summary: ".+"\n          description: ".+"\n` +
	`          runbook: docs/OPERATIONS\.md#(\w+)\n`)

func TestAlerts(t *testing.T) {
	known, text, guide := series(t), read(t, alerts), read(t, operations)
	found := rule.FindAllStringSubmatch(text, -1)
	if n := strings.Count(text, "- alert:"); n != len(found) || n < 20 {
		t.Fatalf("%d rules, of which %d are complete", n, len(found))
	}
	for _, r := range found {
		name, expression, anchor := r[1], r[2]+r[3], r[4]
		for _, wrong := range wrongIn(expression, known) {
			t.Errorf("%s: there is no %s", name, wrong)
		}
		if anchor != strings.ToLower(name) || !strings.Contains(guide, "\n### "+name+"\n") {
			t.Errorf("%s has no section, or points elsewhere: #%s", name, anchor)
		}
	}
	for _, section := range regexp.MustCompile(`(?m)^### (Distributor\w+)$`).FindAllStringSubmatch(
		guide, -1) {
		if !strings.Contains(text, "- alert: "+section[1]+"\n") {
			t.Errorf("there is no alert %s", section[1])
		}
	}
}

func TestDashboard(t *testing.T) {
	type query struct {
		Expr string
	}
	var board struct {
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type, Definition string }
		}
		Annotations struct{ List []query }
		Panels      []struct {
			ID          int
			Type, Title string
			Datasource  struct{ UID string }
			GridPos     struct{ X, Y, W, H int }
			Targets     []query
		}
	}
	if err := json.Unmarshal([]byte(read(t, dashboard)), &board); err != nil {
		t.Fatal(err)
	}
	known := series(t)
	check := func(where, expression string) {
		t.Helper()
		for _, wrong := range wrongIn(expression, known) {
			t.Errorf("%s: there is no %s in %s", where, wrong, expression)
		}
		selectors := strings.Count(expression, `{job=~"$job", instance=~"$instance"`)
		if selectors != len(regexp.MustCompile(`\b(distributor|go|process)_[a-z_]+`).FindAllString(
			quoted.ReplaceAllString(grouping.ReplaceAllString(expression, ""), ""), -1)) {
			t.Errorf("%s: not every metric is that of the chosen job and instance: %s", where, expression)
		}
	}
	var variables []string
	for _, v := range board.Templating.List {
		variables = append(variables, v.Name)
	}
	if want := []string{"datasource", "job", "instance"}; !slices.Equal(variables, want) ||
		board.SchemaVersion < 38 {
		t.Errorf("variables %v, schema %d", variables, board.SchemaVersion)
	}
	for _, a := range board.Annotations.List {
		check("annotation", a.Expr)
	}
	ids, bottom, rows := map[int]bool{}, 0, 0
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.Y < bottom &&
			p.GridPos.X == 0 {
			t.Errorf("panel %d %q: no title, an id twice, or out of place: %+v", p.ID, p.Title, p.GridPos)
		}
		ids[p.ID], bottom = true, max(bottom, p.GridPos.Y)
		if p.Type == "row" {
			rows++
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: %+v", p.Title, p)
		}
		for _, one := range p.Targets {
			check(p.Title, one.Expr)
		}
	}
	if rows < 9 {
		t.Errorf("%d rows", rows)
	}
}

// Every setting that a document names exists.
func TestSettingsThatAreNamed(t *testing.T) {
	var table bytes.Buffer
	if err := config.WriteMarkdown(&table); err != nil {
		t.Fatal(err)
	}
	capitals := regexp.MustCompile("(?:[`:]|--)([A-Z]+(?:_[A-Z]+)+)(?:[`= ]|$)")
	for _, path := range []string{operations, unit} {
		found := capitals.FindAllStringSubmatch(read(t, path), -1)
		if path == operations && len(found) < 30 {
			t.Errorf("%s: only %d", path, len(found))
		}
		for _, m := range found {
			if !strings.Contains(table.String(), "| `"+m[1]+"` |") {
				t.Errorf("%s: there is no setting %s", path, m[1])
			}
		}
	}
}

// Every reason has a row, and every row has a reason.
func TestReasons(t *testing.T) {
	s := fresh(t)
	guide := read(t, operations)
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\|")
	for table, want := range map[string][]string{
		"refused":     slices.Collect(maps.Keys(s.Refused)),
		"disconnects": slices.Collect(maps.Keys(s.Clients.Disconnects)),
		"handoffs":    slices.Collect(maps.Keys(s.Clients.Refused)),
		"failures":    slices.Collect(maps.Keys(s.Starts.Failed)),
		"compression": slices.Collect(maps.Keys(s.Compression.Ends)),
		"rejected":    slices.Collect(maps.Keys(s.Streams[0].Rejected)),
	} {
		_, rest, _ := strings.Cut(guide, "<!-- "+table+" -->\n")
		text, _, ok := strings.Cut(rest, "<!-- /"+table+" -->")
		if !ok {
			t.Errorf("there is no table of %s", table)
		}
		var got []string
		for _, m := range row.FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: rows %v\nreasons %v", table, got, want)
		}
	}
}

// Every log line that a document names exists in the code; a line with "…" is a part of one.
func TestLogLinesThatAreNamed(t *testing.T) {
	var code strings.Builder
	err := filepath.WalkDir("../..", func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			code.WriteString(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(read(t, operations), "<!-- log lines -->\n")
	table, _, _ := strings.Cut(rest, "<!-- /log lines -->")
	named := 0
	for row := range strings.Lines(table) {
		message, _, _ := strings.Cut(row, " | ")
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(message, -1) {
			named++
			for part := range strings.SplitSeq(m[1], "…") {
				if !strings.Contains(code.String(), strings.TrimSpace(part)) {
					t.Errorf("no line of the log has %q", part)
				}
			}
		}
	}
	if named < 25 {
		t.Errorf("only %d lines are named", named)
	}
}

// Links between the documents lead to files and headings that exist.
func TestLinks(t *testing.T) {
	const root = "../.."
	documents := []string{"bench/README.md"}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		for _, path := range found {
			documents = append(documents, strings.TrimPrefix(path, root+"/"))
		}
	}
	link := regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?\)`)
	for _, from := range documents {
		for _, l := range link.FindAllStringSubmatch(read(t, filepath.Join(root, from)), -1) {
			if strings.HasPrefix(l[1], "http") {
				continue
			}
			to := from
			if l[1] != "" {
				to = filepath.Join(filepath.Dir(from), l[1])
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: %v", from, err)
			} else if l[2] != "" && !headings(t, filepath.Join(root, to))[l[2]] {
				t.Errorf("%s: %s has no #%s", from, to, l[2])
			}
		}
	}
}

// headings returns the anchors of a document's headings.
func headings(t *testing.T, path string) map[string]bool {
	all := map[string]bool{}
	heading := regexp.MustCompile(`(?m)^##+ (.+)$`)
	for _, h := range heading.FindAllStringSubmatch(read(t, path), -1) {
		text := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(h[1], "$1")
		anchor := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(text), "")
		all[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	return all
}
