import assert from "node:assert/strict";
import { test } from "node:test";
import { clockDifference, judge, summary } from "../site/judge.js";

const live = { state: "live", since: 0, understood: true };
const lost = { ...live, state: "lost" };
const well = {
  time: "2026-03-03T12:00:00Z", healthy: true, problems: [],
  streams: [{ name: "cycle", secondsBehind: 0 }, { name: "receipt", secondsBehind: 0 }],
  workers: [{ state: "ready", blocked: 0 }, { state: "ready", blocked: 0 }], clients: { connected: 1024 },
};
const problem = { component: "frame log", problem: "no space", remedy: "make room" };

test("states", () => {
  assert.equal(judge({ ...live, state: "connecting" }, null).state, "connecting");
  assert.deepEqual(judge(live, well), { state: "well", title: "Well", problems: [] });
  assert.deepEqual(judge(live, { ...well, healthy: false, problems: [problem] }), { state: "attention", title: "Needs attention", problems: [problem] });
  assert.equal(judge(live, { ...well, problems: [problem, problem] }).title, "Needs attention: 2 problems");
  assert.match(judge(lost, well).title, /^Not connected since 1970-01-01 \d\d:00:00$/);
  assert.equal(judge(lost, null).state, "off");
});

test("nothing is well by default", () => {
  for (const status of [{}, { ...well, healthy: false }, { ...well, healthy: undefined }, { ...well, healthy: "true" }]) {
    const verdict = judge(live, status);
    assert.equal(verdict.state, "attention");
    assert.match(verdict.problems[0].remedy, /is-healthy/);
  }
  assert.equal(judge({ ...live, understood: false }, well).state, "attention");
  assert.equal(judge({ ...live, understood: false }, null).state, "attention");
});

test("sentences", () => {
  const say = (link, status) => summary(judge(link, status), status);
  assert.equal(say(live, well), "Nothing needs doing. 2 streams caught up, 2 of 2 workers ready, 1,024 collectors.");
  const busy = { ...well, healthy: false, problems: [problem], streams: [{ name: "receipt", secondsBehind: 9 }], workers: [{ state: "starting", blocked: 3 }], clients: { connected: 1 } };
  assert.equal(say(live, busy), "Receipt behind, 0 of 1 worker ready, 1 collector, 3 of them blocked.");
  assert.equal(say(live, { ...well, workers: [] }), "Nothing needs doing. 2 streams caught up, no workers, 1,024 collectors.");
  const again = { ...well, started: "2026-05-05T10:00:00Z", healthSince: "2026-05-05T10:00:00Z", time: "2026-05-05T12:00:00Z" };
  assert.match(say(live, again), /^Nothing needs doing\. /);
  assert.match(say(live, { ...again, healthSince: "2026-05-05T11:00:00Z" }), /^Nothing needs doing, since \d\d:00:00\. 2/);
  assert.match(say(live, {}), /No workers, – collectors\./);
  assert.match(say(lost, well), /said last/);
  assert.match(say(lost, null), /not answered/);
});

test("difference of clocks", () => {
  const time = Date.parse(well.time);
  assert.equal(clockDifference(well, time + 3000), "");
  assert.match(clockDifference(well, time + 3600e3), /1 h ahead of/);
  assert.match(clockDifference(well, time - 90e3), /1 min 30 s behind/);
  assert.equal(clockDifference({}, time), "");
});
