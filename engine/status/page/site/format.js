// Values as text. Whatever is missing or is no number becomes a dash, so that
// a status of an older or newer distributor never breaks the page.

export const NONE = "–";

const isNumber = (n) => typeof n === "number" && Number.isFinite(n);
const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Whole number with thousands separators up to a trillion, then as 1.23 T. */
export const count = (n) => (!isNumber(n) ? NONE : Math.abs(n) < 1e12 ? grouped.format(n) : scaled(n, "").trim());

/** Three significant digits below 1000, so that columns keep their width. */
function threeDigits(n) {
  const size = Math.abs(n);
  return n.toFixed(size >= 99.95 || size === 0 ? 0 : size >= 9.995 ? 1 : 2);
}

const prefixes = ["", "k", "M", "G", "T", "P", "E"];

function scaled(n, unit) {
  let step = 0;
  while (Math.abs(n) >= 999.5 && step < prefixes.length - 1) { // what would round to 1000
    n /= 1000;
    step++;
  }
  const digits = step === 0 ? String(Math.round(n)) : threeDigits(n);
  return `${digits} ${prefixes[step]}${unit}`;
}

/** Size in decimal units: 1 MB is 1,000,000 bytes. */
export const bytes = (n) => (isNumber(n) ? scaled(n, "B") : NONE);

/** Bytes a second. */
export const byteRate = (n) => (isNumber(n) ? `${scaled(n, "B")}/s` : NONE);

/** The same in bits, as networks are measured. */
export const bitRate = (n) => (isNumber(n) ? `${scaled(n * 8, "bit")}/s` : NONE);

/** Events a second: one decimal while they are few. */
export function perSecond(n) {
  if (!isNumber(n)) return NONE;
  return `${n > 0 && n < 9.95 ? n.toFixed(1) : count(n)}/s`;
}

/** Part of one as percent; more than 100 % is possible (several cores). */
export function percent(part) {
  if (!isNumber(part)) return NONE;
  if (part > 0 && part < 0.0005) return "< 0.1 %";
  return `${part > 0 && part < 0.0995 ? (part * 100).toFixed(1) : count(part * 100)} %`;
}

const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** Length of time in seconds, in its two greatest units at most. */
export function duration(s) {
  if (!isNumber(s)) return NONE;
  if (s <= 0) return "0 s";
  if (s < 0.00095) return `${Math.max(1, Math.round(s * 1e6))} µs`;
  if (s < 0.9995) return `${s < 0.00995 ? (s * 1e3).toFixed(1) : Math.round(s * 1e3)} ms`;
  if (s < 9.95) return `${Number.isInteger(s) ? s : s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  for (let i = 0; ; i++) {
    const [large, size] = units[i];
    const [small, step] = units[i + 1];
    const all = Math.round(s / step); // rounded first, so that nothing reads "1 min 60 s"
    const rest = all % (size / step);
    const whole = (all - rest) / (size / step);
    if (whole > 0) return rest === 0 ? `${count(whole)} ${large}` : `${count(whole)} ${large} ${rest} ${small}`;
  }
}

/** Milliseconds of an RFC 3339 time; null when it is missing, broken, or Go's zero time. */
export function moment(text) {
  const ms = Date.parse(text);
  return Number.isNaN(ms) || ms <= Date.parse("0001-01-02T00:00:00Z") ? null : ms;
}

const two = (n) => String(n).padStart(2, "0");

/** Local time of day; with the date when that is not the day of `now`. */
export function clock(ms, now = ms) {
  if (!isNumber(ms)) return NONE;
  const t = new Date(ms);
  const time = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
  if (t.toDateString() === new Date(now).toDateString()) return time;
  return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${time}`;
}

/** The same moment in UTC, for tooltips and logs. */
export function utc(ms) {
  if (!isNumber(ms) || Math.abs(ms) > 8.64e15) return "";
  return `${new Date(ms).toISOString().replace("T", " ").replace(/\.\d+Z$/, "")} UTC`;
}

/** How long before `now`: never negative, clocks differ. */
export const ago = (ms, now) => (isNumber(ms) && isNumber(now) ? `${duration(Math.max(0, Math.round((now - ms) / 1000)))} ago` : NONE);

/** First and last digits of a long key. */
export const shortKey = (key) => (typeof key !== "string" || key === "" ? NONE : key.length > 16 ? `${key.slice(0, 8)}…${key.slice(-4)}` : key);

/** A label such as too_slow in words. */
export const words = (name) => String(name ?? "").replaceAll("_", " ");

/** A number with its noun: "1 worker", "2 workers". */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
