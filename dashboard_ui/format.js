/** Texts for people: times, lengths, hosts. Pure. */

/** What the four phases are called. */
export const PHASES = ["Load and validate", "Discover controls", "Explore gameplay", "Evaluate and score"];

/** @param {number} n */
const two = (n) => String(n).padStart(2, "0");

/** `12:03:07` in the reader's zone, "--:--:--" for what is no time. @param {number} [ms] */
export function clock(ms) {
  const date = new Date(ms ?? NaN);
  if (Number.isNaN(date.getTime())) return "--:--:--";
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `0:41`, `12:05` or `1:02:03`; below zero (two clocks that disagree) is zero. @param {number} ms */
export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000)) || 0;
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** `42 ms` or `1.2 s`. @param {number} ms */
export const latency = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** The longest that a run which is not stalled goes without an event of its own, ms. */
const QUIET_MS = 120_000;

/**
 * How long it waits while it is queued, then from its start to its end or now.
 *
 * The times are the agent's, whose clock may be hours off ours. What it said last bounds its clock from below, and,
 * while it is not stalled, from above: so a wrong clock makes an error of two minutes at most, never a negative time.
 *
 * @param {Snapshot} run
 * @param {number} now ms, by the edge's clock
 */
export function elapsed(run, now) {
  if (!run.createdAt) return "–";
  const from = run.startedAt ?? run.createdAt;
  if (run.finishedAt) return duration(run.finishedAt - from);
  const said = run.updatedAt ?? from;
  const latest = run.status === "running" && !run.stalled ? said + QUIET_MS : Infinity;
  return duration(Math.min(Math.max(now, said), latest) - from);
}

/** Null for what is no http(s) address: nothing else becomes a link. @param {unknown} url */
export function webUrl(url) {
  try {
    const parsed = new URL(String(url));
    return parsed.protocol === "http:" || parsed.protocol === "https:" ? parsed : null;
  } catch {
    return null;
  }
}

/** @param {Snapshot} run */
export const host = (run) => webUrl(run.gameUrl)?.host || run.gameUrl || "no address";

/** @param {Snapshot} run */
export const titleOf = (run) => run.title || webUrl(run.gameUrl)?.host || `Test ${run.testId.slice(0, 8)}`;

/** 1 to 4 for "phase1" to "phase4", 0 for none. @param {string|null|undefined} phase */
export const phaseNumber = (phase) => Number(/^phase([1-4])$/.exec(phase ?? "")?.[1] ?? 0);

/**
 * What somebody typed into the form, as an address: without a scheme it is taken for https, on the own
 * machine or a bare IPv4 address for http. A wrong one is passed on as it is; the edge says what is wrong.
 *
 * @param {string} typed
 */
export function completeUrl(typed) {
  const text = typed.trim();
  if (!text || /^[a-z][a-z0-9+.-]*:(?!\d)/i.test(text)) return text;
  return /^(localhost|\d+\.\d+\.\d+\.\d+|\[)/i.test(text) ? `http://${text}` : `https://${text}`;
}

/** `1 event`, `2,000 events`. @param {number} n @param {string} noun */
export const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

/** What to tell the reader of a failed call. @param {unknown} error */
export const reasonOf = (error) => (error instanceof Error ? error.message : String(error));
