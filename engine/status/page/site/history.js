// What the page remembers: the last 15 minutes, as points for the charts, and
// the few statuses that rates and gains are measured against.

import { between, countersOf, gained, ratesBetween } from "./rates.js";

export const WINDOW = 15 * 60; // seconds that the charts show
const RATE_SPAN = 5; // seconds that the numbers in tables are averaged over
const GAP = 5; // seconds without a status after which a line is interrupted

/** Columns of points: time of the distributor in seconds first; null where nothing is known. */
export const COLUMNS = ["time", "bytesIn", "bytesOut", "p50", "p99", "recordsIn"];

/**
 * Points for the eye, one for each `seconds` of time, so that a narrow chart
 * shows lines and no noise: averages, but of p99 the greatest. Gaps stay.
 */
export function fold(points, seconds) {
  const folded = points.map(() => []);
  const gap = (i) => points.every((values, c) => c === 0 || values[i] === null);
  const bucket = (i) => Math.floor(points[0][i] / seconds);
  for (let from = 0, to; from < points[0].length; from = to) {
    to = from + 1;
    while (to < points[0].length && bucket(to) === bucket(from) && !gap(from) && !gap(to)) to++;
    folded[0].push(points[0][to - 1]);
    for (let c = 1; c < points.length; c++) {
      const known = points[c].slice(from, to).filter((v) => v !== null);
      const average = () => known.reduce((all, v) => all + v, 0) / known.length;
      folded[c].push(known.length === 0 ? null : COLUMNS[c] === "p99" ? Math.max(...known) : average());
    }
  }
  return folded;
}

export class History {
  #points = COLUMNS.map(() => []);
  #recent = []; // statuses of the last RATE_SPAN seconds and one before
  #counters = []; // {time, started, by} over WINDOW; by: countersOf
  #last = null;

  /** Takes the next status; returns its rates. */
  add(status) {
    const time = Date.parse(status.time) / 1000;
    const step = between(this.#last, status);
    const moment = step !== null && step <= GAP ? ratesBetween(this.#last, status) : {};
    const quiet = (seconds) => (seconds > 0 ? seconds : null); // 0: nothing was sent
    if (Number.isFinite(time)) {
      this.#forgetFrom(time);
      const before = this.#points[0].at(-1);
      if (before !== undefined && time - before > GAP) this.#push([(before + time) / 2]);
      this.#push([time, moment.bytesIn, moment.bytesOut, quiet(status.latency?.p50), quiet(status.latency?.p99), moment.recordsIn]);
      this.#forgetBefore(time - WINDOW);
    }
    this.#keep(status, time);
    this.#last = status;
    return ratesBetween(this.#recent[0], status);
  }

  /** Points by column, oldest first, times ascending. To be read only. */
  get points() {
    return this.#points;
  }

  /** What the counters of countersOf gained while the page looked, at most over WINDOW: {seconds, by}. */
  gains() {
    if (this.#counters.length === 0) return { seconds: 0, by: {} };
    const oldest = this.#counters[0];
    const now = this.#counters.at(-1);
    const by = Object.fromEntries(Object.entries(now.by).map(([what, counters]) => [what, gained(oldest.by[what], counters)]));
    return { seconds: Math.max(0, now.time - oldest.time), by };
  }

  #push(values) {
    this.#points.forEach((column, i) => column.push(values[i] ?? null));
  }

  // The distributor's clock was set back: points of a time to come again would
  // run the line backwards.
  #forgetFrom(time) {
    while (this.#points[0].length > 0 && this.#points[0].at(-1) >= time) this.#points.forEach((column) => column.pop());
  }

  #forgetBefore(time) {
    const keep = this.#points[0].findIndex((t) => t >= time);
    if (keep > 0) this.#points.forEach((column) => column.splice(0, keep));
  }

  #keep(status, time) {
    if (between(this.#last, status) === null || time - Date.parse(this.#last.time) / 1000 > 2 * RATE_SPAN) this.#recent = [];
    this.#recent.push(status);
    while (this.#recent.length > 2 && time - Date.parse(this.#recent[1].time) / 1000 >= RATE_SPAN) this.#recent.shift();

    const { started } = status;
    if (this.#counters.at(-1)?.started !== started || this.#counters.at(-1)?.time >= time) this.#counters = [];
    this.#counters.push({ time, started, by: countersOf(status) });
    while (this.#counters.length > 1 && this.#counters[0].time < time - WINDOW) this.#counters.shift();
  }
}
