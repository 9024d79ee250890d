// The headline: whether the distributor is well, in words. What is wrong is
// for the distributor to say (GET /is-healthy says the same); the page adds
// only that it cannot hear it.

import { clock, count, duration, moment, plural } from "./format.js";
import { list, sum } from "./rates.js";

/**
 * @param link {{state: "connecting"|"live"|"lost", since: number, understood: boolean}}
 * @param status the newest status, or null
 * @returns {{state: "connecting"|"well"|"attention"|"off", title: string, problems: object[]}}
 */
export function judge(link, status) {
  const problems = problemsOf(link, status);
  if (link.state === "lost") return { state: "off", title: `Not connected since ${clock(link.since, Date.now())}`, problems };
  if (!status && problems.length === 0) return { state: "connecting", title: "Connecting…", problems };
  if (problems.length === 0) return { state: "well", title: "Well", problems };
  const title = problems.length === 1 ? "Needs attention" : `Needs attention: ${count(problems.length)} problems`;
  return { state: "attention", title, problems };
}

function problemsOf(link, status) {
  if (!link.understood) {
    return [{
      component: "status page", problem: "the distributor sent a status that this page does not understand",
      remedy: "load the page again; if that does not help, look at the JSON of GET /status",
    }];
  }
  if (!status) return [];
  const problems = list(status.problems);
  if (problems.length === 0 && status.healthy !== true) {
    return [{
      component: "distributor", problem: "it says that it is not healthy, but not why",
      remedy: "look at GET /is-healthy and at the log",
    }];
  }
  return problems;
}

/** The sentence below the headline. */
export function summary(verdict, status) {
  if (verdict.state === "connecting") return "Asking the distributor how it is.";
  if (verdict.state === "off") {
    return status
      ? "What stands below is what the distributor said last. Collectors may well be served: this page only knows that nobody answers it."
      : "The distributor has not answered this page yet.";
  }
  const facts = [];
  const streams = list(status?.streams);
  const behind = streams.filter((s) => s.secondsBehind > 1);
  if (streams.length > 0) {
    facts.push(behind.length === 0 ? `${plural(streams.length, "stream")} caught up` : `${behind.map((s) => s.name).join(", ")} behind`);
  }
  const workers = list(status?.workers);
  const ready = workers.filter((w) => w.state === "ready").length;
  facts.push(workers.length === 0 ? "no workers" : `${count(ready)} of ${plural(workers.length, "worker")} ready`);
  facts.push(plural(status?.clients?.connected, "collector"));
  const blocked = sum(workers.map((w) => w.blocked));
  if (blocked > 0) facts.push(`${count(blocked)} of them blocked`);
  const since = moment(status?.healthSince);
  const turned = since !== null && since > moment(status?.started);
  const lead = verdict.state !== "well" ? "" : turned ? `Nothing needs doing, since ${clock(since, moment(status.time))}. ` : "Nothing needs doing. ";
  return `${lead}${facts.join(", ").replace(/^./, (first) => first.toUpperCase())}.`;
}

/** What to do while nobody answers. */
export const remedies = [
  "The page tries again by itself every few seconds; it need not be loaded again.",
  "See whether the distributor runs, and whether GET /is-alive answers on its public port.",
  "See whether the tunnel or proxy to its ADMIN_ADDR still stands.",
];

/** How far the clock of this computer is ahead of the distributor's, in words; "" when that does not matter. */
export function clockDifference(status, receivedAt) {
  const time = moment(status?.time);
  const seconds = time === null ? 0 : (receivedAt - time) / 1000;
  if (Math.abs(seconds) < 10) return "";
  return `This computer’s clock is ${duration(Math.abs(seconds))} ${seconds > 0 ? "ahead of" : "behind"} the distributor’s. Times here are the distributor’s.`;
}
