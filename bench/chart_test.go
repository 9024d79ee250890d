package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// measuredReport has figures of a fan-out and of a steady rate.
func measuredReport(t *testing.T) *report {
	t.Helper()
	r, err := newReport(t.TempDir(), time.Now(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r.figure("fanout-100", "live, worker : raw, CPU", "×", []float64{0.9, 0.8, 1.2})
	r.figure("fanout-100", "live, primary + worker : raw, CPU", "×", []float64{1.3, 1.4, 1.2})
	r.figure("fanout-100", "gws : live worker, CPU", "×", []float64{4.5, 4.75, 5.5})
	r.figure("fanout-100", "gws : raw, CPU", "×", []float64{5.5, 5.25, 8})
	r.figure("latency-1000", "append to receipt, p50", "ms", []float64{4})
	r.figure("latency-1000", "append to receipt, p99", "ms", []float64{11})
	r.figure("latency-1000", "centrifuge, p50", "ms", []float64{7})
	r.figure("latency-1000", "centrifuge, p99", "ms", []float64{14})
	r.note("nbio is left out: <no> such & thing")
	return r
}

// The picture is well-formed, has all that was measured, and everything in it
// is inside of it.
func TestPictureHoldsTheFigures(t *testing.T) {
	charts := measuredReport(t).charts()
	if len(charts) != 2 || len(charts[0].groups) != 1 || len(charts[0].groups[0].bars) != 4 || len(charts[1].groups[0].bars) != 2 {
		t.Fatalf("%+v", charts)
	}
	charts[0].title = "a < b & c"
	var size struct{ width, height float64 }
	var texts []string
	widths := map[string]float64{}
	for d := xml.NewDecoder(strings.NewReader(drawCharts(charts))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.CharData:
			texts = append(texts, string(token))
		case xml.StartElement:
			a := map[string]float64{}
			var class string
			for _, attribute := range token.Attr {
				a[attribute.Name.Local] = number(attribute.Value)
				if attribute.Name.Local == "class" {
					class = attribute.Value
				}
			}
			if token.Name.Local == "svg" {
				size.width, size.height = a["width"], a["height"]
			}
			if a["x"]+a["width"] > size.width || a["y"]+a["height"] > size.height || a["x1"] > size.width || a["x2"] > size.width {
				t.Errorf("outside of %v: %+v", size, token)
			}
			if token.Name.Local == "rect" && class != "c" {
				widths[class] = max(widths[class], a["width"])
			}
		}
	}
	all := strings.Join(texts, "|")
	for _, want := range []string{"a < b & c", "100 clients", "raw write", "gws", "5.50 ×", "0.90 ×", "7.00 · 14.0 ms", "centrifuge"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in %s", want, all)
		}
	}
	// The bars of a chart have one scale: the peer's p99 is to ours as 14 to 11, and to its p50 as 2 to 1.
	if ratio := widths["p l"] / widths["o l"]; ratio < 1.26 || ratio > 1.28 {
		t.Error(widths)
	}
	picture := drawCharts(charts[1:])
	if light, dark := widthOf(picture, "p l"), widthOf(picture, "p"); light < 1.99*dark || light > 2.01*dark {
		t.Error(light, dark)
	}
}

// widthOf is that of the first bar of a class.
func widthOf(picture, class string) float64 {
	_, rest, _ := strings.Cut(picture, `<rect class="`+class+`"`)
	_, rest, _ = strings.Cut(rest, `width="`)
	width, _, _ := strings.Cut(rest, `"`)
	return number(width)
}

// number is the value of an attribute, or 0.
func number(text string) float64 {
	v, _ := strconv.ParseFloat(text, 64)
	return v
}

func TestVerdicts(t *testing.T) {
	var table strings.Builder
	measuredReport(t).targetTable(&table)
	lines := strings.Split(strings.TrimSpace(table.String()), "\n")[1:]
	want := []string{"met     fanout-100", "met     fanout-100", "MISSED  fanout-100"} // 0.9, 1.3; 4.75 of 5
	if len(lines) != len(want) {
		t.Fatal(table.String())
	}
	for i, line := range lines {
		if !strings.HasPrefix(strings.TrimSpace(line), want[i]) {
			t.Errorf("%q, not %q", line, want[i])
		}
	}
}

// A target of a figure that no scenario has would never be looked at.
func TestTargetsNameScenarios(t *testing.T) {
	for _, ts := range targets {
		if len(ts) == 0 {
			t.Error("a target of no scenario")
		}
		for _, target := range ts {
			if _, err := choose([]string{target.scenario}, false); err != nil {
				t.Error(err)
			}
		}
	}
}

// The figures replace those between the marks, and nothing else.
func TestPublish(t *testing.T) {
	r := measuredReport(t)
	readme := filepath.Join(t.TempDir(), "README.md")
	write := func(text string) {
		if err := os.WriteFile(readme, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# before\n" + figuresBegin + "old\n" + figuresEnd + "after\n")
	for range 2 { // again gives the same
		if err := r.publish(readme, "measured yesterday"); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"measured yesterday\n", "- nbio is left out", "| `fanout-100` | gws : live worker, CPU | ≥ 5.00 | 4.75 (4.50–5.50) × | MISSED |",
		"| gws | 5.50 (5.25–8.00) |", "| **distributor**, workers | 0.90 (0.80–1.20) |", "| append to receipt, p99, ms | `latency-1000` |", "| centrifuge | 14.0 |",
	} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("%q in %s", want, text)
		}
	}
	if !strings.HasPrefix(string(text), "# before\n"+figuresBegin) || !strings.HasSuffix(string(text), figuresEnd+"after\n") || strings.Contains(string(text), "old") {
		t.Error(string(text))
	}
	if picture, err := os.ReadFile(filepath.Join(filepath.Dir(readme), figuresFile)); err != nil || !strings.HasPrefix(string(picture), "<svg ") {
		t.Error(err)
	}
	write("no marks\n")
	if err := r.publish(readme, ""); err == nil {
		t.Error("published into a text without a place for it")
	}
}
