// Workers, with what the kernel says of their processes. Two hundred of them
// fit: the list scrolls, sorts by any column, and is summed up above itself.

import { ago, byteRate, bytes, clock, count, moment, NONE, percent, plural, utc } from "./format.js";
import { setText, Table } from "./dom.js";
import { list, sum } from "./rates.js";

const STATES = {
  ready: { icon: "well", tone: "well" },
  starting: { icon: "busy", tone: "" },
  draining: { icon: "busy", tone: "" },
};

export function workers() {
  const summary = document.getElementById("workers-summary");
  let now = {};
  let processes = new Map(); // by pid
  const cpu = (w) => now.rates.process(processes.get(w.pid) ?? {}).cpu;
  const memory = (w) => processes.get(w.pid)?.private;
  const blocked = (w) => (w.blocked > 0 ? { text: count(w.blocked), icon: "attention", tone: "warn" } : count(w.blocked));

  const table = new Table(document.getElementById("workers"), {
    label: "Workers", empty: "No workers run.", key: (w) => `${w.number}/${w.pid}`,
    columns: [
      { head: "Worker", value: (w) => w.number, show: (w) => ({ text: String(w.number ?? NONE), title: `process ${w.pid}` }) },
      { head: "State", value: (w) => w.state, show: state },
      { head: "Collectors", number: true, value: (w) => w.clients, show: (w) => count(w.clients) },
      { head: "Blocked", number: true, hint: "Collectors whose socket is full", value: (w) => w.blocked, show: blocked },
      { head: "Sent", number: true, value: (w) => now.rates.worker(w).sent, show: (w) => ({ text: byteRate(now.rates.worker(w).sent), title: `${bytes(w.sentBytes)} in ${count(w.sends)} system calls since its start` }) },
      { head: "Furthest behind", number: true, hint: "The slowest of its collectors", value: (w) => w.lag, show: (w) => bytes(w.lag) },
      { head: "CPU", number: true, hint: "Of one core", value: cpu, show: (w) => percent(cpu(w)) },
      { head: "Own memory", number: true, hint: "Private, without the shared frame log", value: memory, show: (w) => bytes(memory(w)) },
    ],
  });

  function state(w) {
    const since = moment(w.since);
    return {
      text: w.state || "unknown", ...(STATES[w.state] ?? { icon: "attention", tone: "warn" }),
      title: since === null ? "" : `since ${clock(since, now.time)} (${utc(since)}), ${ago(since, now.time)}`,
    };
  }

  return (current) => {
    now = current;
    const all = list(now.status.workers);
    processes = new Map(list(now.status.processes).map((p) => [p.pid, p]));
    table.update(all);

    const parts = [`${count(all.filter((w) => w.state === "ready").length)} of ${plural(all.length, "worker")} ready with ${plural(sum(all.map((w) => w.clients)) ?? 0, "collector")}.`];
    const pids = new Set(all.map((w) => w.pid));
    for (const p of processes.values()) {
      if (!pids.has(p.pid)) parts.push(`${p.name ?? "process"}: CPU ${percent(now.rates.process(p).cpu)}, private memory ${bytes(p.private)}, ${plural(p.threads, "thread")}, ${plural(p.fds, "open file")}.`);
    }
    setText(summary, parts.join(" ").replace(/(^|\. )[a-z]/g, (start) => start.toUpperCase()));
  };
}
