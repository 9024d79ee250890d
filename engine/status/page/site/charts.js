// The three charts over the last 15 minutes. Their captions show the newest
// values, or those under the cursor, which moves in all three at once, by
// mouse, finger or arrow keys.

import { bitRate, bytes, byteRate, clock, duration, NONE, perSecond } from "./format.js";
import { COLUMNS, fold, WINDOW } from "./history.js";
import { setText } from "./dom.js";

const column = Object.fromEntries(COLUMNS.map((name, i) => [name, i]));
const FOLD = 5; // seconds that a point of a line stands for
const STEP = 3; // points that an arrow key moves the cursor by

/** Axis labels are round: 2 MB rather than 2.00 MB. */
const tick = (text) => text.replace(/\.0+ /, " ").replace(/(\.\d*[1-9])0+ /, "$1 ");

const CHARTS = [
  {
    id: "in", lines: [{ column: "bytesIn", dash: [] }], area: true,
    axis: (v) => tick(bytes(v)), range: (u, low, high) => [0, high > 0 ? high * 1.2 : 1000],
    show: (at) => ({ main: byteRate(at("bytesIn")), side: `${perSecond(at("recordsIn")).replace("/s", " records/s")}` }),
  },
  {
    id: "out", lines: [{ column: "bytesOut", dash: [] }], area: true,
    axis: (v) => tick(bytes(v)), range: (u, low, high) => [0, high > 0 ? high * 1.2 : 1000],
    show: (at) => ({ main: byteRate(at("bytesOut")), side: bitRate(at("bytesOut")) }),
  },
  {
    id: "latency", lines: [{ column: "p99", dash: [6, 4] }, { column: "p50", dash: [] }], logarithmic: true,
    axis: (v) => tick(duration(v)), range: (u, low, high) => decades(low, high),
    show: (at) => ({ main: duration(at("p99")), side: `p50 ${duration(at("p50"))}` }),
  },
];

/** Whole powers of ten around what there is, 0.1 to 10 ms at least. */
function decades(low, high) {
  const floor = Math.min(1e-4, 10 ** Math.floor(Math.log10(low > 0 ? low : 1)));
  const ceiling = Math.max(1e-2, 10 ** Math.ceil(Math.log10(high > 0 ? high : 1e-2)));
  return [floor, ceiling];
}

/** The powers of ten of an axis; uPlot would draw all between them too. */
function powers(low, high) {
  const found = [];
  for (let e = Math.round(Math.log10(low)); e <= Math.round(Math.log10(high)); e++) found.push(10 ** e);
  return found;
}

/** A colour of the style sheet as the canvas needs it, whichever theme. */
function color(name) {
  const probe = document.getElementById("colour-probe");
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

class Chart {
  #spec;
  #place;
  #points; // folded
  #now = {}; // newest values, by column
  #plot;

  constructor(spec, points) {
    this.#spec = spec;
    this.#points = points;
    this.#place = document.getElementById(`chart-${spec.id}`);
    this.#plot = new uPlot(this.#options(), this.#data(), this.#place);
    new ResizeObserver(() => this.#plot.setSize(this.#size())).observe(this.#place);
    this.#place.addEventListener("keydown", (event) => this.#key(event));
    this.#place.addEventListener("blur", () => this.#point(null));
  }

  update(points, newest) {
    this.#points = points;
    this.#now = newest;
    const now = points[0].at(-1) ?? 0;
    this.#plot.batch(() => {
      this.#plot.setData(this.#data(), false);
      this.#plot.setScale("x", { min: now - WINDOW, max: now });
    });
    this.#caption();
    // A name that changes under the focus would be read out every second.
    if (document.activeElement !== this.#place) this.#place.setAttribute("aria-label", this.#describe());
  }

  redraw() {
    this.#plot.redraw(false);
  }

  #data() {
    return [this.#points[0], ...this.#spec.lines.map((line) => this.#points[column[line.column]])];
  }

  #size() {
    return { width: Math.max(200, this.#place.clientWidth), height: 150 };
  }

  #options() {
    const { lines, area, axis, range, logarithmic } = this.#spec;
    const font = "11px system-ui, sans-serif";
    const quiet = { font, stroke: () => color("--muted"), ticks: { show: false }, border: { show: false } };
    const grid = { stroke: () => color("--grid"), width: 1 };
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { sync: { key: "distributor" }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
      padding: [8, 8, 0, 0],
      scales: { x: { time: true }, y: { range, ...(logarithmic ? { distr: 3 } : {}) } },
      axes: [
        { ...quiet, grid: { show: false }, size: 24, space: 60, incrs: [60, 180, 300, 900], values: (u, at) => at.map((s) => clock(s * 1000).slice(0, 5)) },
        { ...quiet, grid, size: 62, space: 28, ...(logarithmic ? { splits: (u, i, low, high) => powers(low, high) } : {}), values: (u, at) => at.map((v) => (v === null ? null : axis(v))) },
      ],
      series: [{}, ...lines.map((line, i) => ({
        stroke: () => color(i === 0 && lines.length > 1 ? "--line-2" : "--line"),
        fill: area ? () => color("--area") : undefined,
        width: 1.5, dash: line.dash, spanGaps: false, points: { show: false },
      }))],
      hooks: { setCursor: [() => this.#caption()] },
    };
  }

  /** Index under the cursor; null when it is nowhere. */
  #index() {
    const { left, idx } = this.#plot?.cursor ?? {};
    return left >= 0 && Number.isInteger(idx) ? idx : null;
  }

  #caption() {
    if (!this.#plot) return; // uPlot calls while it is built
    const index = this.#index();
    const at = (name) => (index === null ? this.#now[name] : this.#points[column[name]][index]);
    const { main, side } = this.#spec.show(at);
    const when = index === null ? "" : `at ${clock(at("time") * 1000)}`;
    setText(document.getElementById(`${this.#spec.id}-main`), main);
    setText(document.getElementById(`${this.#spec.id}-side`), [side, when].filter(Boolean).join(" · "));
  }

  #describe() {
    const high = Math.max(...this.#points[column[this.#spec.lines[0].column]].filter(Number.isFinite));
    const { main, side } = this.#spec.show((name) => this.#now[name]);
    const most = Number.isFinite(high) ? this.#spec.show(() => high).main : NONE;
    return `Chart of the last 15 minutes. Now ${main} ${side}, most ${most}. Arrow keys move through time.`;
  }

  #key(event) {
    const last = this.#points[0].length - 1;
    const index = this.#index() ?? last;
    const to = { ArrowLeft: index - STEP, ArrowRight: index + STEP, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#point(to === null ? null : Math.min(last, Math.max(0, to)));
  }

  #point(index) {
    const left = index === null ? -10 : this.#plot.valToPos(this.#points[0][index], "x");
    this.#plot.setCursor({ left, top: index === null ? -10 : 10 }, true, true);
  }
}

/** All charts: update(points, newest) with History's points and the newest values of their columns. */
export class Charts {
  #charts;

  constructor(points) {
    const folded = fold(points, FOLD);
    this.#charts = CHARTS.map((spec) => new Chart(spec, folded));
    document.addEventListener("themechange", () => this.#charts.forEach((chart) => chart.redraw()));
  }

  update(points, newest) {
    const folded = fold(points, FOLD);
    this.#charts.forEach((chart) => chart.update(folded, newest));
  }
}
