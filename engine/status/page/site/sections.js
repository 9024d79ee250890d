// The parts of the page that are tables and lists of one member of the status
// each. Every function gets its elements ready and returns how to update them.

import { ago, byteRate, bytes, clock, count, duration, moment, NONE, percent, perSecond, plural, shortKey, utc, words } from "./format.js";
import { element, icon, reconcile, say, setText, Table } from "./dom.js";
import { countersOf, entries, foldStatuses, list, sum, total } from "./rates.js";

const byId = (id) => document.getElementById(id);
const exactly = (n) => (Number.isFinite(n) ? `${n.toLocaleString("en")} bytes` : "");

/** Seconds behind after which a stream is marked. */
const LATE = 5;

export function tiles() {
  const tile = (id, main, sub) => {
    say(byId(`${id}-main`), main);
    say(byId(`${id}-sub`), sub);
  };
  return ({ status, rates }) => {
    const workers = list(status.workers);
    const blocked = sum(workers.map((w) => w.blocked));
    const waiting = status.clients?.waiting > 0 ? `, ${count(status.clients.waiting)} wait for a worker` : "";
    tile("collectors", count(status.clients?.connected), blocked > 0
      ? { text: `${count(blocked)} blocked${waiting}`, title: "their sockets are full", icon: "attention", tone: "warn" }
      : `none blocked${waiting}`);

    const late = list(status.streams).toSorted((a, b) => (b.secondsBehind || 0) - (a.secondsBehind || 0))[0];
    const behind = late?.secondsBehind > 0;
    tile("reading", behind ? duration(late.secondsBehind) : late ? "caught up" : NONE, behind ? `${late.name}, ${bytes(late.bytesBehind)}` : late ? "with all data logs" : "no streams");

    const slowest = list(status.clients?.slowest)[0];
    tile("slowest", slowest ? duration(slowest.seconds) : "nobody", slowest ? `${bytes(slowest.lag)} behind the head` : "is behind the head");

    const processes = list(status.processes);
    const cpu = sum(processes.map((p) => rates.process(p).cpu));
    tile("cpu", percent(cpu), `of a core; ${bytes(sum(processes.map((p) => p.private)))} private memory`);
  };
}

export function streams() {
  let now = {};
  const table = new Table(byId("streams"), {
    label: "Streams", empty: "No streams.", key: (s) => s.name,
    columns: [
      { head: "Stream", show: (s) => s.name ?? NONE },
      { head: "Behind", show: lag },
      { head: "Records", number: true, show: (s) => ({ text: perSecond(now.rates.stream(s).records), title: `${count(s.records)} since the start` }) },
      { head: "Data", number: true, show: (s) => ({ text: byteRate(now.rates.stream(s).bytes), title: `${bytes(s.bytes)} since the start` }) },
      { head: "Rejected", number: true, hint: "Lines that are no records, since the start", show: rejected },
      { head: "Last growth", number: true, show: (s) => ({ text: growth(s), title: utc(moment(s.lastGrowth)) }) },
      { head: "File", show: (s) => ({ text: s.file || NONE, title: s.rotations > 0 ? `${plural(s.rotations, "rotation")} since the start` : "" }) },
      { head: "Notes", show: notes },
    ],
  });

  function lag(s) {
    if (!Number.isFinite(s.secondsBehind)) return NONE;
    if (s.secondsBehind <= 0) return { text: "caught up", icon: "well", tone: "well" };
    const late = s.secondsBehind > LATE;
    return { text: `${duration(s.secondsBehind)}, ${bytes(s.bytesBehind)}`, title: exactly(s.bytesBehind), icon: late ? "attention" : "busy", tone: late ? "warn" : "" };
  }

  function rejected(s) {
    const n = total(s.rejected);
    return { text: count(n), title: entries(s.rejected).map(([why, many]) => `${words(why)}: ${count(many)}`).join("\n") };
  }

  const growth = (s) => (moment(s.lastGrowth) === null ? "not yet" : ago(moment(s.lastGrowth), now.time));

  function notes(s) {
    const found = [];
    if (s.gaps > 0) found.push(`${plural(s.gaps, "gap")}: records may be missing`);
    if (s.truncations > 0) found.push(`shortened ${plural(s.truncations, "time")}`);
    if (s.rewrites > 0) found.push(`rewritten ${plural(s.rewrites, "time")}`);
    if (s.oversized > 0) found.push(`${plural(s.oversized, "line")} too long`);
    if (s.errors > 0) found.push(`${plural(s.errors, "failed look")} at the data log`);
    if (s.beyondStop > 0) found.push(`${count(s.beyondStop)} held back (stopDistributionAtCycle)`);
    if (s.watching === false) found.push("polling, no inotify");
    return found.length === 0 ? "none" : { text: found.join("; "), icon: s.gaps > 0 ? "attention" : "info", tone: s.gaps > 0 ? "warn" : "" };
  }

  return (state) => {
    now = state;
    table.update(list(state.status.streams));
  };
}

