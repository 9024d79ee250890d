// Wires the page: every status goes into the history, and what follows from
// both is shown. The only module that knows the others.

import { Charts } from "./charts.js";
import { clients } from "./clients.js";
import { Connection } from "./connection.js";
import { element, icon, reconcile, setAttribute, setText } from "./dom.js";
import { clock, duration, moment, utc } from "./format.js";
import { History } from "./history.js";
import { clockDifference, judge, remedies, summary } from "./judge.js";
import { api, events, frameLog, reasons, streams, tables, tiles } from "./sections.js";
import { workers } from "./workers.js";

const byId = (id) => document.getElementById(id);
const history = new History();
const parts = [tiles(), streams(), workers(), clients(), frameLog(), reasons(), api(), tables(), events()];

let charts = null; // made with the first status: before that they have no width
let state = null; // {status, rates, gains, time} of the newest status
let receivedAt = 0; // when it came, by this computer's clock
let drawn = null; // the state that the parts show
let stale = false;
let frame = 0; // of the browser, asked for; none comes while the page is hidden

const connection = new Connection({
  onStatus(status) {
    const rates = history.add(status);
    receivedAt = Date.now();
    state = { status, rates, gains: history.gains(), time: moment(status.time) };
    show();
  },
  onChange: show,
});

/** Shows what is known now: the headline at once, since the title is read from hidden tabs too, the rest with the next frame. */
function show() {
  const verdict = judge(connection.link, state?.status ?? null);
  headline(verdict);
  stale = verdict.state === "off" || !connection.link.understood;
  frame ||= requestAnimationFrame(draw);
}

// Statuses that come in one burst, after a pause of the browser, are drawn once.
function draw() {
  frame = 0;
  if (state && drawn !== state) {
    byId("details").hidden = false;
    charts ??= new Charts(history.points);
    charts.update(history.points, newest());
    for (const part of parts) part(state);
    drawn = state;
  }
  markStale();
}

// What the charts' captions say: rates as in the tables, not of the last second alone.
const newest = () => ({ time: state.time / 1000, ...state.rates, p50: state.status.latency?.p50 || null, p99: state.status.latency?.p99 || null });

function headline(verdict) {
  setText(byId("state"), verdict.title);
  if (byId("headline").dataset.state !== verdict.state) {
    byId("badge").replaceChildren(icon(verdict.state === "connecting" ? "busy" : verdict.state));
    byId("headline").dataset.state = verdict.state;
  }
  document.title = `${verdict.title.replace(/ since.*/, "")} – Distributor`;
  setAttribute(byId("icon"), "href", `site/icon-${verdict.state}.svg`);
  setText(byId("summary"), summary(verdict, state?.status));
  setText(byId("clock-note"), state && verdict.state !== "off" ? clockDifference(state.status, receivedAt) : "");
  setText(byId("version"), String(state?.status.version ?? "").replace(/^distributor /, ""));
  since(verdict);
  reconcile(byId("problems"), verdict.problems, (p) => JSON.stringify(p), problem, () => {});
  byId("problems").hidden = verdict.problems.length === 0;
  byId("remedies").hidden = verdict.state !== "off";
}

/** For how long the connection is gone, or the distributor runs. */
function since(verdict) {
  const { link } = connection;
  const started = moment(state?.status.started);
  let text = "";
  let title = "";
  if (verdict.state === "off") {
    text = `No answer for ${duration(Math.round((Date.now() - link.since) / 1000))}.`;
    title = utc(link.since);
  } else if (started !== null) {
    text = `Running for ${duration(Math.max(0, Math.round((state.time - started) / 1000)))}, since ${clock(started, state.time)}.`;
    title = utc(started);
  }
  setText(byId("since"), text);
  setAttribute(byId("since"), "title", title);
  setText(byId("link"), { connecting: "connecting", live: state ? `live, ${clock(state.time)}` : "live", lost: "no connection" }[link.state]);
  setAttribute(byId("link"), "title", state ? `newest status: ${utc(state.time)}` : "");
  setAttribute(byId("link"), "data-link", link.state);
}

function problem(p) {
  const item = element("li", {}, element("p", { class: "what" }, element("strong", {}, p.component ?? "distributor"), ` ${p.problem ?? ""}`));
  if (p.level) item.firstChild.append(element("span", { class: "label" }, ` (${p.level})`));
  const at = moment(p.since);
  if (at !== null) item.append(element("p", { class: "since", title: utc(at) }, element("span", { class: "label" }, "Since "), clock(at, state?.time)));
  if (p.remedy) item.append(element("p", { class: "remedy" }, element("span", { class: "label" }, "What to do: "), p.remedy));
  return item;
}

/** Old values are greyed, and every heading says how old. */
function markStale() {
  byId("details").classList.toggle("stale", stale);
  const note = stale && state ? `as of ${clock(state.time, Date.now())}` : "";
  for (const place of document.querySelectorAll(".as-of")) setText(place, note);
}

byId("remedies").replaceChildren(...remedies.map((text) => element("li", {}, text)));
setInterval(() => since(judge(connection.link, state?.status ?? null)), 1000);
show();
