import assert from "node:assert/strict";
import { test } from "node:test";
import { COLUMNS, fold, History, WINDOW } from "../site/history.js";

const BASE = Date.UTC(2026, 2, 3, 12);
const started = "2026-03-03T10:00:00Z";
const at = (second, more = {}) => ({
  time: new Date(BASE + second * 1000).toISOString(), started,
  streams: [{ name: "receipt", records: 100 * second, bytes: 1000 * second }],
  workers: [{ number: 1, pid: 7, sentBytes: 5000 * second }],
  latency: { p50: 0.001, p99: 0.01 }, ...more,
});
const column = (history, name) => history.points[COLUMNS.indexOf(name)];

test("points are rates from status to status", () => {
  const history = new History();
  for (let s = 100; s < 104; s++) history.add(at(s));
  assert.deepEqual(column(history, "time"), [100, 101, 102, 103].map((s) => BASE / 1000 + s));
  assert.deepEqual(column(history, "bytesIn"), [null, 1000, 1000, 1000]);
  assert.deepEqual(column(history, "bytesOut"), [null, 5000, 5000, 5000]);
  assert.deepEqual(column(history, "p99"), [0.01, 0.01, 0.01, 0.01]);
});

test("rates in tables are averages of five seconds", () => {
  const history = new History();
  let rates;
  for (let s = 100; s < 120; s++) rates = history.add(at(s, { workers: [{ number: 1, pid: 7, sentBytes: 10_000 * Math.floor(s / 5) }] }));
  assert.equal(rates.bytesOut, 2000);
  assert.equal(rates.recordsIn, 100);
});

test("15 minutes are kept", () => {
  const history = new History();
  for (let s = 0; s < 2000; s++) history.add(at(s));
  assert.equal(column(history, "time").length, WINDOW + 1);
  assert.ok(history.points.every((c) => c.length === WINDOW + 1));
  assert.equal(column(history, "time").at(-1) - column(history, "time")[0], WINDOW);
});

test("a restart of the primary gives no negative rates and begins anew", () => {
  const history = new History();
  for (let s = 100; s < 105; s++) history.add(at(s, { refused: { replayed: 50 } }));
  const fresh = (s) => ({ ...at(s - 100), time: at(s).time, started: at(104).time, refused: { replayed: 2 } });
  let rates = history.add(fresh(105));
  assert.equal(rates.bytesIn, null);
  rates = history.add(fresh(106));
  assert.equal(rates.bytesIn, 1000);
  assert.deepEqual(column(history, "bytesIn").slice(-3), [1000, null, 1000]);
  assert.equal(history.gains().seconds, 1);
  assert.deepEqual(history.gains().by.refused, { replayed: 0 });
  for (const c of history.points.slice(1)) assert.ok(c.every((v) => v === null || v >= 0));
});

test("a worker that starts again does not pull the sum below zero", () => {
  const history = new History();
  const two = (s, pid, sent) => at(s, { workers: [{ number: 1, pid: 7, sentBytes: 5000 * s }, { number: 2, pid, sentBytes: sent }] });
  history.add(two(1, 8, 1e9));
  history.add(two(2, 8, 1e9 + 1000));
  history.add(two(3, 9, 500));
  history.add(two(4, 9, 1500));
  assert.deepEqual(column(history, "bytesOut"), [null, 6000, 5000, 6000]);
});

test("past workers count when the distributor adds them up itself", () => {
  const history = new History();
  history.add(at(1, { clients: { sentBytes: 1e9 } }));
  history.add(at(2, { clients: { sentBytes: 1e9 + 7000 }, workers: [] }));
  assert.deepEqual(column(history, "bytesOut"), [null, 7000]);
});

test("folding averages, keeps the greatest p99, and keeps gaps", () => {
  const points = [[0, 1, 4, 5, 6, 11, 14, 15], [1, 2, 3, 10, 20, null, 7, null], [0, 0, 0, 0, 0, null, 0, 4], [1, 1, 4, null, 2, null, null, 1], [1, 9, 2, null, 5, null, null, 1], [1, 1, 1, 1, 1, null, 1, 1]];
  assert.deepEqual(fold(points, 5), [[4, 6, 11, 14, 15], [2, 15, null, 7, null], [0, 0, null, 0, 4], [2, 2, null, null, 1], [9, 5, null, null, 1], [1, 1, null, 1, 1]]);
  assert.deepEqual(fold([[], [], [], [], [], []], 5), [[], [], [], [], [], []]);
  const history = new History();
  for (let s = 0; s < 2000; s++) history.add(at(s));
  const folded = fold(history.points, 5);
  assert.equal(folded[0].length, WINDOW / 5 + 1);
  assert.ok(folded[0].every((t, i) => i === 0 || t > folded[0][i - 1]));
});

test("a lost connection interrupts the line and does not smear over the gap", () => {
  const history = new History();
  history.add(at(100));
  history.add(at(101));
  const rates = history.add(at(161));
  assert.deepEqual(column(history, "time").map((t) => t - BASE / 1000), [100, 101, 131, 161]);
  assert.deepEqual(column(history, "bytesIn"), [null, 1000, null, null]);
  assert.equal(rates.bytesIn, null);
  assert.equal(history.add(at(162)).bytesIn, 1000);
});

test("a clock that is set back keeps times ascending", () => {
  const history = new History();
  for (const s of [100, 101, 102, 103, 101, 102]) history.add(at(s));
  assert.deepEqual(column(history, "time").map((t) => t - BASE / 1000), [100, 101, 102]);
  for (const c of history.points.slice(1)) assert.ok(c.every((v) => v === null || v >= 0));
});

test("gains count over what was watched", () => {
  const history = new History();
  history.add(at(100, { clients: { disconnects: { too_slow: 5 } }, refused: {} }));
  history.add(at(110, { clients: { disconnects: { too_slow: 7, ping_timeout: 1 } }, refused: { full: 2 } }));
  assert.deepEqual(history.gains(), { seconds: 10, by: { disconnects: { too_slow: 2, ping_timeout: 1 }, refused: { full: 2 }, rejected: {}, failed: {} } });
});

test("broken statuses leave no trace in the points", () => {
  const history = new History();
  history.add({});
  history.add({ time: "nonsense" });
  history.add({ time: null, streams: null, latency: null, clients: null });
  assert.equal(column(history, "time").length, 0);
  history.add(at(1));
  history.add(at(2));
  assert.deepEqual(column(history, "bytesIn"), [null, 1000]);
  assert.equal(new History().gains().seconds, 0);
});
