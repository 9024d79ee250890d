package main

import (
	"fmt"
	"strings"
)

// chart is a picture of some figures: bars in groups, one group a scenario.
type chart struct {
	title, subtitle string
	unit            string
	groups          []group
}

type group struct {
	label string
	bars  []bar
}

// bar is drawn up to value; inner, if there is one, is a darker bar in it.
type bar struct {
	label        string
	value, inner float64
	low, high    float64 // range of value; equal: none is drawn
	own          bool    // it is the distributor's
}

// charts are those of the figures that were measured.
func (r *report) charts() (charts []chart) {
	cpu := chart{title: "CPU per delivered byte, as fast as it goes", subtitle: "relative to a raw write(2) of 256 KiB slices; less is better", unit: "×"}
	for _, s := range []struct{ scenario, label string }{{"fanout-1", "1 client"}, {"fanout-100", "100 clients"}, {"fanout-1000", "1,000 clients"}, {"fanout-5000", "5,000 clients"}} {
		g := group{label: s.label}
		add := func(label, name string, own bool) {
			if f, ok := r.find(s.scenario, name); ok {
				g.bars = append(g.bars, bar{label: label, value: f.Median, low: f.Min, high: f.Max, own: own})
			}
		}
		add("distributor, worker", "live, worker : raw, CPU", true)
		add("distributor, with encoding", "live, primary + worker : raw, CPU", true)
		for _, p := range peers() {
			add(p.name, p.name+" : raw, CPU", false)
		}
		if len(g.bars) > 2 { // with peers
			g.bars = append([]bar{{label: "raw write", value: 1, low: 1, high: 1}}, g.bars...)
			cpu.groups = append(cpu.groups, g)
		}
	}
	late := chart{title: "Append to receipt at a steady rate", subtitle: "p50 (dark) and p99 (light), ms; less is better", unit: "ms"}
	for _, s := range []struct{ scenario, label string }{{"latency-100", "100 clients × 500/s"}, {"latency-1000", "1,000 clients × 50/s"}, {"latency-5000", "5,000 clients × 10/s"}} {
		g := group{label: s.label}
		add := func(label, p50, p99 string, own bool) {
			if f, ok := r.find(s.scenario, p99); ok {
				half, _ := r.find(s.scenario, p50)
				g.bars = append(g.bars, bar{label: label, value: f.Median, low: f.Min, high: f.Max, inner: half.Median, own: own})
			}
		}
		add("raw write", "raw, p50", "raw, p99", false)
		add("distributor", "append to receipt, p50", "append to receipt, p99", true)
		for _, p := range peers() {
			add(p.name, p.name+", p50", p.name+", p99", false)
		}
		if len(g.bars) > 0 {
			late.groups = append(late.groups, g)
		}
	}
	for _, c := range []chart{cpu, late} {
		if len(c.groups) > 0 {
			charts = append(charts, c)
		}
	}
	return charts
}

// Sizes of the picture, in pixels.
const (
	chartWidth  = 760
	labelWidth  = 205
	valueWidth  = 155
	barHeight   = 16
	barStep     = 22
	groupSpace  = 34
	chartMargin = 20
	headHeight  = 62
)

const chartStyle = `<style>
text{font:13px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#1f2328}
.t{font-size:16px;font-weight:600}.s{fill:#59636e}.g{font-weight:600}
.c{fill:#ffffff;stroke:#d1d9e0}.a{stroke:#d1d9e0}
.o{fill:#0969da}.p{fill:#8c959f}.l{opacity:.45}.w{stroke:#1f2328;stroke-width:1.2;opacity:.7}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.c{fill:#0d1117;stroke:#3d444d}.a{stroke:#3d444d}
.o{fill:#4493f8}.p{fill:#767e88}.w{stroke:#e6edf3}}
</style>
`

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace

// drawCharts draws them one below the other, as one SVG, for light and dark
// surroundings.
func drawCharts(charts []chart) string {
	var body strings.Builder
	y := 0
	for _, c := range charts {
		y = c.draw(&body, y)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`, chartWidth, y) +
		"\n" + chartStyle + body.String() + "</svg>\n"
}

// draw draws from y down and returns where it ends.
func (c chart) draw(out *strings.Builder, y int) int {
	height := headHeight + chartMargin
	most := 0.0
	for _, g := range c.groups {
		height += groupSpace + barStep*len(g.bars)
		for _, b := range g.bars {
			most = max(most, b.value, b.high)
		}
	}
	scale := float64(chartWidth-2*chartMargin-labelWidth-valueWidth) / max(most, 1e-9)
	x := func(v float64) float64 { return chartMargin + labelWidth + v*scale }
	fmt.Fprintf(out, `<rect class="c" x="0.5" y="%.1f" width="%d" height="%d" rx="6"/>`+"\n", float64(y)+.5, chartWidth-1, height-8)
	fmt.Fprintf(out, `<text class="t" x="%d" y="%d">%s</text><text class="s" x="%d" y="%d">%s</text>`+"\n",
		chartMargin, y+28, escape(c.title), chartMargin, y+48, escape(c.subtitle))
	at := y + headHeight
	for _, g := range c.groups {
		fmt.Fprintf(out, `<text class="g" x="%d" y="%d">%s</text>`+"\n", chartMargin, at+18, escape(g.label))
		at += groupSpace - 8
		fmt.Fprintf(out, `<line class="a" x1="%.1f" x2="%.1[1]f" y1="%d" y2="%d"/>`+"\n", x(0), at, at+barStep*len(g.bars))
		for _, b := range g.bars {
			b.draw(out, x, at, c.unit)
			at += barStep
		}
		at += 8
	}
	return y + height
}

func (b bar) draw(out *strings.Builder, x func(float64) float64, y int, unit string) {
	colour := either(b.own, "o", "p")
	top := y + (barStep-barHeight)/2
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="end"%s>%s</text>`, chartMargin+labelWidth-8, top+13, either(b.own, ` class="g"`, ""), escape(b.label))
	value := digits(b.value) + " " + unit
	light := ""
	if b.inner > 0 {
		light = " l"
		value = digits(b.inner) + " · " + value
	}
	fmt.Fprintf(out, `<rect class="%s%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`, colour, light, x(0), top, x(b.value)-x(0), barHeight)
	if b.inner > 0 {
		fmt.Fprintf(out, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`, colour, x(0), top, x(b.inner)-x(0), barHeight)
	}
	if b.high > b.low {
		fmt.Fprintf(out, `<line class="w" x1="%.1f" x2="%.1f" y1="%d" y2="%[3]d"/>`, x(b.low), x(b.high), top+barHeight/2)
	}
	fmt.Fprintf(out, `<text x="%.1f" y="%d">%s</text>`+"\n", x(max(b.value, b.high))+6, top+13, escape(value))
}
