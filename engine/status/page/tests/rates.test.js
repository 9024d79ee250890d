import assert from "node:assert/strict";
import { test } from "node:test";
import { between, entries, foldStatuses, gained, list, rate, ratesBetween, sum, total } from "../site/rates.js";

const started = "2026-03-03T10:00:00Z";
const at = (second, more = {}) => ({ time: new Date(Date.UTC(2026, 2, 3, 12) + second * 1000).toISOString(), started, ...more });

test("a rate is never negative and never made up", () => {
  assert.equal(rate(300, 100, 2), 100);
  assert.equal(rate(100, 100, 2), 0);
  for (const [now, before, seconds] of [[100, 300, 2], [300, 100, 0], [300, 100, -1], [300, 100, null], [undefined, 100, 1], [300, undefined, 1], [NaN, 1, 1], ["3", 1, 1]]) {
    assert.equal(rate(now, before, seconds), null);
  }
});

test("sums leave out what is unknown, and are unknown when all is", () => {
  assert.equal(sum([1, null, 2, undefined]), 3);
  assert.equal(sum([0, null]), 0);
  assert.equal(sum([null, undefined]), null);
  assert.equal(sum([]), null);
});

test("statuses of another life of the primary do not compare", () => {
  assert.equal(between(at(1), at(3.5)), 2.5);
  assert.equal(between(at(3), at(1)), null);
  assert.equal(between(at(1), at(1)), null);
  assert.equal(between(at(1), at(2, { started: "2026-03-03T12:00:01Z" })), null);
  assert.equal(between(null, at(2)), null);
  assert.equal(between({}, {}), null);
});

test("streams and workers add up", () => {
  const before = at(0, {
    streams: [{ name: "cycle", records: 10, bytes: 1000 }, { name: "receipt", records: 100, bytes: 50_000 }],
    workers: [{ number: 1, pid: 11, sentBytes: 1000 }, { number: 2, pid: 12, sentBytes: 5000 }],
    processes: [{ name: "worker 1", pid: 11, cpuSeconds: 3 }],
    api: [{ path: "/receipt", statuses: { 200: 10, 400: 5 } }],
    frameLog: { head: 1000 },
  });
  const now = at(2, {
    streams: [{ name: "receipt", records: 300, bytes: 250_000 }, { name: "cycle", records: 12, bytes: 1400 }],
    workers: [{ number: 1, pid: 11, sentBytes: 9000 }, { number: 2, pid: 99, sentBytes: 1e12 }],
    processes: [{ name: "worker 1", pid: 11, cpuSeconds: 4 }],
    api: [{ path: "/receipt", statuses: { 200: 20, 404: 3, 400: 5 } }, { path: "/cycleinfo", statuses: { 200: 1 } }],
    frameLog: { head: 5000 },
  });
  const rates = ratesBetween(before, now);
  assert.deepEqual(rates.stream(now.streams[0]), { records: 100, bytes: 100_000 });
  assert.equal(rates.recordsIn, 101);
  assert.equal(rates.bytesIn, 100_200);
  assert.equal(rates.worker(now.workers[0]).sent, 4000);
  assert.equal(rates.worker(now.workers[1]).sent, null, "a new process has no rate yet");
  assert.equal(rates.bytesOut, 4000, "and adds nothing to the sum");
  assert.equal(rates.process(now.processes[0]).cpu, 0.5);
  assert.equal(rates.endpoint(now.api[0]).requests, 6.5);
  assert.equal(rates.endpoint(now.api[1]).requests, null);
  assert.equal(rates.endpoint({ path: "/other" }).requests, undefined);
  assert.equal(rates.logGrowth, 2000);
});

test("missing members give no rates and no errors", () => {
  for (const [before, now] of [[undefined, {}], [{}, {}], [at(0), at(1)], [at(0, { streams: null, workers: "x", frameLog: null }), at(1, { streams: [null, 3], workers: null })]]) {
    const rates = ratesBetween(before, now);
    assert.equal(rates.bytesIn, null);
    assert.equal(rates.bytesOut, null);
    assert.equal(rates.logGrowth, null);
    assert.deepEqual(rates.stream({ name: "cycle" }), {});
  }
});

test("counters by reason", () => {
  assert.deepEqual(entries({ a: 1, c: 5, b: 5, zero: 0, odd: "7" }), [["b", 5], ["c", 5], ["a", 1]]);
  assert.deepEqual(entries(null), []);
  assert.deepEqual(entries(undefined), []);
  assert.equal(total({ a: 1, b: 2 }), 3);
  assert.deepEqual(gained({ a: 1 }, { a: 4, b: 2 }), { a: 3, b: 2 });
  assert.deepEqual(gained({ a: 9 }, { a: 4 }), { a: 0 }, "went back");
  assert.deepEqual(gained(undefined, undefined), {});
  assert.deepEqual(list([1, null, { a: 1 }]), [{ a: 1 }]);
  assert.deepEqual(list(undefined), []);
});

test("answers fold into classes", () => {
  assert.deepEqual(foldStatuses({ 200: 10, 204: 1, 304: 2, 400: 3, 429: 4, 500: 5, 503: 6 }), { ok: 13, refused: 7, failed: 11 });
  assert.deepEqual(foldStatuses(null), { ok: 0, refused: 0, failed: 0 });
});