export function frameLog() {
  return ({ status, rates }) => {
    const log = status.frameLog ?? {};
    const kept = Number.isFinite(log.head) && Number.isFinite(log.floor) ? Math.max(0, log.head - log.floor) : null;
    say(byId("log-state"), log.blocked
      ? { text: `takes no frames: ${log.blocked}`, icon: "attention", tone: "error" }
      : log.blocked === "" ? { text: "takes frames", icon: "well", tone: "well" } : NONE);
    say(byId("log-kept"), { text: kept === null ? NONE : `${bytes(kept)} in ${plural(log.segments, "segment")}`, title: exactly(kept) });
    say(byId("log-growth"), byteRate(rates.logGrowth));
    say(byId("log-reach"), rates.logGrowth > 0 && kept !== null ? `about ${duration(kept / rates.logGrowth)}` : NONE);
    say(byId("log-disk"), { text: bytes(log.diskSize), title: exactly(log.diskSize) });
    say(byId("log-unsynced"), bytes(Number.isFinite(log.synced) && log.head >= log.synced ? log.head - log.synced : null));
    say(byId("log-failures"), log.failures > 0 ? { text: count(log.failures), icon: "attention", tone: "warn" } : count(log.failures));
    say(byId("log-head"), { text: bytes(log.head), title: exactly(log.head) });
    say(byId("log-floor"), { text: bytes(log.floor), title: exactly(log.floor) });
    say(byId("log-id"), { text: shortKey(log.id), title: log.id ?? "" });

    const lag = list(status.clients?.slowest)[0]?.lag;
    const used = kept > 0 && lag > 0 ? Math.min(1, lag / kept) : 0;
    byId("log-bar").style.setProperty("--used", used);
    setText(byId("log-bar-text"), used > 0
      ? `The slowest collector is ${bytes(lag)} behind the head: ${percent(used)} of the way to the oldest frame kept, where it would be closed.`
      : "No collector is behind the head.");
  };
}

const NO_REASONS = {
  disconnects: "No collector has been disconnected.",
  refused: "Nobody has been refused.",
  rejected: "Every line was a record.",
  failed: "No worker has failed.",
};

/** Counters by reason, of countersOf. */
export function reasons() {
  const tables = Object.entries(NO_REASONS).map(([what, empty]) => [what, new Table(byId(what), {
    label: byId(`${what}-title`).textContent, empty, key: ([name]) => name,
    columns: [
      { head: "Reason", show: ([name]) => words(name) },
      { head: "Recent", number: true, show: ([, , recent]) => (recent > 0 ? { text: `+${count(recent)}`, tone: "strong" } : "0") },
      { head: "Total", number: true, show: ([, n]) => count(n) },
    ],
  })]);
  return ({ status, gains }) => {
    setText(byId("watched"), `Recent: within the ${duration(Math.round(gains.seconds))} that this page has watched. Total: since the distributor’s start.`);
    const counters = countersOf(status);
    for (const [what, table] of tables) table.update(entries(counters[what]).map(([name, n]) => [name, n, gains.by[what]?.[name]]));
  };
}

/** What the API reads: the archiver's tables. */
export function tables() {
  const table = new Table(byId("tables"), {
    label: "Archiver’s tables", empty: "No tables.", key: (row) => row.name,
    columns: [
      { head: "Table", show: (row) => row.name ?? NONE },
      { head: "State", show: (row) => (row.failing ? { text: `fails: ${row.failing}`, icon: "attention", tone: "warn" } : { text: "no failure", icon: "well", tone: "well" }) },
      { head: "Rows answered", number: true, show: (row) => count(row.rows) },
      { head: "Damaged rows", number: true, hint: "Left out of answers", show: (row) => (row.damaged > 0 ? { text: count(row.damaged), icon: "attention", tone: "warn" } : count(row.damaged)) },
    ],
  });
  return ({ status }) => table.update(list(status.tables));
}

export function api() {
  let now = {};
  const table = new Table(byId("api"), {
    label: "HTTP API", empty: "No requests yet.", key: (e) => e.path,
    columns: [
      { head: "Path", show: (e) => e.path ?? NONE },
      { head: "Rate", number: true, show: (e) => perSecond(now.rates.endpoint(e).requests) },
      { head: "Answered", number: true, hint: "Below 400, since the start", show: (e) => count(foldStatuses(e.statuses).ok) },
      { head: "Refused", number: true, hint: "400 to 499, since the start", show: (e) => ({ text: count(foldStatuses(e.statuses).refused), title: each(e) }) },
      { head: "Failed", number: true, hint: "500 and above, since the start", show: failed },
      { head: "p50", number: true, hint: "Since the start", show: (e) => (total(e.statuses) > 0 ? duration(e.p50) : NONE) },
      { head: "p99", number: true, hint: "Since the start", show: (e) => (total(e.statuses) > 0 ? duration(e.p99) : NONE) },
    ],
  });
  const each = (e) => entries(e.statuses).map(([status, n]) => `${status}: ${count(n)}`).join("\n");
  function failed(e) {
    const n = foldStatuses(e.statuses).failed;
    return n > 0 ? { text: count(n), title: each(e), icon: "attention", tone: "warn" } : count(n);
  }
  return (state) => {
    now = state;
    table.update(list(state.status.api));
  };
}

const LEVELS = {
  error: { word: "error", icon: "off", tone: "error" },
  warn: { word: "warning", icon: "attention", tone: "warn" },
  info: { word: "info", icon: "info", tone: "" },
};

/** Newest first. */
export function events() {
  const create = (event) => {
    const level = LEVELS[event.level] ?? { ...LEVELS.info, word: event.level ?? "" };
    const ms = moment(event.time);
    const time = element("time", { title: utc(ms) });
    if (ms !== null) time.dateTime = new Date(ms).toISOString();
    return element("li", { "data-tone": level.tone }, time,
      element("span", { class: "level" }, icon(level.icon), element("span", {}, level.word)),
      element("span", { class: "text" }, event.text ?? ""), element("span", { class: "times" }));
  };
  return ({ status, time }) => {
    const newest = list(status.events).toReversed();
    byId("no-events").hidden = newest.length > 0;
    reconcile(byId("events"), newest, (e) => `${e.time} ${e.level} ${e.text}`, create, (line, event) => {
      setText(line.firstElementChild, clock(moment(event.time), time));
      setText(line.lastElementChild, event.count > 1 ? `${count(event.count)} times` : "");
    });
  };
}
