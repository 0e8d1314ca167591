/** Texts for the reader: times, durations, hosts. Pure. */

import { oneLine } from "./text.js";

/** The names of the four phases. */
export const PHASES = ["Load and validate", "Discover controls", "Explore gameplay", "Evaluate and score"];

/** The title of a phase. @param {string[]|undefined} titles the run's own, if it has some @param {number} n from 1 */
export const phaseName = (titles, n) => titles?.[n - 1] ?? (titles ? `Phase ${n}` : PHASES[n - 1]);

/** @param {number} n */
const two = (n) => String(n).padStart(2, "0");

/** `12:03:07` in the reader's time zone; "--:--:--" if `ms` is not a time. @param {number} [ms] */
export function clock(ms) {
  const date = new Date(ms ?? NaN);
  if (Number.isNaN(date.getTime())) return "--:--:--";
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `0:41`, `12:05` or `1:02:03`. A negative duration (of two clocks that disagree) is zero. @param {number} ms */
export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000)) || 0;
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** `42 ms` or `1.2 s`. @param {number} ms */
export const latency = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/**
 * The time that a run has waited while it is queued; after that, the time from its start to its end or until now.
 *
 * All times are by the clocks of the broker and the edge, whatever the clock of the agent says.
 *
 * @param {Shown} run
 * @param {number} now ms, by the edge's clock
 */
export function elapsed(run, now) {
  if (!run.createdAt) return "–";
  return duration((run.finishedAt ?? now) - (run.startedAt ?? run.createdAt));
}

/** An address that may become a link; null if it is not http(s). @param {unknown} url */
export function webUrl(url) {
  try {
    const parsed = new URL(typeof url === "string" ? url : "");
    return parsed.protocol === "http:" || parsed.protocol === "https:" ? parsed : null;
  } catch {
    return null;
  }
}

/** @param {{gameUrl?: string}} run */
export const host = (run) => webUrl(run.gameUrl)?.host || oneLine(run.gameUrl) || "no address";

/** @param {{title?: string, gameUrl?: string, testId: string}} run */
export const titleOf = (run) => oneLine(run.title) || webUrl(run.gameUrl)?.host || `Test ${run.testId.slice(0, 8)}`;

/** 1 to 4 for "phase1" to "phase4"; otherwise 0. @param {unknown} phase */
export const phaseNumber = (phase) => Number(/^phase([1-4])$/.exec(typeof phase === "string" ? phase : "")?.[1] ?? 0);

/**
 * Completes an address that was typed into the form. Without a scheme it becomes https; for localhost and IP addresses
 * http. An invalid address is returned unchanged, and the edge reports the error.
 *
 * @param {string} typed
 */
export function completeUrl(typed) {
  const text = typed.trim();
  if (!text || /^[a-z][a-z0-9+.-]*:(?!\d)/i.test(text)) return text;
  return /^(localhost|\d+\.\d+\.\d+\.\d+|\[)/i.test(text) ? `http://${text}` : `https://${text}`;
}

/** `commit=abc` @param {[string, string]} label */
export const labelText = ([name, value]) => `${name}=${value}`;

/** `1 event`, `2,000 events`. @param {number} n @param {string} noun */
export const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

/** The reason of a failed call, for the reader. @param {unknown} error */
export const reasonOf = (error) => (error instanceof Error ? error.message : String(error));

/** `1st`, `2nd`, `3rd`, `11th`, `21st`. @param {number} n */
export function ordinal(n) {
  const teens = n % 100 >= 11 && n % 100 <= 13;
  return `${n}${(!teens && { 1: "st", 2: "nd", 3: "rd" }[n % 10]) || "th"}`;
}
