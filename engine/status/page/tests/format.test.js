import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, byteRate, bytes, clock, count, duration, moment, NONE, percent, perSecond, plural, shortKey, utc, words } from "../site/format.js";

const table = (name, f, cases) => test(name, () => {
  for (const [input, want] of cases) assert.equal(f(input), want, `${name}(${input})`);
});

table("bytes", bytes, [
  [0, "0 B"], [1, "1 B"], [999, "999 B"], [1000, "1.00 kB"], [1234, "1.23 kB"], [12345, "12.3 kB"], [99949, "99.9 kB"], [99951, "100 kB"],
  [999_499, "999 kB"], [999_500, "1.00 MB"], [1.5e9, "1.50 GB"], [9.2e18, "9.20 EB"], [2 ** 64, "18.4 EB"], [1e25, "10000000 EB"], [-5000, "-5.00 kB"],
]);
table("duration", duration, [
  [0, "0 s"], [-1, "0 s"], [1e-9, "1 µs"], [0.0004, "400 µs"], [0.0012, "1.2 ms"], [0.0123, "12 ms"], [0.9994, "999 ms"], [0.9996, "1.0 s"], [1, "1 s"], [1.23, "1.2 s"], [9.96, "10 s"],
  [59.4, "59 s"], [59.6, "1 min"], [61, "1 min 1 s"], [3599.7, "1 h"], [7500, "2 h 5 min"], [86399, "1 d"], [90000, "1 d 1 h"], [1e9, "11,574 d 2 h"],
]);
table("count", count, [[0, "0"], [1234567, "1,234,567"], [999_999_999_999, "999,999,999,999"], [9.2e18, "9.20 E"]]);
table("perSecond", perSecond, [[0, "0/s"], [0.04, "0.0/s"], [3.14, "3.1/s"], [9.96, "10/s"], [12345, "12,345/s"]]);
table("percent", percent, [[0, "0 %"], [0.0001, "< 0.1 %"], [0.004, "0.4 %"], [0.5, "50 %"], [15.5, "1,550 %"]]);
table("shortKey", shortKey, [["758b1c119412298802cd28dbfa394cdf", "758b1c11…4cdf"], ["short", "short"], ["", NONE]]);
table("words", words, [["too_slow", "too slow"], ["timestamp_in_future", "timestamp in future"], [undefined, ""]]);

test("what is missing or no number is a dash", () => {
  for (const f of [bytes, byteRate, count, duration, perSecond, percent, clock, shortKey]) {
    for (const input of [undefined, null, NaN, Infinity, {}]) assert.equal(f(input), NONE, `${f.name}(${input})`);
  }
  for (const f of [bytes, byteRate, count, duration, perSecond, percent]) assert.equal(f("12"), NONE, `${f.name}("12")`);
});

test("times", () => {
  assert.equal(moment("0001-01-01T00:00:00Z"), null, "Go's zero time");
  assert.equal(moment("0001-01-01T01:00:00+01:00"), null, "Go's zero time, elsewhere");
  for (const bad of [undefined, null, "", "yesterday"]) assert.equal(moment(bad), null);
  const t = moment("2026-03-03T13:03:22.987654321Z");
  assert.equal(t, Date.UTC(2026, 2, 3, 13, 3, 22, 987));
  assert.equal(utc(t), "2026-03-03 13:03:22 UTC");
  assert.equal(utc(null), "");
  assert.equal(utc(1e300), "");
  const local = new Date(2026, 2, 3, 14, 3, 2).getTime();
  assert.equal(clock(local), "14:03:02");
  assert.equal(clock(local, local + 86400e3), "2026-03-03 14:03:02");
  assert.equal(ago(1000, 13_000), "12 s ago");
  assert.equal(ago(13_000, 1000), "0 s ago", "clocks differ");
  assert.equal(ago(null, 1000), NONE);
});

test("plural", () => {
  assert.equal(plural(1, "worker"), "1 worker");
  assert.equal(plural(0, "worker"), "0 workers");
  assert.equal(plural(1200, "worker"), "1,200 workers");
  assert.equal(plural(undefined, "collector"), `${NONE} collectors`);
});
