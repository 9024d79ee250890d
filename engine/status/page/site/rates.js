// Differences of counters between two statuses. A counter that went back (its
// process is another one) or is missing gives null, never a negative rate.

/** Increase a second; null when unknown. */
export function rate(now, before, seconds) {
  if (!Number.isFinite(now) || !Number.isFinite(before) || !(seconds > 0) || now < before) return null;
  return (now - before) / seconds;
}

/** Adds up what is known; null when nothing is. */
export function sum(values) {
  let total = null;
  for (const v of values) if (Number.isFinite(v)) total = (total ?? 0) + v;
  return total;
}

/** List of the status, or an empty one. */
export const list = (value) => (Array.isArray(value) ? value.filter((v) => v !== null && typeof v === "object") : []);

/** Members of a map of counters as [name, count], greatest first, names as tie-break. */
export function entries(counters) {
  if (counters === null || typeof counters !== "object") return [];
  return Object.entries(counters)
    .filter(([, n]) => Number.isFinite(n) && n !== 0)
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
}

/** All of a map of counters. */
export const total = (counters) => entries(counters).reduce((all, [, n]) => all + n, 0);

/** Seconds from one status to a later one; null when they do not compare: other life of the primary, or time went back. */
export function between(before, now) {
  if (!before || !now || before.started !== now.started) return null;
  const seconds = (Date.parse(now.time) - Date.parse(before.time)) / 1000;
  return seconds > 0 ? seconds : null;
}

const byKey = (items, key) => new Map(list(items).map((item) => [key(item), item]));
const streamKey = (s) => s.name;
const workerKey = (w) => `${w.number}/${w.pid}`;
const processKey = (p) => `${p.name}/${p.pid}`;
const endpointKey = (e) => e.path;

const sentBytes = (status) => status?.clients?.sentBytes; // by past workers too, so better than a sum

// A process that was not there before contributes nothing in its first moment:
// what it counted since its start did not happen within these seconds.
function each(before, now, member, key, rates) {
  const seconds = between(before, now);
  const old = byKey(before?.[member], key);
  return new Map(list(now?.[member]).map((item) => {
    const was = old.get(key(item));
    return [key(item), rates((value) => (was ? rate(value(item), value(was), seconds) : null))];
  }));
}

/** Rates of everything in the status that counts, by the keys of the items. */
export function ratesBetween(before, now) {
  const streams = each(before, now, "streams", streamKey, (r) => ({
    records: r((s) => s.records),
    bytes: r((s) => s.bytes),
  }));
  const workers = each(before, now, "workers", workerKey, (r) => ({ sent: r((w) => w.sentBytes) }));
  const processes = each(before, now, "processes", processKey, (r) => ({ cpu: r((p) => p.cpuSeconds) }));
  const api = each(before, now, "api", endpointKey, (r) => ({ requests: r((e) => total(e.statuses)) }));
  const r = (value) => rate(value(now), value(before), between(before, now));
  return {
    stream: (s) => streams.get(streamKey(s)) ?? {},
    worker: (w) => workers.get(workerKey(w)) ?? {},
    process: (p) => processes.get(processKey(p)) ?? {},
    endpoint: (e) => api.get(endpointKey(e)) ?? {},
    recordsIn: sum([...streams.values()].map((s) => s.records)),
    bytesIn: sum([...streams.values()].map((s) => s.bytes)),
    bytesOut: r(sentBytes) ?? sum([...workers.values()].map((w) => w.sent)),
    logGrowth: r((status) => status?.frameLog?.head),
  };
}

/** The counters by reason that a status holds, by what they count. */
export const countersOf = (status) => ({
  disconnects: status?.clients?.disconnects ?? {},
  refused: status?.refused ?? {},
  rejected: Object.fromEntries(list(status?.streams).flatMap((s) => entries(s.rejected).map(([why, n]) => [`${s.name}: ${why}`, n]))),
  failed: status?.starts?.failed ?? {},
});

/** What a map of counters gained; a counter not listed before was 0. */
export function gained(before, now) {
  return Object.fromEntries(entries(now).map(([name, n]) => {
    const was = before?.[name];
    return [name, Number.isFinite(was) ? Math.max(0, n - was) : n];
  }));
}

/** Requests of an endpoint folded by class of their answers. */
export function foldStatuses(statuses) {
  const folded = { ok: 0, refused: 0, failed: 0 };
  for (const [status, n] of entries(statuses)) {
    const code = Number(status);
    folded[code >= 500 ? "failed" : code >= 400 ? "refused" : "ok"] += n;
  }
  return folded;
}
